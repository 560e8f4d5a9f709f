"""A copy of a data folder as it is at one moment, while its coordinator works in it.

The copy is a data folder: ``rendermill coordinator --data COPY`` starts the farm from it. First
the database is copied, inside one reading transaction; then the blobs it refers to, which never
change. A blob that goes meanwhile belonged to a job that was deleted meanwhile: then the database
is copied again. An earlier backup of the same farm in the folder is brought up to date, and stays
whole until its new database takes the place of the old.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from sqlalchemy import func, select

from .. import __version__
from ..protocol.codec import is_sha256
from ..wire.blobs import sync_folder
from ..wire.credentials import write_private
from .store import DataInUse, rows, schema
from .store.collection import mark
from .store.database import open_for_reading
from .store.lock import FolderLock

MARK = "backup.json"
"""In the folder of a backup: which farm's, when it was taken, and of which database."""
DATABASES = ("coordinator.db", "logs.db")
IDENTITY = "identity"
BLOBS = "blobs"
COPIES_AT_ONCE = 8
"""Files on their way: hides the flush of each."""
ROUNDS_MAX = 5
"""The database is copied so often when jobs are deleted while their files are copied."""
BUSY_SECONDS = 60.0
"""How long the database may keep a reader waiting, which it does only while it is recovered."""
TELL_BYTES = 1024**3
"""Progress is told after so many bytes."""
_PIECE_BYTES = 1024 * 1024


class BackupFailed(Exception):
    """Why there is no new backup, in one sentence; an earlier one is as it was."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    farm: str
    jobs: int
    files: int
    """Scenes, frames and pictures: all blobs of the backup."""
    length: int
    """Their bytes."""
    copied: int
    """Those that the folder lacked."""
    copied_length: int
    lost: tuple[str, ...]
    """Blobs that the farm's own data lacks, or has damaged: they are not in the backup either."""
    same_disk: bool
    """Whether farm and backup would be lost together."""


