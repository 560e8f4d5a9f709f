"""Blobs: immutable files named by their SHA-256, under ``blobs/ab/<64 hex digits>``.

Two ways in, for two promises:

`BlobStore.receive` takes one blob of any size (a finished frame, a manifest) and is durable when it
returns: temp file, hash and length checked, fsync, rename, fsync of the folder.

`BlobStore.add` takes many small ones (the chunks of a scene). They are checked and renamed into
``arriving/`` without waiting for the disk, since nothing is promised for a chunk before its job
is accepted. `BlobStore.settle` is the barrier: everything that arrived is flushed, moved to its
place, and the folders are flushed too. It runs before a job is accepted, and by itself each time
`UNSETTLED_MAX_BYTES` have arrived. After a power cut a file in ``arriving/`` may be torn, one in
its place never is; so at a start only ``arriving/`` is hashed again.

A disk may damage what it has kept. Bytes that are read whole are hashed on the way; a blob that is
not what its name says goes to ``damaged/`` and is missing from then on, so that nobody is served
it and whoever has the right bytes may send them again.

Everything here blocks; call it from a thread. Every method may be called from several at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from ...protocol.codec import is_sha256
from . import DiskFull, StoreFailed
from .incoming import ROOM_CHECK_BYTES, Incoming, WrongHash

_log = logging.getLogger(__name__)

UNSETTLED_MAX_BYTES = 256 * 1024 * 1024
"""Arrived bytes after which a barrier runs by itself: bounds what a start has to hash again."""

DISK_RESERVE_BYTES = 256 * 1024 * 1024
"""Left free for the database and the system: a full disk must never be why a commit fails."""

_PIECE_BYTES = 1024 * 1024

_FLUSH_THREADS = 16
"""fsyncs in flight where there is no syncfs; a journalling file system commits them together."""

_SYNCFS_REPORTS_ERRORS_SINCE = (5, 8)
"""Linux before 5.8 returned 0 from syncfs even when data was lost."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class BlobDamaged(FileNotFoundError):
    """The bytes on the disk are not those the name stands for; the blob counts as missing now."""


