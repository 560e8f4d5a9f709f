"""From a captured scene to a job on the farm: chunk, ask, send what is missing, queue.

    async with FarmConnection(credentials) as farm:
        submitted = await submit(farm, captured, progress=show)
        print(submitted.job.id, submitted.sent_bytes, "of", submitted.scene_bytes)

Nothing here touches the scene's files but to read them. Cancelling the coroutine stops at once and
leaves nothing half done: chunks that arrived stay on the coordinator and make the next attempt
shorter, a job exists only when all of its scene does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ...protocol.codec import encode_manifest
from ...protocol.manifest import Chunk, Manifest, ManifestFile
from ...protocol.scene import CapturedScene, SceneFile
from ...protocol.views import JobSubmission, JobView
from ...wire import places
from ...wire.blobs import missing, put_bytes, upload_chunks
from ...wire.connection import FarmConnection
from ...wire.errors import Refused
from ...wire.threads import opened_in_thread
from .chunk_cache import ChunkCache
from .chunking import ChunkedFile, Signature, chunk_file, read_chunk
from .errors import ChangedFile, ClientError, MissingFiles, UnreadableFile
from .sent_jobs import remember_sent
from .sent_scenes import remember_scene

HASHING_THREADS = min(4, os.cpu_count() or 1)
"""One thread hashes 1.5 GB/s; more than four wait for the disk."""
SUBMIT_ATTEMPTS = 3
"""Times a scene is sent again when the coordinator misses chunks, or a file changed meanwhile."""
READ_AHEAD = 4
"""Chunks read ahead of the upload, so that disk and network work at the same time."""


class Stage(str, Enum):
    """What a submission is doing."""

    READING = "reading"
    """Cutting and hashing files; bytes are those of the scene."""
    SENDING = "sending"
    """Sending what the farm does not have; bytes are those to send, before compression."""
    QUEUEING = "queueing"
    """Sending the manifest and the job."""


@dataclass(frozen=True, slots=True)
class SubmitProgress:
    """How far a submission is. Bytes never go back within a stage."""

    stage: Stage
    bytes_done: int
    bytes_total: int

    @property
    def fraction(self) -> float:
        """Part of the stage that is done, 0 to 1."""
        return min(1.0, self.bytes_done / self.bytes_total) if self.bytes_total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job the farm has accepted, and what sending it took."""

    job: JobView
    files: int
    chunks: int
    """Distinct chunks of the scene."""
    scene_bytes: int
    """Bytes of all files."""
    new_chunks: int
    """Chunks the farm did not have."""
    new_bytes: int
    """Their bytes, before compression."""
    sent_bytes: int
    """Bytes sent in all, compressed, with framing and manifest."""
    seconds: float


def new_key() -> str:
    """Return a fresh idempotency key: keep it over retries of one submission, and only those."""
    return secrets.token_hex(16)


def default_cache() -> ChunkCache:
    """Return the user's chunk cache."""
    return ChunkCache(places.cache_dir() / "chunks.sqlite")


async def submit(
    farm: FarmConnection,
    captured: CapturedScene,
    *,
    progress: Callable[[SubmitProgress], None] | None = None,
    idempotency_key: str | None = None,
    send_anyway: bool = False,
    cache: ChunkCache | None = None,
) -> Submitted:
    """Send a scene and queue its job; returns when the coordinator has accepted it durably.

    ``progress`` is called from the event loop's thread. ``send_anyway`` sends a scene of which
    files are missing. With the same ``idempotency_key`` a repeat gives the job of the first time.
    ``captured.scratch`` is left to the caller: `discard` removes it. Raises `MissingFiles`,
    `ChangedFile`, `UnreadableFile`, `protocol.manifest.ManifestError`, and `FarmError` (`Refused`
    for a job that cannot be).
    """
    if captured.missing and not send_anyway:
        raise MissingFiles(captured.missing)
    async with contextlib.AsyncExitStack() as stack:
        if cache is None:
            cache = await stack.enter_async_context(opened_in_thread(default_cache))
        work = _Submission(farm, captured, progress or _ignore, cache)
        # Before hashing gigabytes: is anyone there, and of our protocol?
        await farm.health()
        return await work.run(idempotency_key or new_key())


def discard(captured: CapturedScene) -> None:
    """Delete the temporary files of a captured scene; never raises."""
    if captured.scratch is not None:
        shutil.rmtree(captured.scratch, ignore_errors=True)


def _ignore(progress: SubmitProgress) -> None:
    del progress