@dataclass(slots=True, kw_only=True)
class _Mark:
    farm: str
    farm_id: str
    software: str = __version__
    taken: float | None = None
    """Seconds since 1970; None while the first backup is under way."""
    databases: list[str] = field(default_factory=list)
    """SHA-256 of the database; of the old and the new one while they change places."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """The farm at one moment."""

    farm: _Mark
    jobs: int
    needed: set[str]
    lost: tuple[str, ...] = ()


def back_up(
    data: Path, folder: Path, tell: Callable[[int, int], None], *, reread: bool = False
) -> Backup:
    """Copy the data folder ``data`` to ``folder``, or bring the backup there up to date.

    ``tell`` gets files and bytes copied so far, now and then. ``reread``: also hash what an
    earlier backup has stored. Blocks for as long as the disks take. Raises `BackupFailed` and
    OSError.
    """
    data, folder = data.resolve(), folder.resolve()
    if not (data / DATABASES[0]).is_file():
        raise BackupFailed(
            f"There is no farm in {data}; run this where the coordinator runs, or name its data "
            "folder with --data."
        )
    if data == folder or data in folder.parents or folder in data.parents:
        raise BackupFailed(f"{folder} and the farm's own {data} lie in each other; name another.")
    old = _read_mark(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except DataInUse as error:
        raise BackupFailed(
            f"A coordinator or another backup is at work in {folder}; wait for its end, or name a "
            "new folder."
        ) from error
    try:
        _require_untouched(folder, old)
        return _Copying(data, folder, tell, reread=reread).run(old)
    finally:
        lock.release()


def _read_mark(folder: Path) -> _Mark | None:
    """Return the mark of the backup in a folder, None where the folder is free for one."""
    try:
        text = (folder / MARK).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BackupFailed(
                f"{folder} is not empty and holds no backup; name a new folder."
            ) from None
        return None
    try:
        return _Mark(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise BackupFailed(f"{folder / MARK} is damaged ({error}); name a new folder.") from error


def _require_untouched(folder: Path, old: _Mark | None) -> None:
    """Refuse to overwrite a farm that was started from the backup and lives on there."""
    database = folder / DATABASES[0]
    if old is None or not database.exists():
        return
    log = database.with_name(database.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if has_log or _hash(database) not in old.databases:
        raise BackupFailed(
            f"A coordinator has worked in the backup {folder} since it was taken; name a new "
            "folder."
        )


class _Copying:
    """One backup under way."""

    def __init__(
        self, data: Path, folder: Path, tell: Callable[[int, int], None], *, reread: bool
    ) -> None:
        self._data = data
        self._folder = folder
        self._tell = tell
        self._reread = reread
        self._looked: dict[str, int] = {}
        """Length of each blob that is in the backup now."""
        self._copied = self._copied_length = self._told = 0

    def run(self, old: _Mark | None) -> Backup:
        snapshot = self._folder / f"{DATABASES[0]}.part"
        taken = self._take(snapshot, old)
        for _ in range(ROUNDS_MAX):
            if not taken.lost:
                break
            before, taken = taken, self._take(snapshot, old)
            # Missing both times: no job was deleted, it is the farm that lacks them.
            if taken.lost == before.lost:
                break
        self._copy_identity()
        if (self._data / DATABASES[1]).exists():
            logs = self._folder / f"{DATABASES[1]}.part"
            copy_database(self._data / DATABASES[1], logs)
            logs.replace(self._folder / DATABASES[1])
        farm, new = taken.farm, _hash(snapshot)
        farm.databases = [*(old.databases if old is not None else ()), new]
        self._write_mark(farm)
        snapshot.replace(self._folder / DATABASES[0])
        sync_folder(self._folder)
        farm.taken, farm.databases = time.time(), [new]
        self._write_mark(farm)
        self._prune(taken.needed)
        return Backup(
            farm=farm.farm,
            jobs=taken.jobs,
            files=len(self._looked),
            length=sum(self._looked.values()),
            copied=self._copied,
            copied_length=self._copied_length,
            lost=taken.lost,
            same_disk=self._data.stat().st_dev == self._folder.stat().st_dev,
        )

    def _take(self, snapshot: Path, old: _Mark | None) -> _Taken:
        """Copy the database as it is now, and the blobs it needs."""
        copy_database(self._data / DATABASES[0], snapshot)
        taken = self._read(snapshot)
        if old is None:
            # Whatever ends this now: what lies here may be gone on with.
            self._write_mark(taken.farm)
        elif old.farm_id != taken.farm.farm_id:
            snapshot.unlink()
            raise BackupFailed(
                f"{self._folder} holds a backup of another farm, {old.farm!r}; name a new folder."
            )
        return replace(taken, lost=self._copy_blobs(taken.needed))

    def read(self, name: str) -> bytes:
        """Return the bytes of a blob of the farm, as `store.blobs.BlobStore.read`."""
        data = _place(self._data, name).read_bytes()
        if hashlib.sha256(data).hexdigest() != name:
            # The coordinator will find out by itself; nothing of its data is changed here.
            raise FileNotFoundError(name)
        return data

    def _read(self, snapshot: Path) -> _Taken:
        """Return whose the database is, how many jobs are in it, and the blobs it needs."""
        engine = open_for_reading(snapshot)
        try:
            with engine.connect() as connection:
                farm = rows.read_setting(connection, "farm_name")
                farm_id = rows.read_setting(connection, "farm_id")
                if farm is None or farm_id is None:
                    raise BackupFailed(f"The farm in {self._data} has not been started yet.")
                jobs = connection.execute(select(func.count()).select_from(schema.jobs)).scalar()
                needed = {name.hex() for name in mark(connection, self).blobs}
        finally:
            engine.dispose()
        return _Taken(_Mark(farm=farm, farm_id=farm_id), jobs or 0, needed)

    # --- blobs ---------------------------------------------------------------------------------

    def _copy_blobs(self, needed: set[str]) -> tuple[str, ...]:
        """Bring the blobs into the backup; return those that the farm does not have sound."""
        wanted = sorted(needed - self._looked.keys())
        for name in wanted:
            # Asked for just now, so that they are not collected before they were copied.
            with contextlib.suppress(OSError):
                os.utime(_place(self._data, name))
        fans = [self._folder / BLOBS / fan for fan in sorted({name[:2] for name in wanted})]
        for fan in fans:
            fan.mkdir(parents=True, exist_ok=True)
        lost: list[str] = []
        with ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="backup") as pool:
            for name, found in zip(wanted, pool.map(self._copy_blob, wanted), strict=True):
                if found is None:
                    lost.append(name)
                    continue
                self._looked[name], is_new = found
                if is_new:
                    self._copied += 1
                    self._copied_length += self._looked[name]
                if self._copied_length - self._told >= TELL_BYTES:
                    self._told = self._copied_length
                    self._tell(self._copied, self._copied_length)
        for fan in fans:
            sync_folder(fan)
        return tuple(lost)

    def _copy_blob(self, name: str) -> tuple[int, bool] | None:
        """Return length and newness of a blob that is in the backup now; None: the farm lacks it.

        Raises OSError for what is wrong with the backup's disk.
        """
        target = _place(self._folder, name)
        if target.exists() and (not self._reread or _hash(target) == name):
            return target.stat().st_size, False
        part = target.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            with _private(part) as copy:
                length = self._copy_sound(name, copy)
                if length is None:
                    return None
                copy.flush()
                os.fsync(copy.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return length, True

    def _copy_sound(self, name: str, copy: BinaryIO) -> int | None:
        """Copy a blob of the farm and return its length; None where it is gone or damaged."""
        digest = hashlib.sha256()
        length = 0
        try:
            source = _place(self._data, name).open("rb")
        except OSError:
            return None
        with source:
            while piece := _read_piece(source):
                digest.update(piece)
                length += len(piece)
                copy.write(piece)
        return length if digest.hexdigest() == name else None

    def _prune(self, needed: Iterable[str]) -> None:
        """Remove what only jobs needed that were deleted since the last backup."""
        for name in self._looked.keys() - set(needed):
            self._looked.pop(name)
        for fan in (self._folder / BLOBS).glob("[0-9a-f][0-9a-f]"):
            for entry in os.scandir(fan):
                # Also halves that a backup which was killed has left.
                is_left = entry.name.startswith(".") and is_sha256(entry.name[1:65])
                if is_left or (is_sha256(entry.name) and entry.name not in self._looked):
                    Path(entry.path).unlink()

    # --- the rest ------------------------------------------------------------------------------

    def _copy_identity(self) -> None:
        """Copy certificate and secrets: nodes and artists are let in as before."""
        (self._folder / IDENTITY).mkdir(mode=0o700, exist_ok=True)
        for file in sorted((self._data / IDENTITY).iterdir()):
            if file.is_file():
                write_private(self._folder / IDENTITY / file.name, file.read_bytes())

    def _write_mark(self, mark: _Mark) -> None:
        write_private(self._folder / MARK, json.dumps(asdict(mark), indent=1).encode())


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite file as it is at one moment, whoever writes to it; checked and flushed.

    Raises `BackupFailed` where the file is damaged or cannot be read.
    """
    target.unlink(missing_ok=True)
    # As the coordinator's own readers: it cannot write, hence never checkpoints.
    address = f"file:{quote(str(source))}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as live,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            target.chmod(0o600)
            live.backup(copy)
            # One file, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            said = [str(row[0]) for row in copy.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        raise BackupFailed(f"The database {source} could not be copied: {error}.") from error
    if said != ["ok"]:
        raise BackupFailed(
            f"The database {source} is damaged ({said[0]}): keep the last good backup, and put the "
            "database back from it."
        )
    with target.open("r+b") as file:
        os.fsync(file.fileno())


def _place(data: Path, name: str) -> Path:
    return data / BLOBS / name[:2] / name


def _read_piece(source: BinaryIO) -> bytes:
    try:
        return source.read(_PIECE_BYTES)
    except OSError:
        # A sector that cannot be read: what came of the blob will not hash to its name.
        return b""


def _private(path: Path) -> BinaryIO:
    return os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600),
        "wb",
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
