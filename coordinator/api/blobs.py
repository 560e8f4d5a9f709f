"""Blobs over HTTP: which are missing, many at once, one at a time. Nothing here is held whole
but a batch record, of at most `CHUNK_MAX_BYTES`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

import zstandard
from aiohttp import web

from ...protocol.batch import (
    BATCH_MAX_BLOBS,
    BATCH_MAX_BYTES,
    HEADER_BYTES,
    BatchError,
    RecordHeader,
    pack_header,
    unpack_header,
)
from ...protocol.codec import is_sha256
from ..store.blobs import BlobDamaged, BlobStore
from ..store.incoming import WrongHash
from ..store.store import Store
from . import guard, keys
from .bodies import json_response, read_json
from .problems import Refused

PIECE_BYTES = 256 * 1024
"""What is written to a socket at once: larger pieces gain nothing and hold memory per request."""
GROUP_BYTES = 1024 * 1024
"""Records handed to a thread at once: a hop for each chunk of 4 KiB costs more than the work."""
BLOB_MAX_BYTES = 64 * 1024**3
"""Longest single blob: a frame in every pass at 16k is a tenth of it."""
WINDOW_MAX_BYTES = 128 * 1024 * 1024
"""Most memory a zstd stream may ask for (levels up to 22 without --ultra --long)."""

_CHUNK_LEVEL = 1
"""zstd level for nodes that ask for compressed batches: fast before small, a node waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobNames:
    """Body of the questions for missing and for wanted blobs."""

    blobs: tuple[str, ...]


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.post("/api/v1/blobs/missing", missing),
        web.post("/api/v1/blobs/fetch", fetch),
        web.post("/api/v1/blobs", add_batch),
        web.put("/api/v1/blobs/{sha}", put),
        web.get("/api/v1/blobs/{sha}", get),
    ]


@guard.serves(*guard.CARRY)
async def missing(request: web.Request) -> web.StreamResponse:
    """Which of these blobs are not here."""
    names = await _names(request)
    store = request.app[keys.STORE]
    return json_response({"missing": await store.in_thread(store.blobs.missing, names)})


async def _names(request: web.Request) -> tuple[str, ...]:
    names = (await read_json(request, BlobNames)).blobs
    if len(names) > BATCH_MAX_BLOBS:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {BATCH_MAX_BLOBS} blobs at once."
        )
    for name in names:
        _check_name(name)
    return names


def _check_name(name: str) -> str:
    if not is_sha256(name):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"{name[:80]!r} names no blob; a blob is named by 64 lower-case hex digits.",
        )
    return name


# --- many at once ----------------------------------------------------------------------------


@guard.serves(*guard.CARRY)
async def add_batch(request: web.Request) -> web.StreamResponse:
    """Take a run of records; those before a bad one are kept."""
    store = request.app[keys.STORE]
    stored = 0
    group: list[tuple[RecordHeader, bytes]] = []
    size = 0
    try:
        async for header, payload in _records(request):
            group.append((header, payload))
            size += len(payload)
            if size >= GROUP_BYTES:
                stored += await store.in_thread(_add_group, store.blobs, group)
                group, size = [], 0
    except BatchError as error:
        await store.in_thread(_add_group, store.blobs, group)
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
    except WrongHash as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
    try:
        stored += await store.in_thread(_add_group, store.blobs, group)
    except (BatchError, WrongHash) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
    if store.blobs.needs_settling():
        await store.in_thread(store.blobs.settle)
    return json_response({"stored": stored})


async def _records(request: web.Request) -> AsyncIterator[tuple[RecordHeader, bytes]]:
    limit = 2 * BATCH_MAX_BYTES
    received = count = 0
    while True:
        try:
            data = await request.content.readexactly(HEADER_BYTES)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise BatchError("The batch ends inside a record.") from error
            return
        header = unpack_header(data)
        count += 1
        received += HEADER_BYTES + header.wire_length
        if count > BATCH_MAX_BLOBS or received > limit:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"A batch has at most {BATCH_MAX_BLOBS} blobs and {limit} bytes.",
            )
        try:
            payload = await request.content.readexactly(header.wire_length)
        except asyncio.IncompleteReadError as error:
            raise BatchError("The batch ends inside a record.") from error
        yield header, payload


