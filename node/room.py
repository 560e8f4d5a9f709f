"""Whether the disks a node works on have room and can be written: else the node takes nothing.

Watched are the disk of the outbox and of Blender's scratch, and that of the scene cache. A disk is
full when less than a reserve is free, or when something just could not be written for lack of room
(a quota shows no other way). It has room again only when clearly more than the reserve is free, so
that a node does not come and go with every frame it delivers.

A disk that reports an error is broken for as long as the node lives: the next write may seem to
succeed for bytes that are gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..wire.threads import in_thread
from .cache import remove
from .notices import Notice, NoticeKind, Notify
from .outbox import FrameKey

RESERVE_BYTES = 128 * 1024**2
"""A disk with less is full. Below `cache.DISK_RESERVE_BYTES`, which scenes leave to frames: the
frame in progress and those that wait for the farm must fit in."""
AGAIN_PART = 1.25
"""Frames are taken again from this part of the reserve on; at the reserve itself it would
flutter."""
TOLD_PART = 0.125
"""How much is free is told anew when it has moved by this part of the reserve: a reason that
changed with every byte would be told with every look."""
REFUSED_SECONDS = 60.0
"""A write that was refused for lack of room, whatever seems to be free, counts for so long."""

TRIAL_BYTES = 64 * 1024
"""Written and flushed on a disk to see whether it still takes anything, when a frame has failed for
a reason that may be the disk's: Blender names no error numbers."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV)
"""A device that fails or is gone, and a file system that allows no writes since one failed."""
_MIB = 1024**2

Measure = Callable[[Path], int]
"""Returns the bytes that may still be written below a folder. May block."""


def free_bytes(folder: Path) -> int:
    """Return what this process may still write on the disk of a folder. Raises `OSError`."""
    return shutil.disk_usage(folder).free


def is_for_lack_of_room(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is a write refused by a full disk."""
    return _is_one_of(_FULL, error)


def is_of_a_broken_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that a disk does not work."""
    return _is_one_of(_BROKEN, error)


def _is_one_of(numbers: tuple[int, ...], error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        error = error.__cause__
    return False


def try_writing(folder: Path) -> None:
    """Write a little below a folder and flush it. Blocks; raises `OSError`."""
    trial = folder / f".trial-{secrets.token_hex(4)}"
    try:
        with trial.open("xb") as file:
            file.write(bytes(TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        # What cannot be deleted there is the least of its troubles.
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


async def discard(output: Path, notify: Notify) -> None:
    """Remove what a frame has left; what its disk does not let go is swept at the next start.

    It must not keep a frame that is whole from being delivered.
    """
    try:
        await in_thread(remove, output)
    except OSError as error:
        text = f"The folder {output} stays until the next start: {error.strerror}."
        notify(Notice(NoticeKind.PROBLEM, text))


@dataclass(slots=True)
class _Full:
    what: str
    folder: Path
    told_bytes: int
    until: float = 0.0
    """Of the clock: not before this it has room again."""
    seen: bool = True
    """Whether a look has said so yet: what was told of it must be taken back by one."""


class Room:
    """Remembers which disks are full. `measure` may run in a thread, the rest in the loop."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        reserve_bytes: int = RESERVE_BYTES,
        measure: Measure = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``folders``: what lies there, for people, and where; those of one disk count once."""
        self._folders = dict(folders)
        self._reserve = reserve_bytes
        self._again = int(reserve_bytes * AGAIN_PART)
        self._measure = measure
        self._clock = clock
        self._full: dict[Path, _Full] = {}
        self._lacked: set[FrameKey] = set()
        """Frames that once found no room here."""
        self._broken = ""
        """What is said of a disk that does not work."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called when a disk is found full or broken between two looks: somebody must look."""

    def measure(self) -> dict[Path, tuple[str, int]]:
        """Return what each disk is for and has free. Blocks; raises `OSError`."""
        found: dict[int, Path] = {}
        names: dict[Path, list[str]] = {}
        for name, folder in self._folders.items():
            disk = folder.stat().st_dev
            names.setdefault(found.setdefault(disk, folder), []).append(name)
        return {
            folder: (" and ".join(whats), self._measure(folder)) for folder, whats in names.items()
        }

    def judge(self, measured: Mapping[Path, tuple[str, int]]) -> str:
        """Take over what was measured; return why nothing can be taken, '' when there is room."""
        now = self._clock()
        for folder, (what, free) in measured.items():
            full = self._full.get(folder)
            if full is None:
                if free < self._reserve:
                    self._full[folder] = _Full(what, folder, free)
            elif full.seen and free >= self._again and now >= full.until:
                del self._full[folder]
            else:
                full.seen = True
                if abs(free - full.told_bytes) >= self._reserve * TOLD_PART:
                    full.told_bytes = free
        return self._reason

    def judge_failure(self, measured: Mapping[Path, tuple[str, int]], *, is_refused: bool) -> str:
        """Return why something failed for lack of room, '' when there was room.

        A disk that is full now is full at least until the next look at it. ``is_refused``: a write
        was refused, so that the disk with the least room is full whatever it seems to have.
        """
        short = [folder for folder, (_, free) in measured.items() if free < self._reserve]
        if is_refused and not short:
            short = [min(measured, key=lambda folder: measured[folder][1])]
        for folder in short:
            what, free = measured[folder]
            full = self._full.setdefault(folder, _Full(what, folder, free))
            full.seen = False
            if is_refused:
                full.until = self._clock() + REFUSED_SECONDS
        if not short:
            return ""
        self.on_refused()
        return self._reason

    def judge_broken(self, what: str) -> str:
        """Return why nothing can be taken any more, ``what`` being a sentence of what failed."""
        if not self._broken:
            self._broken = (
                f"{what} Nothing can be relied on there: the node takes no frames until that disk "
                "has been checked and the node is started again."
            )
        self.on_refused()
        return self._reason

    async def reason_to_return(self, key: FrameKey, error: Exception, output: Path) -> str:
        """Return why a frame that failed goes back to the farm; '' when the failure is its own.

        ``output``: what it has left, which is removed. A frame that twice fills a disk which
        without it has room needs more than this machine has: that is a failure.
        """
        refused = is_for_lack_of_room(error)
        if is_of_a_broken_disk(error):
            return self.judge_broken(str(error))
        for folder in () if refused else self._folders.values():
            try:
                await in_thread(try_writing, folder)
            except OSError as trial:
                if is_of_a_broken_disk(trial):
                    return self.judge_broken(f"{folder} cannot be written: {trial.strerror}.")
                refused = refused or is_for_lack_of_room(trial)
        measured = await in_thread(self.measure)
        reason = self.judge_failure(measured, is_refused=refused)
        if not reason:
            return ""
        await in_thread(remove, output)
        left = await in_thread(self.measure)
        has_room = all(free >= self._again for _, free in left.values())
        if key in self._lacked and has_room:
            return ""
        self._lacked.add(key)
        return reason

    @property
    def _reason(self) -> str:
        full = (self._sentence(full) for full in self._full.values())
        return " ".join(filter(None, (self._broken, *full)))

    def _sentence(self, full: _Full) -> str:
        if full.told_bytes >= self._again:
            return (
                f"The disk of {full.what} ({full.folder}) takes nothing more, although "
                f"{full.told_bytes // _MIB} MiB of it are free: look for a quota. "
                "The node tries again within a minute or two."
            )
        return (
            f"The disk of {full.what} ({full.folder}) is full: {full.told_bytes // _MIB} MiB free "
            f"of the {self._again // _MIB} MiB it needs; free some and the node goes on by itself."
        )
