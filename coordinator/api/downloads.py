"""Finished frames to take home: all of a job, or some, as one ZIP archive."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

from ...protocol.frames import FrameRangeError, parse_frames
from ...protocol.job import JobSpec
from ...protocol.manifest import ManifestError, check_path
from ...protocol.states import FrameState
from ..results import MAIN
from ..store import StoreError
from ..store.blobs import BlobStore
from . import guard, keys
from .problems import Refused
from .zip_stream import Entry, ZipStream, archive_length

PIECE_BYTES = 256 * 1024

_UNSAFE = re.compile(r"[^\w .()-]+")


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/api/v1/jobs/{job:[^{}/]{1,64}}/frames.zip", frames_zip)]


@dataclass(frozen=True, slots=True)
class _File:
    sha256: str
    entry: Entry


@guard.serves(*guard.SEE)
async def frames_zip(request: web.Request) -> web.StreamResponse:
    """Send the files of finished frames under the names that Blender gave them.

    ``frames`` chooses some (the grammar of `protocol.frames`); without it all that are done.
    """
    farm = request.app[keys.CONDUCTOR].farm
    store = request.app[keys.STORE]
    job = request.match_info["job"]
    spec = farm.spec(job)
    if spec is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no job {job}.")
    await request.app[keys.CONDUCTOR].ended_jobs.recall(job)
    files = _files(request, job, spec)
    if not files:
        raise Refused(HTTPStatus.NOT_FOUND, "None of these frames is done yet.")
    # Asking also keeps them from being collected while they are on their way.
    if await store.in_thread(store.blobs.missing, [file.sha256 for file in files]):
        raise Refused(HTTPStatus.NOT_FOUND, "Files of these frames are gone; render them again.")
    name = _UNSAFE.sub("_", spec.name).strip(" .") or "frames"
    response = web.StreamResponse(
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip",
            "Cache-Control": "no-store",
        }
    )
    response.content_type = "application/zip"
    response.content_length = archive_length([file.entry for file in files])
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        await _send(request, response, files)
    except (OSError, StoreError):
        # An archive that ends early must not look whole.
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response


def _files(request: web.Request, job: str, spec: JobSpec) -> list[_File]:
    farm = request.app[keys.CONDUCTOR].farm
    text = request.query.get("frames", "")
    try:
        chosen = set(parse_frames(text)) if text else None
    except FrameRangeError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    folders = _folders(spec)
    found: list[_File] = []
    names: set[str] = set()
    after: int | None = None
    while True:
        page = farm.frames(job, state=FrameState.DONE, after=after, limit=2000)
        for view in page.frames if page is not None else ():
            result = farm.result(job, view.frame)
            if result is None or (chosen is not None and view.frame not in chosen):
                continue
            for file in result.files:
                name = folders.get(file.root, "") + file.path
                if name.casefold() in names:
                    # In Blender the later one would have replaced the earlier; here both are kept.
                    stem, dot, ending = name.rpartition(".")
                    name = f"{stem or name} (frame {view.frame}){dot}{ending if dot else ''}"
                names.add(name.casefold())
                found.append(_File(file.sha256, Entry(name, file.length, result.finished)))
        if page is None or page.next is None:
            return found
        after = page.next


def _folders(spec: JobSpec) -> dict[str, str]:
    """The render output lies on top; what File Output nodes wrote lies in a folder for each."""
    folders: dict[str, str] = {}
    for root in spec.outputs:
        if root.id == MAIN:
            folders[root.id] = ""
            continue
        label = _UNSAFE.sub("_", root.label).strip(" .") or root.id
        if f"{label}/" in folders.values():
            label = f"{label} {root.id}"
        try:
            check_path(label)
        except ManifestError:
            label = root.id
        folders[root.id] = f"{label}/"
    return folders


async def _send(request: web.Request, response: web.StreamResponse, files: list[_File]) -> None:
    store = request.app[keys.STORE]
    archive = ZipStream()
    for file in files:
        stream, crc = await store.in_thread(_open, store.blobs, file)
        try:
            await response.write(archive.begin(file.entry, crc))
            left = file.entry.length
            while left:
                piece = await store.in_thread(stream.read, min(PIECE_BYTES, left))
                if not piece:
                    raise StoreError(f"Blob {file.sha256} is shorter than it was.")
                left -= len(piece)
                await response.write(piece)
        finally:
            await store.in_thread(stream.close)
    await response.write(archive.end())


def _open(blobs: BlobStore, file: _File) -> tuple[BinaryIO, int]:
    """Open a blob and return it at its start, with the CRC-32 of its bytes."""
    stream = blobs.open_blob(file.sha256)
    try:
        crc = _checksum(stream, file)
    except BaseException:
        stream.close()
        raise
    return stream, crc


def _checksum(stream: BinaryIO, file: _File) -> int:
    crc = length = 0
    while piece := stream.read(PIECE_BYTES):
        crc = zlib.crc32(piece, crc)
        length += len(piece)
    if length != file.entry.length:
        raise StoreError(f"Blob {file.sha256} has {length} bytes, not {file.entry.length}.")
    stream.seek(0)
    return crc
