"""Blobs between a member and the coordinator: ask for missing, send, fetch, download.

Memory is bounded by the constants here, whatever the size of a scene. Chunks travel in batches
(`protocol.batch`); each is compressed only where a probe says that it pays. Everything received is
checked against its hash before it is handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import aiohttp
import zstandard

from ..protocol.batch import (
    BATCH_MAX_BLOBS,
    BATCH_MAX_BYTES,
    HEADER_BYTES,
    BatchError,
    RecordHeader,
    pack_header,
    unpack_header,
)
from ..protocol.codec import encode_json
from ..protocol.manifest import CHUNK_MAX_BYTES
from .connection import FarmConnection, Piece, backoff
from .errors import Damaged, Refused, Unreachable
from .tasks import task_group

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; from the event loop's thread, often."""
Sink = Callable[[str, bytes], Awaitable[None]]
"""Takes a chunk's hash and its bytes. Calls may overlap."""
Group = Sequence[tuple[str, bytes]]
"""Chunks that travel together: hash and bytes of each."""

BATCHES_IN_FLIGHT = 3
"""Batches on their way at once: hides the round trip and the fsync of the other side. With
`BATCH_MAX_BYTES` this bounds an upload's memory to 64 MiB."""
PIECE_BYTES = 256 * 1024
FETCH_GROUP_BLOBS = 256
"""Chunks asked for in one request: at most 256 MiB to ask for again when the line breaks."""
FETCHES_IN_FLIGHT = 3
PROBE_BYTES = 32 * 1024
COMPRESS_MIN_BYTES = 128
COMPRESS_GAIN = 0.95
"""Compressed bytes must be below this part of the raw ones, else the plain ones are sent."""
COMPRESS_LEVEL = 3
LOOPBACK_COMPRESS_MAX_BYTES = 256 * 1024
"""On one machine copying a big chunk costs less than compressing it; the small ones are structs
full of zeros, which shrink to a tenth in no time."""
WINDOW_MAX_BYTES = 8 * 1024 * 1024
THREAD_MIN_BYTES = 64 * 1024
"""Work on fewer bytes is done at once: a change of thread costs more."""


@dataclass(slots=True)
class Sent:
    """What an upload cost."""

    blobs: int = 0
    raw_bytes: int = 0
    wire_bytes: int = 0
    """Bytes of the bodies, record headers included."""


# --- ask ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Missing:
    missing: tuple[str, ...]


async def missing(farm: FarmConnection, hashes: Iterable[str]) -> set[str]:
    """Return those of ``hashes`` that the coordinator does not have. Raises `FarmError`."""
    wanted = list(dict.fromkeys(hashes))
    lacking: set[str] = set()
    for start in range(0, len(wanted), BATCH_MAX_BLOBS):
        answer = await farm.post(
            "/api/v1/blobs/missing",
            _Missing,
            body={"blobs": wanted[start : start + BATCH_MAX_BLOBS]},
            retry=True,
        )
        lacking.update(answer.missing)
    return lacking


# --- send --------------------------------------------------------------------------------------


def pack_record(sha256: str, raw: bytes, *, compress: bool = True) -> tuple[bytes, bytes]:
    """Return header and payload of a record, compressed where a probe says that it pays."""
    payload = _squeeze(raw) if compress else None
    header = RecordHeader(sha256, len(raw), len(payload or raw), payload is not None)
    return pack_header(header), payload or raw