class _Submission:
    """One run of `submit`: what it has learned and sent so far."""

    def __init__(
        self,
        farm: FarmConnection,
        captured: CapturedScene,
        progress: Callable[[SubmitProgress], None],
        cache: ChunkCache | None,
    ) -> None:
        self._farm = farm
        self._captured = captured
        self._progress = progress
        self._cache = cache
        self._new_chunks = self._new_bytes = self._sent_bytes = 0

    async def run(self, key: str) -> Submitted:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for attempt in range(1, SUBMIT_ATTEMPTS + 1):
            try:
                files = await self._chunk_all()
                manifest = _manifest(files)
                encoded = await asyncio.to_thread(encode_manifest, manifest)
                blobs = manifest.blobs()
                await self._send(files, await missing(self._farm, blobs))
                self._progress(SubmitProgress(Stage.QUEUEING, 0, len(encoded)))
                job = await self._queue(encoded, key)
            except ChangedFile as error:
                # What is remembered of it is wrong, or it was being written: look at it anew.
                if self._cache is not None:
                    self._cache.forget(error.path)
                if attempt == SUBMIT_ATTEMPTS:
                    raise
            except Refused as error:
                # The coordinator collected chunks between the question and the job.
                if error.problem.status != 409 or not error.problem.missing:
                    raise
                if attempt == SUBMIT_ATTEMPTS:
                    raise
            else:
                self._progress(SubmitProgress(Stage.QUEUEING, len(encoded), len(encoded)))
                return Submitted(
                    job=job,
                    files=len(files),
                    chunks=len(blobs),
                    scene_bytes=manifest.length,
                    new_chunks=self._new_chunks,
                    new_bytes=self._new_bytes,
                    sent_bytes=self._sent_bytes,
                    seconds=loop.time() - began,
                )
        raise AssertionError("unreachable: the last attempt returns or raises")

    # --- read ---

    async def _chunk_all(self) -> list[tuple[SceneFile, ChunkedFile]]:
        """Chunk every file, several at a time. Cancelling stops the threads within a chunk."""
        loop = asyncio.get_running_loop()
        files = self._captured.files
        stop = threading.Event()
        done = total = 0

        def add(length: int) -> None:
            nonlocal done
            done += length
            self._progress(SubmitProgress(Stage.READING, max(0, done), total))

        def hashed(length: int) -> None:
            if stop.is_set():
                raise _Stopped
            loop.call_soon_threadsafe(add, length)

        def chunk(file: SceneFile) -> ChunkedFile:
            signature = _signature(file.source)
            known = self._cache.get(file.source, signature) if self._cache is not None else None
            if known is not None:
                hashed(signature.size)
                return known
            if self._is_snapshot(file):
                _settle(file.source)
            made = chunk_file(file.source, hashed=hashed)
            if self._cache is not None:
                self._cache.put(made)
            return made

        total = await asyncio.to_thread(lambda: sum(_signature(file.source).size for file in files))
        self._progress(SubmitProgress(Stage.READING, 0, total))
        pool = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="rendermill-hash")
        try:
            made = await asyncio.gather(
                *(loop.run_in_executor(pool, chunk, file) for file in files)
            )
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        return list(zip(files, made, strict=True))

    def _is_snapshot(self, file: SceneFile) -> bool:
        scratch = self._captured.scratch
        return scratch is not None and file.source.is_relative_to(scratch)

    # --- send ---

    async def _send(self, files: list[tuple[SceneFile, ChunkedFile]], lacking: set[str]) -> None:
        places_of = _places(files, lacking)
        total = sum(place.chunk.length for place in places_of)
        self._progress(SubmitProgress(Stage.SENDING, 0, total))
        sent = await upload_chunks(
            self._farm,
            _read_all(places_of),
            progress=lambda done, all_: self._progress(SubmitProgress(Stage.SENDING, done, all_)),
            total=total,
        )
        self._new_chunks += sent.blobs
        self._new_bytes += sent.raw_bytes
        self._sent_bytes += sent.wire_bytes

    async def _queue(self, manifest: bytes, key: str) -> JobView:
        sha256 = await put_bytes(self._farm, manifest)
        self._sent_bytes += len(manifest)
        spec = self._captured.spec
        submission = JobSubmission(spec=spec, manifest=sha256)
        job = await self._farm.post("/api/v1/jobs", JobView, body=submission, key=key)
        farm_id = (await self._farm.health()).farm_id
        # The job is on the farm, whatever becomes of the note; a delivery without it says so.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._remember, job.id, farm_id)
        return job

    def _remember(self, job: str, farm_id: str) -> None:
        captured = self._captured
        remember_sent(job, farm_id, captured.spec, captured.blend, placeholder=captured.placeholder)
        if captured.blend:
            sources = [file.source for file in captured.files if not self._is_snapshot(file)]
            remember_scene(captured.blend, captured.spec.scene, sources)


class _Stopped(ClientError):
    """The submission was cancelled while a thread was hashing."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of a chunk can be read."""

    source: Path
    offset: int
    chunk: Chunk


def _signature(path: Path) -> Signature:
    try:
        return Signature.of(path)
    except OSError as error:
        raise UnreadableFile(path, error) from error


def _settle(path: Path) -> None:
    """Make a snapshot like the one before, as far as the scene is the same. Never another file.

    In a Blender without numpy it stays as it is, and more of it is sent than has changed: the panel
    says so.
    """
    try:
        from .settling import settle
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        return
    try:
        settle(path)
    except OSError as error:
        raise UnreadableFile(path, error) from error


def _manifest(files: list[tuple[SceneFile, ChunkedFile]]) -> Manifest:
    rows = (ManifestFile(file.path, made.chunks) for file, made in files)
    return Manifest(tuple(sorted(rows, key=lambda row: row.path)))


def _places(files: list[tuple[SceneFile, ChunkedFile]], lacking: set[str]) -> list[_Place]:
    """Return one place for each chunk that must be sent, in the order of the files."""
    left = set(lacking)
    found: list[_Place] = []
    for _, made in files:
        offset = 0
        for chunk in made.chunks:
            if chunk.sha256 in left:
                left.discard(chunk.sha256)
                found.append(_Place(made.source, offset, chunk))
            offset += chunk.length
    return found


async def _read_all(wanted: list[_Place]) -> AsyncIterator[tuple[str, bytes]]:
    """Read chunks in order, a few ahead of whoever takes them."""
    ahead: list[asyncio.Future[bytes]] = []
    try:
        for index, place in enumerate(wanted):
            while len(ahead) < READ_AHEAD and index + len(ahead) < len(wanted):
                following = wanted[index + len(ahead)]
                ahead.append(
                    asyncio.ensure_future(
                        asyncio.to_thread(
                            read_chunk, following.source, following.offset, following.chunk
                        )
                    )
                )
            yield place.chunk.sha256, await ahead.pop(0)
    finally:
        for future in ahead:
            future.cancel()
        # Their errors are those of the one that was raised; take them so that nobody complains.
        await asyncio.gather(*ahead, return_exceptions=True)