def _add_group(blobs: BlobStore, group: list[tuple[RecordHeader, bytes]]) -> int:
    return blobs.add(
        (header.sha256, _decompress(header, payload) if header.compressed else payload)
        for header, payload in group
    )


def _decompress(header: RecordHeader, payload: bytes) -> bytes:
    # Read as a stream and one byte further than announced: a frame header may claim any size.
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    try:
        with decompressor.stream_reader(payload) as reader:
            data = reader.read(header.raw_length + 1)
    except zstandard.ZstdError as error:
        raise BatchError(f"The record of blob {header.sha256} is not valid zstd.") from error
    if len(data) != header.raw_length:
        raise BatchError(f"The record of blob {header.sha256} has not the length it says.")
    return data


@guard.serves(*guard.CARRY)
async def fetch(request: web.Request) -> web.StreamResponse:
    """Send these blobs as records, in this order."""
    names = await _names(request)
    store = request.app[keys.STORE]
    absent = await store.in_thread(store.blobs.missing, names)
    if absent:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no blob {absent[0]}.")
    compress = "zstd" in request.headers.get("Accept-Encoding", "")
    response = web.StreamResponse()
    response.content_type = "application/octet-stream"
    await response.prepare(request)
    rest = list(names)
    while rest:
        try:
            data, taken = await store.in_thread(_pack_group, store.blobs, rest, compress)
        except FileNotFoundError as error:
            raise _cut_off(request, str(error.filename)) from error
        rest = rest[taken:]
        for start in range(0, len(data), PIECE_BYTES):
            await response.write(data[start : start + PIECE_BYTES])
    await response.write_eof()
    return response


def _pack_group(blobs: BlobStore, names: list[str], compress: bool) -> tuple[bytes, int]:
    out = bytearray()
    taken = 0
    compressor = zstandard.ZstdCompressor(level=_CHUNK_LEVEL) if compress else None
    for name in names:
        data = blobs.read(name)
        payload = compressor.compress(data) if compressor else data
        if len(payload) >= len(data):
            payload = data
        out += pack_header(RecordHeader(name, len(data), len(payload), payload is not data))
        out += payload
        taken += 1
        if len(out) >= GROUP_BYTES:
            break
    return bytes(out), taken


# --- one at a time ---------------------------------------------------------------------------


@guard.serves(*guard.CARRY)
async def put(request: web.Request) -> web.StreamResponse:
    """Take one blob of any size; durable when answered."""
    name = _check_name(request.match_info["sha"])
    length = request.content_length
    if length is None:
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "A blob needs the header Content-Length.")
    if length > BLOB_MAX_BYTES:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A blob has at most {BLOB_MAX_BYTES} bytes."
        )
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "zstd"):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A blob is sent as it is, or compressed with zstd."
        )
    store = request.app[keys.STORE]
    if await store.in_thread(_is_sound, store.blobs, name):
        async for _ in request.content.iter_any():
            pass  # The sender is in the midst of it; taking it to its end keeps the connection.
        await store.in_thread(store.blobs.make_durable, (name,))
        return web.Response(status=HTTPStatus.OK)
    await _receive(request, store, name, length, is_zstd=encoding == "zstd")
    return web.Response(status=HTTPStatus.CREATED, headers={"Location": request.path})


def _is_sound(blobs: BlobStore, name: str) -> bool:
    """Whether it is here, and is what its name says: else the bytes on their way replace it."""
    if blobs.missing((name,)):
        return False
    try:
        blobs.check(name)
    except FileNotFoundError:
        return False
    return True


async def _receive(
    request: web.Request, store: Store, name: str, length: int, *, is_zstd: bool
) -> None:
    incoming = await store.in_thread(
        store.blobs.receive, name, length, BLOB_MAX_BYTES if is_zstd else length
    )
    decoder = (
        zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES).decompressobj()
        if is_zstd
        else None
    )
    try:
        async for piece in request.content.iter_chunked(PIECE_BYTES):
            await store.in_thread(incoming.write, piece, decoder)
        await store.in_thread(incoming.finish)
    except zstandard.ZstdError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not valid zstd.") from error
    finally:
        incoming.abort()