class BlobStore:
    """The blobs of one data folder. ``on_failure`` is told once when the disk failed for good."""

    def __init__(
        self, folder: Path, on_failure: Callable[[str], None], reserve: int = DISK_RESERVE_BYTES
    ) -> None:
        self._folder = folder
        self.on_damage: Callable[[str], None] = lambda _: None
        """Told, from any thread, the name of each blob that turned out to be damaged."""
        # Times of use must not jump with the system's date: what was used a moment ago would be
        # taken for unused, and collected.
        self._date = time.time() - time.monotonic()
        self._damaged_folder = folder / "damaged"
        self._arriving_folder = folder / "arriving"
        self._temp_folder = folder / "temp"
        self._on_failure = on_failure
        self.reserve = reserve
        """Bytes of the disk that are never used."""
        self._failed = ""
        # Guards the two sets of names below and the moment between "is it old?" and its removal.
        self._lock = threading.Lock()
        self._settle_lock = threading.Lock()
        self._unsettled: dict[str, int] = {}
        self._unsettled_bytes = 0
        self._renamed: Counter[str] = Counter()
        """Blobs in their place whose names there are not flushed yet."""
        self._expected_bytes = 0
        """What uploads in progress have announced and not written yet."""
        self._pool = ThreadPoolExecutor(_FLUSH_THREADS, thread_name_prefix="flush")
        self._barrier_fd = -1

    # --- life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the folders, drop temp files, and check again what arrived before a crash."""
        for folder in (
            self._folder,
            self._arriving_folder,
            self._temp_folder,
            self._damaged_folder,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        present = {entry.name for entry in os.scandir(self._folder)}
        missing = [name for name in _fan_names() if name not in present]
        for name in missing:
            (self._folder / name).mkdir(exist_ok=True)
        if missing:
            _flush_folder(self._folder)
            _flush_folder(self._folder.parent)
        # A process that was killed may have renamed what it did not come to flush.
        list(self._pool.map(_flush_folder, [self._folder / name for name in _fan_names()]))
        for entry in os.scandir(self._temp_folder):
            Path(entry.path).unlink()
        if _has_syncfs():
            # Opened before any write: the kernel reports each lost write once per open file.
            self._barrier_fd = os.open(self._folder, os.O_RDONLY)
        for entry in list(os.scandir(self._arriving_folder)):
            length = entry.stat().st_size
            if _hash_file(Path(entry.path)) == entry.name:
                self._unsettled[entry.name] = length
                self._unsettled_bytes += length
            else:
                _log.warning("arrived blob is torn, dropped: blob=%s bytes=%d", entry.name, length)
                Path(entry.path).unlink()
        if self._unsettled:
            self.settle()

    @property
    def has_failed(self) -> bool:
        """Whether the disk has failed for good."""
        return bool(self._failed)

    def close(self) -> None:
        """Settle what arrived and let go of the folder."""
        if not self._failed:
            with contextlib.suppress(StoreFailed, OSError):
                self.settle()
        self._pool.shutdown()
        if self._barrier_fd >= 0:
            os.close(self._barrier_fd)
            self._barrier_fd = -1

    # --- questions ----------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time of use as files get it: seconds since 1970 that never jump."""
        return self._date + time.monotonic()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those of ``names`` that are not here, in order; those that are count as used now.

        Being asked for restarts the grace period of `collection`: whoever was told "it is here"
        has that long to submit the job that refers to it.
        """
        absent: list[str] = []
        used = self.now()
        with self._lock:
            for name in names:
                # One that has only arrived takes its time of use along when it is moved.
                place = "arriving" if name in self._unsettled else name[:2]
                try:
                    os.utime(f"{self._folder}/{place}/{name}", (used, used))
                except FileNotFoundError:
                    absent.append(name)
        return absent

    def length(self, name: str) -> int | None:
        """Bytes of a blob, None when it is not here."""
        with self._lock:
            arrived = self._unsettled.get(name)
        if arrived is not None:
            return arrived
        try:
            return self._place(name).stat().st_size
        except FileNotFoundError:
            return None

    def measure(self, name: str, announced: int) -> int | None:
        """As `length`; one that has not the length ``announced`` is hashed before that is said.

        So whoever announced wrongly is told, and a blob that the disk has cut short is missing.
        """
        length = self.length(name)
        if length is None or length == announced:
            return length
        try:
            return self.check(name)
        except FileNotFoundError:
            return None

    def open_blob(self, name: str) -> BinaryIO:
        """Open a blob for reading. Raises `FileNotFoundError`."""
        try:
            return self._place(name).open("rb")
        except FileNotFoundError:
            pass
        try:
            return (self._arriving_folder / name).open("rb")
        except FileNotFoundError:
            # A barrier may have moved it between the two looks.
            return self._place(name).open("rb")

    def read(self, name: str) -> bytes:
        """Return all bytes of a blob, checked. For blobs of bounded size.

        Raises `FileNotFoundError`, `BlobDamaged`.
        """
        with self.open_blob(name) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != name:
            raise self.set_aside(name)
        return data

    def check(self, name: str) -> int:
        """Read a blob of any size and return its length. Raises as `read`, and OSError."""
        length = 0
        digest = hashlib.sha256()
        with self.open_blob(name) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                length += len(piece)
        if digest.hexdigest() != name:
            raise self.set_aside(name)
        return length

    def set_aside(self, name: str) -> BlobDamaged:
        """Keep a damaged blob from being served; return the error to raise."""
        with self._lock:
            is_arrived = name in self._unsettled
            if is_arrived:
                self._unsettled_bytes -= self._unsettled.pop(name)
            place = self._arriving_folder / name if is_arrived else self._place(name)
            with contextlib.suppress(FileNotFoundError):
                place.replace(self._damaged_folder / name)
        _log.error("blob is damaged on the disk, set aside: blob=%s", name)
        self.on_damage(name)
        return BlobDamaged(errno.ENOENT, "the blob was damaged on the disk", name)

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield the name and length in bytes of every settled blob."""
        for fan in _fan_names():
            for entry in os.scandir(self._folder / fan):
                # What a file manager or a person has left there is not ours to judge.
                if is_sha256(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.name, entry.stat().st_size

    def free_bytes(self) -> int:
        """Free bytes of the disk."""
        return shutil.disk_usage(self._folder).free

    def require_room(self, length: int) -> None:
        """Raise `DiskFull` unless ``length`` more bytes fit and the reserve stays free.

        What uploads in progress have announced counts as taken.
        """
        with self._lock:
            expected = self._expected_bytes
        self._check_room(length, expected)

    def _check_room(self, length: int, expected: int) -> None:
        left = self.free_bytes() - expected - self.reserve
        if left < length:
            raise DiskFull(
                f"The coordinator's disk has {max(0, left) // 2**20} MiB left and "
                f"{-(-length // 2**20)} MiB are to be stored; delete old jobs or free space on it."
            )

    def expect(self, length: int) -> int:
        """Count on ``length`` more bytes of uploads in progress, or fewer where it is negative.

        Returns what was expected before.
        """
        with self._lock:
            before = self._expected_bytes
            self._expected_bytes += length
        return before

    # --- ways in ------------------------------------------------------------------------------

    def add(self, blobs: Iterable[tuple[str, bytes]]) -> int:
        """Take small blobs without waiting for the disk; returns how many were not here before.

        Raises `WrongHash`, `DiskFull`, `StoreFailed`; those before the one it stopped at are kept.
        Durable after the next `settle`.
        """
        self._require_working()
        self.require_room(0)
        added = since_check = 0
        # Plain strings and descriptors: for 4 KiB, paths as objects cost more than hashing.
        temp = f"{self._temp_folder}/{threading.get_ident()}."
        arriving = f"{self._arriving_folder}/"
        for name, data in blobs:
            if hashlib.sha256(data).hexdigest() != name:
                raise WrongHash(
                    f"The bytes sent as blob {name} do not hash to that name; send it again."
                )
            if not self.missing((name,)):
                continue
            path = temp + name
            with self._writing():
                try:
                    _write_file(path, data, self.now())
                    with self._lock:
                        # Renamed and listed under one lock: a barrier sees both or neither.
                        os.rename(path, arriving + name)  # noqa: PTH104
                        self._unsettled_bytes += len(data) - self._unsettled.get(name, 0)
                        self._unsettled[name] = len(data)
                except BaseException:
                    Path(path).unlink(missing_ok=True)
                    raise
            added += 1
            since_check += len(data)
            if since_check >= ROOM_CHECK_BYTES:
                self.require_room(0)
                since_check = 0
        return added

    def needs_settling(self) -> bool:
        """Whether so much has arrived that a barrier should run."""
        with self._lock:
            return self._unsettled_bytes >= UNSETTLED_MAX_BYTES

    def receive(self, name: str, length: int, most: int) -> Incoming:
        """Begin to take one blob, durable once `Incoming.finish` returned.

        About ``length`` bytes are expected and at most ``most`` are taken. Raises `DiskFull`,
        `StoreFailed`.
        """
        self._require_working()
        # Counted first: of many that begin at once, each must see the others.
        others = self.expect(length)
        try:
            self._check_room(length, others)
            with self._writing():
                handle, path = tempfile.mkstemp(dir=self._temp_folder)
        except BaseException:
            self.expect(-length)
            raise
        file = os.fdopen(handle, "wb", buffering=0)
        return Incoming(self, name, length, most, file, Path(path))

    def append(self, file: BinaryIO, data: bytes) -> None:
        """Write all of ``data``. Raises `DiskFull`, `StoreFailed`."""
        with self._writing():
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    def publish(self, name: str, file: BinaryIO, path: Path) -> None:
        """Make a checked temp file the blob ``name``, durably. Raises `DiskFull`, `StoreFailed`."""
        self._require_working()
        with self._writing():
            # Nothing was promised yet: a disk that is full at this point is an answer.
            used = self.now()
            os.utime(path, (used, used))
            _flush(file.fileno())
        file.close()
        place = self._place(name)
        with self._flushing():
            with self._lock:
                path.replace(place)
                self._renamed[name] += 1
            _flush_folder(place.parent)
        self._flushed((name,))

    def _flushed(self, names: Iterable[str]) -> None:
        """The names of these are on the disk. Not said of one whose flush failed: that is final."""
        with self._lock:
            for name in names:
                self._renamed[name] -= 1
                if not self._renamed[name]:
                    del self._renamed[name]

    def settle(self) -> None:
        """Make every blob that has arrived durable. Raises `StoreFailed`, which is final."""
        with self._settle_lock:
            self._require_working()
            with self._lock:
                arrived = list(self._unsettled)
            if not arrived:
                return
            with self._flushing():
                if len(arrived) >= _FLUSH_THREADS and self._barrier_fd >= 0:
                    self._barrier()
                else:
                    list(self._pool.map(self._flush_arrived, arrived))
                self._move(arrived)

    def _move(self, arrived: list[str]) -> None:
        source, target = f"{self._arriving_folder}/", f"{self._folder}/"
        for name in arrived:
            with self._lock:
                os.replace(source + name, f"{target}{name[:2]}/{name}")  # noqa: PTH105
                self._unsettled_bytes -= self._unsettled.pop(name)
                self._renamed[name] += 1
        folders = {name[:2] for name in arrived}
        if len(folders) >= _FLUSH_THREADS and self._barrier_fd >= 0:
            self._barrier()
        else:
            list(self._pool.map(_flush_folder, [self._folder / name for name in folders]))
        self._flushed(arrived)

    def _flush_arrived(self, name: str) -> None:
        with (self._arriving_folder / name).open("rb+") as file:
            _flush(file.fileno())

    def _barrier(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(self._barrier_fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def make_durable(self, names: Iterable[str]) -> None:
        """Return once these blobs, all of which are here, are durable. Raises `StoreFailed`."""
        self._require_working()
        names = tuple(names)
        with self._lock:
            waiting = any(name in self._unsettled for name in names)
        if waiting:
            self.settle()
        with self._lock:
            # Others have renamed these and are about to flush the folders; nobody waits for them.
            folders = {name[:2] for name in names if name in self._renamed}
        if folders:
            with self._flushing():
                list(self._pool.map(_flush_folder, [self._folder / name for name in folders]))
        self._require_working()

    # --- collection ---------------------------------------------------------------------------

    def unused_since(self, moment: float) -> Iterator[str]:
        """Names of the settled blobs nobody has asked for since ``moment``, a time of `now`."""
        for fan in _fan_names():
            for entry in os.scandir(self._folder / fan):
                # What a file manager or a person has left there is not ours to judge.
                if is_sha256(entry.name) and entry.stat().st_mtime < moment:
                    yield entry.name

    def remove_if_unused(self, name: str, moment: float) -> int:
        """Remove a blob unless it was asked for since ``moment``; return the bytes set free."""
        place = self._place(name)
        with self._lock:
            try:
                status = place.stat()
            except FileNotFoundError:
                return 0
            if status.st_mtime >= moment:
                return 0
            place.unlink()
        return status.st_size

    # --- inside -------------------------------------------------------------------------------

    def _place(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _require_working(self) -> None:
        if self._failed:
            raise StoreFailed(self._failed)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A full disk before anything was promised is an answer; any other error is final."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull(
                    "The coordinator's disk is full; delete old jobs or free space on it."
                ) from error
            raise self._fail(error) from error

    @contextlib.contextmanager
    def _flushing(self) -> Iterator[None]:
        """After a failed flush the page cache lies: a second try may report success for nothing."""
        try:
            yield
        except OSError as error:
            raise self._fail(error) from error

    def _fail(self, error: OSError) -> StoreFailed:
        sentence = (
            f"The coordinator could not write to {self._folder} ({error.strerror or error}); "
            "it accepts nothing more until the disk is checked and it is started again."
        )
        first = not self._failed
        self._failed = self._failed or sentence
        if first:
            _log.critical("blob store failed: folder=%s error=%s", self._folder, error)
            self._on_failure(sentence)
        return StoreFailed(self._failed)


def _fan_names() -> list[str]:
    return [f"{number:02x}" for number in range(256)]


def _has_syncfs() -> bool:
    if sys.platform != "linux":
        return False
    release = os.uname().release.split("-")[0].split(".")
    return (
        tuple(int(part) for part in release[:2] if part.isdigit()) >= _SYNCFS_REPORTS_ERRORS_SINCE
    )


def _flush(descriptor: int) -> None:
    """Bring a file to the medium, through the drive's own cache where the system can say so."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable. Windows has no such call and journals them itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _write_file(path: str, data: bytes, used: float) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
    )
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    os.utime(path, (used, used))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
