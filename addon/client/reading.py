"""Read the files of a scene once: cut, hash, and hand on what was read while it is in memory.

    reader = SceneReader(files, settles=is_snapshot, cache=cache, progress=show)
    try:
        async for group in reader.groups():
            ...                       # (sha256, bytes) of chunks, some megabytes of them
            reader.let_go(length)     # once they are on the farm
        reader.finish()
    finally:
        reader.stop()
    reader.files                      # what every file is made of, in their order

A few threads take one file after another. Each change of thread, and each lock, costs more than a
small file does, so a thread hands on whole groups and tells of its progress now and then. Whoever
takes the groups sets the pace: at most `GROUPS_AHEAD` wait for it. Files that the cache knows are
not read, and nothing of them is in the groups.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...protocol.batch import BATCH_MAX_BLOBS
from ...protocol.manifest import Chunk
from ...protocol.scene import SceneFile
from .chunk_cache import ChunkCache
from .chunking import ChunkedFile, Signature, chunk_file
from .errors import ClientError, UnreadableFile

READING_THREADS = min(4, os.cpu_count() or 1)
"""One thread hashes 1.5 GB/s; more than four wait for the disk."""
GROUP_BYTES = 8 * 1024 * 1024
"""A group is handed on once it is so long: long enough to hide a round trip, and short enough that
those of all threads and those on their way are a small part of what Blender itself takes."""
GROUPS_AHEAD = 2
PROGRESS_SECONDS = 0.05
"""The progress of a thread is told so often: at each chunk it would wake the event loop, which
then holds the interpreter."""


class SceneReader:
    """Reads each of ``files`` once. Snapshots, those that ``settles`` says, are settled before.

    ``progress`` hears bytes done and bytes in all, in the event loop's thread. Done is what was
    known before, and what was read and let go: on a slow network reading is far ahead of sending.
    """

    def __init__(
        self,
        files: Sequence[SceneFile],
        *,
        settles: Callable[[SceneFile], bool],
        cache: ChunkCache | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._sources = files
        self._made: list[ChunkedFile | None] = [None] * len(files)
        self._settles = settles
        self._cache = cache
        self._progress = progress
        self._todo = iter(enumerate(files))
        self._lock = threading.Lock()
        """Guards what is left to do and the next three."""
        self._read_bytes = 0
        self._held_bytes = 0
        """Those of them that nobody has let go yet."""
        self._told_at = 0.0
        self._told_bytes = 0
        self._total_bytes = 0
        self._stop = threading.Event()
        self._room = threading.Semaphore(GROUPS_AHEAD)
        self._groups: asyncio.Queue[list[tuple[str, bytes]] | None] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="rendermill-read")

    @property
    def files(self) -> list[tuple[SceneFile, ChunkedFile]]:
        """Each file with what it is made of, once `groups` has come to its end."""
        made = [file for file in self._made if file is not None]
        return list(zip(self._sources, made, strict=True))

    def stop(self) -> None:
        """Let the threads end within a chunk. Any number of times, also before the end."""
        self._stop.set()
        self._room.release(READING_THREADS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def groups(self) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Give (sha256, bytes) of all chunks that are read, in any order; some may come twice.

        Raises `UnreadableFile` and `ChangedFile`.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._total_bytes = await loop.run_in_executor(self._pool, self._measure)
        self._progress(0, self._total_bytes)
        threads = [loop.run_in_executor(self._pool, self._read) for _ in range(READING_THREADS)]
        reading = asyncio.gather(*threads)
        reading.add_done_callback(self._end)
        while (group := await self._groups.get()) is not None:
            self._room.release()
            yield group
        await reading

    def _end(self, reading: asyncio.Future[list[None]]) -> None:
        self._groups.put_nowait(None)
        # Whoever takes the groups may have gone away: then nobody is to hear of its error.
        if not reading.cancelled():
            reading.exception()

    def let_go(self, length: int) -> None:
        """Note that so many bytes of groups are on the farm. In the event loop's thread."""
        with self._lock:
            self._held_bytes -= length
        self._tell()

    def finish(self) -> None:
        """Tell that everything is done. In the event loop's thread."""
        self._told_bytes = self._total_bytes
        self._progress(self._total_bytes, self._total_bytes)

    # --- in threads ---

    def _measure(self) -> int:
        return sum(_signature(file.source).size for file in self._sources)

    def _read(self) -> None:
        """Read files until none is left."""
        group = _Group(self)
        while True:
            with self._lock:
                index, file = next(self._todo, (-1, None))
            if file is None:
                break
            self._made[index] = self._read_one(file, group)
        group.hand_on()

    def _read_one(self, file: SceneFile, group: _Group) -> ChunkedFile:
        signature = _signature(file.source)
        known = self._cache.get(file.source, signature) if self._cache is not None else None
        if known is not None:
            self.advance(signature.size)
            return known
        if self._settles(file):
            _settle(file.source)
        made = chunk_file(file.source, hashed=self.advance, found=group.add)
        if self._cache is not None:
            self._cache.put(made)
        return made

    def advance(self, length: int) -> None:
        """Note that so many bytes more are done; raises where the reading was stopped."""
        if self._stop.is_set():
            raise _Stopped
        now = time.monotonic()
        with self._lock:
            self._read_bytes += length
            if now - self._told_at < PROGRESS_SECONDS:
                return
            self._told_at = now
        self._loop.call_soon_threadsafe(self._tell)

    def hold(self, length: int) -> None:
        """Note that so many bytes are read and must be let go before they are done."""
        with self._lock:
            self._held_bytes += length

    def hand_on(self, group: list[tuple[str, bytes]]) -> None:
        """Queue a group; waits for room."""
        self._room.acquire()
        if self._stop.is_set():
            raise _Stopped
        self._loop.call_soon_threadsafe(self._groups.put_nowait, group)

    def _tell(self) -> None:
        with self._lock:
            done = self._read_bytes - self._held_bytes
        # A file that grows, or is read again, may lead back or beyond the end.
        self._told_bytes = max(self._told_bytes, min(done, self._total_bytes))
        self._progress(self._told_bytes, self._total_bytes)


class _Group:
    """Chunks that one thread has read and not handed on yet."""

    def __init__(self, reader: SceneReader) -> None:
        self._reader = reader
        self._chunks: list[tuple[str, bytes]] = []
        self._length = 0

    def add(self, chunk: Chunk, data: bytes) -> None:
        self._reader.hold(chunk.length)
        self._chunks.append((chunk.sha256, data))
        self._length += chunk.length
        if self._length >= GROUP_BYTES or len(self._chunks) == BATCH_MAX_BLOBS:
            self.hand_on()

    def hand_on(self) -> None:
        if self._chunks:
            self._reader.hand_on(self._chunks)
            self._chunks, self._length = [], 0


class _Stopped(ClientError):
    """The submission was cancelled while a thread was reading."""


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
