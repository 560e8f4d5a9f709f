"""From a captured scene to a job on the farm: read, ask, send what is missing, queue.

    async with FarmConnection(credentials) as farm:
        submitted = await submit(farm, captured, progress=show)
        print(submitted.job.id, submitted.sent_bytes, "of", submitted.scene_bytes)

Files are read once: a chunk is hashed, asked for and sent while it is in memory (`reading`).
Nothing here touches the scene's files but to read them. Cancelling the coroutine stops at once and
leaves nothing half done: chunks that arrived stay on the coordinator and make the next attempt
shorter, a job exists only when all of its scene does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ...protocol.batch import BATCH_MAX_BLOBS
from ...protocol.codec import encode_manifest
from ...protocol.manifest import Chunk, Manifest, ManifestFile
from ...protocol.scene import CapturedScene, SceneFile
from ...protocol.views import JobSubmission, JobView
from ...wire import places
from ...wire.blobs import Group, Sent, missing, put_bytes, upload_groups
from ...wire.connection import FarmConnection
from ...wire.errors import Refused
from ...wire.threads import opened_in_thread
from .chunk_cache import ChunkCache
from .chunking import ChunkedFile, read_chunk
from .errors import ChangedFile, MissingFiles
from .reading import GROUP_BYTES, SceneReader
from .sent_jobs import remember_sent
from .sent_scenes import remember_scene

SUBMIT_ATTEMPTS = 3
"""Times a scene is sent again when the coordinator misses chunks, or a file changed meanwhile."""


class Stage(str, Enum):
    """What a submission is doing."""

    READING = "reading"
    """Reading files, and sending what the farm lacks of them; bytes are those of the scene."""
    SENDING = "sending"
    """Sending what the farm lacks of files that were known from before, and so were not read; bytes
    are those to send, before compression."""
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
                files = await self._read()
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

    async def _read(self) -> list[tuple[SceneFile, ChunkedFile]]:
        """Read every file, and send what is read and the farm lacks. Stops within a chunk."""
        reader = SceneReader(
            self._captured.files,
            settles=self._is_snapshot,
            cache=self._cache,
            progress=lambda done, all_: self._progress(SubmitProgress(Stage.READING, done, all_)),
        )
        arrived = 0

        def let_go(sent_bytes: int, _: int) -> None:
            nonlocal arrived
            reader.let_go(sent_bytes - arrived)
            arrived = sent_bytes

        try:
            sent = await upload_groups(self._farm, self._lacking(reader), progress=let_go)
            reader.finish()
        finally:
            reader.stop()
        self._count(sent)
        return reader.files

    async def _lacking(self, reader: SceneReader) -> AsyncIterator[Group]:
        """Give of each group what the farm lacks and was not given before; let go of the rest."""
        given: set[str] = set()
        async for group in reader.groups():
            new = {sha256: data for sha256, data in group if sha256 not in given}
            lacking = await missing(self._farm, new)
            given |= lacking
            wanted = [(sha256, new[sha256]) for sha256 in new if sha256 in lacking]
            reader.let_go(_length(group) - _length(wanted))
            if wanted:
                yield wanted

    def _is_snapshot(self, file: SceneFile) -> bool:
        scratch = self._captured.scratch
        return scratch is not None and file.source.is_relative_to(scratch)

    # --- send ---

    async def _send(self, files: list[tuple[SceneFile, ChunkedFile]], lacking: set[str]) -> None:
        """Send what is still lacking: chunks of files that were known and so not read."""
        places_of = _places(files, lacking)
        total = sum(place.chunk.length for place in places_of)
        self._progress(SubmitProgress(Stage.SENDING, 0, total))
        sent = await upload_groups(
            self._farm,
            _read_all(places_of),
            progress=lambda done, all_: self._progress(SubmitProgress(Stage.SENDING, done, all_)),
            total=total,
        )
        self._count(sent)

    def _count(self, sent: Sent) -> None:
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of a chunk can be read."""

    source: Path
    offset: int
    chunk: Chunk


def _length(group: Group) -> int:
    return sum(len(data) for _, data in group)


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


async def _read_all(wanted: list[_Place]) -> AsyncIterator[Group]:
    """Read chunks in order, by groups; the next is read while the one before is on its way."""
    groups = _grouped(wanted)
    following = next(groups, None)
    ahead = None if following is None else asyncio.ensure_future(_read_group(following))
    try:
        while ahead is not None:
            group = await ahead
            following = next(groups, None)
            ahead = None if following is None else asyncio.ensure_future(_read_group(following))
            yield group
    finally:
        if ahead is not None:
            ahead.cancel()
            # Its error is that of the one that was raised; taken so that nobody complains.
            await asyncio.gather(ahead, return_exceptions=True)


async def _read_group(places_of: list[_Place]) -> Group:
    def read() -> Group:
        return [
            (place.chunk.sha256, read_chunk(place.source, place.offset, place.chunk))
            for place in places_of
        ]

    return await asyncio.to_thread(read)


def _grouped(wanted: list[_Place]) -> Iterator[list[_Place]]:
    group: list[_Place] = []
    length = 0
    for place in wanted:
        group.append(place)
        length += place.chunk.length
        if length >= GROUP_BYTES or len(group) == BATCH_MAX_BLOBS:
            yield group
            group, length = [], 0
    if group:
        yield group