@guard.serves(*guard.CARRY, *guard.SEE)
async def get(request: web.Request) -> web.StreamResponse:
    """Send one blob, or a part of it."""
    name = _check_name(request.match_info["sha"])
    return await send_blob(request, name)


async def send_blob(request: web.Request, name: str, **headers: str) -> web.StreamResponse:
    """Answer with a blob: Range, If-None-Match and HEAD are honoured; 404 when it is not here."""
    blobs = request.app[keys.STORE].blobs
    store = request.app[keys.STORE]
    try:
        file: BinaryIO = await store.in_thread(blobs.open_blob, name)
    except FileNotFoundError:
        # Should a result refer to it, its frame is rendered again.
        blobs.on_damage(name)
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no blob {name}.") from None
    with contextlib.closing(file):
        length = await store.in_thread(file.seek, 0, 2)
        tag = f'"{name}"'
        common = {
            "ETag": tag,
            "Cache-Control": "private, max-age=31536000, immutable",
            "Accept-Ranges": "bytes",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=common)
        start, stop = _range(request, length, tag)
        if (start, stop) != (0, length):
            common["Content-Range"] = f"bytes {start}-{stop - 1}/{length}"
        status = HTTPStatus.PARTIAL_CONTENT if "Content-Range" in common else HTTPStatus.OK
        response = web.StreamResponse(status=status, headers=common)
        response.content_length = stop - start
        if "Content-Type" not in common:
            response.content_type = "application/octet-stream"
        await response.prepare(request)
        if request.method != "HEAD":
            await _send_piece_by_piece(request, response, file, name, (start, stop, length))
        await response.write_eof()
    return response


async def _send_piece_by_piece(
    request: web.Request,
    response: web.StreamResponse,
    file: BinaryIO,
    name: str,
    part: tuple[int, int, int],
) -> None:
    """Send bytes from ``part[0]`` to ``part[1]`` of ``part[2]``; hashed where that is all of them.

    The last piece of a blob that the disk has damaged is not sent: nobody takes it for whole.
    """
    store = request.app[keys.STORE]
    start, stop, length = part
    digest = hashlib.sha256() if (start, stop) == (0, length) else None

    def read(most: int) -> bytes:
        piece = file.read(most)
        if digest is not None:
            digest.update(piece)
            if start + len(piece) >= stop and digest.hexdigest() != name:
                raise store.blobs.set_aside(name)
        return piece

    await store.in_thread(file.seek, start)
    while start < stop:
        try:
            piece = await store.in_thread(read, min(PIECE_BYTES, stop - start))
        except BlobDamaged as error:
            raise _cut_off(request, name) from error
        if not piece:
            raise _cut_off(request, name)
        start += len(piece)
        await response.write(piece)


def _cut_off(request: web.Request, name: str) -> ConnectionError:
    """End an answer that cannot be given whole; return what to raise.

    Its head has been sent: whatever followed now would be taken for the rest of the blob.
    """
    if request.transport is not None:
        request.transport.abort()
    return ConnectionAbortedError(f"blob {name} is damaged")


def _range(request: web.Request, length: int, tag: str) -> tuple[int, int]:
    text = request.headers.get("Range", "")
    condition = request.headers.get("If-Range")
    # Units, lists of ranges and other versions we do not serve in parts: then it is sent whole.
    if not text.startswith("bytes=") or "," in text or (condition and condition != tag):
        return 0, length
    first, dash, last = text[6:].strip().partition("-")
    if not dash or not (first + last).isascii() or not (first + last).isdigit() or len(text) > 60:
        return 0, length
    if not first:
        start, stop = max(0, length - int(last)), length
    else:
        start, stop = int(first), min(length, int(last) + 1 if last else length)
    if start >= stop:
        raise Refused(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The blob has {length} bytes.",
            Content_Range=f"bytes */{length}",
        )
    return start, stop