def _squeeze(raw: bytes) -> bytes | None:
    if len(raw) < COMPRESS_MIN_BYTES:
        return None
    if len(raw) > 2 * PROBE_BYTES:
        # From the middle: heads of files are more regular than what follows.
        middle = len(raw) // 2
        sample = raw[middle - PROBE_BYTES // 2 : middle + PROBE_BYTES // 2]
        if len(zstandard.compress(sample, 1)) > COMPRESS_GAIN * len(sample):
            return None
    squeezed = zstandard.compress(raw, COMPRESS_LEVEL)
    return squeezed if len(squeezed) < COMPRESS_GAIN * len(raw) else None


async def upload_chunks(
    farm: FarmConnection,
    chunks: AsyncIterator[tuple[str, bytes]],
    *,
    progress: Progress | None = None,
    total: int = 0,
) -> Sent:
    """Send chunks that come one by one; see `upload_groups`."""
    return await upload_groups(farm, _grouped(chunks), progress=progress, total=total)


async def _grouped(chunks: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[Group]:
    group: list[tuple[str, bytes]] = []
    size = 0
    async for chunk in chunks:
        group.append(chunk)
        size += len(chunk[1])
        if size >= BATCH_MAX_BYTES or len(group) == BATCH_MAX_BLOBS:
            yield group
            group, size = [], 0
    if group:
        yield group


async def upload_groups(
    farm: FarmConnection,
    groups: AsyncIterator[Group],
    *,
    progress: Progress | None = None,
    total: int = 0,
) -> Sent:
    """Send groups of chunks, several at a time; returns when the coordinator holds them all.

    Each group becomes one request: up to `BATCH_MAX_BLOBS` times (sha256, 1 to `CHUNK_MAX_BYTES`
    bytes), about `BATCH_MAX_BYTES` in all. ``groups`` is read no faster than the network takes
    them. ``progress`` counts raw bytes that have arrived, out of ``total``. On any error the
    groups in flight are cancelled; what has arrived stays, so that a repeat sends only the rest.
    Raises `FarmError` and whatever ``groups`` raises.
    """
    sent = Sent()
    compress_max = LOOPBACK_COMPRESS_MAX_BYTES if farm.is_loopback else CHUNK_MAX_BYTES
    free = asyncio.Semaphore(BATCHES_IN_FLIGHT)

    async def send(group: Group) -> None:
        try:
            # One change of thread for all of them.
            pieces = await asyncio.to_thread(_pack_group, group, compress_max)
            wire_bytes = sum(map(len, pieces))
            await farm.send(
                "POST", "/api/v1/blobs", _repeatable(pieces), headers=_length(wire_bytes)
            )
        finally:
            free.release()
        sent.blobs += len(group)
        sent.raw_bytes += sum(len(raw) for _, raw in group)
        sent.wire_bytes += wire_bytes
        if progress is not None:
            progress(sent.raw_bytes, total)

    async with task_group() as tasks:
        await free.acquire()
        async for group in groups:
            tasks.create_task(send(group))
            await free.acquire()
    return sent


def _pack_group(group: Group, compress_max: int) -> list[Piece]:
    """Return the body of a batch in pieces of about `PIECE_BYTES`: neither tiny nor huge writes."""
    pieces: list[Piece] = []
    small: list[Piece] = []
    length = 0
    for sha256, raw in group:
        header, payload = pack_record(sha256, raw, compress=len(raw) <= compress_max)
        small.append(header)
        length += len(header)
        if len(payload) < PIECE_BYTES:
            small.append(payload)
            length += len(payload)
            if length < PIECE_BYTES:
                continue
        pieces.append(b"".join(small))
        small, length = [], 0
        if len(payload) >= PIECE_BYTES:
            pieces += _cut(payload)
    if small:
        pieces.append(b"".join(small))
    return pieces


def _cut(data: bytes) -> Iterator[Piece]:
    view = memoryview(data)
    for start in range(0, len(data), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _repeatable(pieces: Iterable[Piece]) -> Callable[[], AsyncIterator[Piece]]:
    async def body() -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece

    return body


def _length(length: int) -> dict[str, str]:
    return {"Content-Length": str(length), "Content-Type": "application/octet-stream"}


async def put_bytes(farm: FarmConnection, data: bytes) -> str:
    """Store ``data`` as a blob of any size and return its SHA-256. Raises `FarmError`."""
    sha256 = (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
    await farm.send(
        "PUT", f"/api/v1/blobs/{sha256}", _repeatable(list(_cut(data))), headers=_length(len(data))
    )
    return sha256


async def put_file(
    farm: FarmConnection,
    path: Path,
    sha256: str,
    length: int,
    *,
    progress: Progress | None = None,
) -> bool:
    """Stream a file of any size as one blob; whether the coordinator did not have it yet.

    Raises `Damaged` when the file no longer has ``length`` bytes; `Refused` with status 422 when
    its bytes do not hash to ``sha256``, 507 when the coordinator's disk is full; OSError.
    """

    async def body() -> AsyncIterator[bytes]:
        done = 0
        with _open(path, "rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                done += len(piece)
                if done > length:
                    break
                yield piece
                if progress is not None:
                    progress(done, length)
        if done != length:
            raise Damaged(f"{path} changed its size while it was sent.")

    status, _ = await farm.send("PUT", f"/api/v1/blobs/{sha256}", body, headers=_length(length))
    return status == 201


# --- fetch -------------------------------------------------------------------------------------


async def fetch_chunks(
    farm: FarmConnection,
    hashes: Iterable[str],
    sink: Sink,
    *,
    progress: Progress | None = None,
    total: int = 0,
) -> None:
    """Fetch chunks in batches, several at a time, and hand each to ``sink``, verified, once.

    A broken connection is taken up again at the first chunk that is lacking, within the
    connection's patience. ``progress`` counts raw bytes handed on. Raises `NotFound` naming a
    chunk that the coordinator lacks, `Damaged`, `Unreachable`, and whatever ``sink`` raises.
    """
    wanted = list(dict.fromkeys(hashes))
    done = 0

    async def take(sha256: str, raw: bytes) -> None:
        nonlocal done
        await sink(sha256, raw)
        done += len(raw)
        if progress is not None:
            progress(done, total)

    free = asyncio.Semaphore(FETCHES_IN_FLIGHT)

    async def fetch(group: list[str]) -> None:
        async with free:
            await _fetch_group(farm, group, take)

    async with task_group() as tasks:
        for start in range(0, len(wanted), FETCH_GROUP_BLOBS):
            tasks.create_task(fetch(wanted[start : start + FETCH_GROUP_BLOBS]))


async def _fetch_group(farm: FarmConnection, group: list[str], sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    position = attempt = 0
    give_up = loop.time() + farm.patience_seconds
    while position < len(group):
        attempt += 1
        try:
            async with farm.stream(
                "POST",
                "/api/v1/blobs/fetch",
                body=encode_json({"blobs": group[position:]}),
                headers={"Content-Type": "application/json"},
            ) as response:
                while position < len(group):
                    raw = await _read_record(response.content, group[position])
                    await sink(group[position], raw)
                    position += 1
                    attempt, give_up = 0, loop.time() + farm.patience_seconds
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.problem.status != 503:
                raise
            wait = backoff(attempt or 1)
            if loop.time() + wait > give_up:
                raise
            await asyncio.sleep(wait)


async def _read_record(content: aiohttp.StreamReader, sha256: str) -> bytes:
    try:
        header = unpack_header(await content.readexactly(HEADER_BYTES))
        payload = await content.readexactly(header.wire_length)
    except asyncio.IncompleteReadError as error:
        raise aiohttp.ClientPayloadError("the answer ended inside a chunk") from error
    except BatchError as error:
        raise Damaged(f"The coordinator sent a batch that cannot be read: {error}") from error
    if header.sha256 != sha256:
        raise Damaged(f"The coordinator sent chunk {header.sha256} where {sha256} was asked for.")
    if header.raw_length >= THREAD_MIN_BYTES:
        return await asyncio.to_thread(unpack_payload, header, payload)
    return unpack_payload(header, payload)


def unpack_payload(header: RecordHeader, payload: bytes) -> bytes:
    """Return the raw blob of a record, its length and hash checked. Raises `Damaged`."""
    raw = payload
    if header.compressed:
        # A frame may lie about its size: never inflate more than the record promises.
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES).stream_reader(payload)
        try:
            raw = reader.read(header.raw_length + 1)
        except zstandard.ZstdError as error:
            raise Damaged(f"Chunk {header.sha256} cannot be decompressed: {error}") from error
    if len(raw) != header.raw_length or hashlib.sha256(raw).hexdigest() != header.sha256:
        raise Damaged(f"The bytes of chunk {header.sha256} do not hash to its name.")
    return raw


# --- download ----------------------------------------------------------------------------------


async def download_file(
    farm: FarmConnection,
    sha256: str,
    length: int,
    destination: Path,
    *,
    progress: Progress | None = None,
    mark: str = "",
) -> None:
    """Bring a blob into the file ``destination``: all of it under that name, or nothing.

    Written beside it under a temporary name, checked, made durable, renamed; an existing file is
    replaced. A broken connection is taken up at the byte where it broke, within the connection's
    patience. Raises `FarmError` and OSError (a full disk, no permission); no part stays behind
    unless this process is killed: ``mark`` then tells in its name whose it was.
    """
    # Without the name itself: one that is as long as names may be leaves no room for more.
    owner = f"{mark}-" if mark else ""
    part = destination.with_name(f".rendermill-{owner}{secrets.token_hex(6)}.part")
    try:
        await _download(farm, sha256, length, part, progress)
        await asyncio.to_thread(_settle, part, destination)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


async def _download(
    farm: FarmConnection, sha256: str, length: int, part: Path, progress: Progress | None
) -> None:
    loop = asyncio.get_running_loop()
    digest = hashlib.sha256()
    done = attempt = 0
    give_up = loop.time() + farm.patience_seconds
    with _open(part, "xb") as file:
        while True:
            attempt += 1
            headers = {"Range": f"bytes={done}-"} if done else {}
            try:
                async with farm.stream(
                    "GET", f"/api/v1/blobs/{sha256}", headers=headers
                ) as response:
                    if done and response.status != 206:
                        # The other side did not resume: begin anew.
                        file.seek(0)
                        file.truncate()
                        digest, done = hashlib.sha256(), 0
                    async for piece in response.content.iter_chunked(PIECE_BYTES):
                        done += len(piece)
                        if done > length:
                            raise Damaged(f"Blob {sha256} is longer than its {length} bytes.")
                        await asyncio.to_thread(_append, file, digest.update, piece)
                        attempt, give_up = 0, loop.time() + farm.patience_seconds
                        if progress is not None:
                            progress(done, length)
                if done == length:
                    break
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.problem.status != 503:
                    raise
                wait = backoff(attempt or 1)
                if loop.time() + wait > give_up:
                    raise
                await asyncio.sleep(wait)
            else:
                # Content-Length was kept and is not what the manifest or the frame says.
                raise Damaged(f"Blob {sha256} has {done} bytes where {length} were expected.")
        if digest.hexdigest() != sha256:
            raise Damaged(f"The bytes that arrived do not hash to {sha256}; try again.")
        await asyncio.to_thread(_sync, file)


def _open(path: Path, mode: Literal["rb", "xb"]) -> BinaryIO:
    # Not in a thread: one that ends after its task was cancelled would leave an open file behind.
    return path.open(mode)


def _append(file: BinaryIO, update: Callable[[bytes], None], piece: bytes) -> None:
    file.write(piece)
    update(piece)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _settle(part: Path, destination: Path) -> None:
    part.replace(destination)
    sync_folder(destination.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the system can (Windows has no such call)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
