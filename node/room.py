"""Whether the disks a node works on have room: while one is full, the node takes nothing.

Watched are the disk of the outbox and of Blender's scratch, and that of the scene cache. A disk is
full when less than a reserve is free, or when something just could not be written for lack of room
(a quota shows no other way). It has room again only when clearly more than the reserve is free, so
that a node does not come and go with every frame it delivers.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cache import remove
from .outbox import FrameKey
from .threads import in_thread

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

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MIB = 1024**2

Measure = Callable[[Path], int]
"""Returns the bytes that may still be written below a folder. May block."""


def free_bytes(folder: Path) -> int:
    """Return what this process may still write on the disk of a folder. Raises `OSError`."""
    return shutil.disk_usage(folder).free


def is_for_lack_of_room(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is a write refused by a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


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
        self.on_full: Callable[[], None] = lambda: None
        """Called when a write was refused: somebody must look."""

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
        self.on_full()
        return self._reason

    async def reason_to_return(self, key: FrameKey, error: Exception, output: Path) -> str:
        """Return why a frame that failed goes back to the farm; '' when the failure is its own.

        ``output``: what it has left, which is removed. A frame that twice fills a disk which
        without it has room needs more than this machine has: that is a failure.
        """
        measured = await in_thread(self.measure)
        reason = self.judge_failure(measured, is_refused=is_for_lack_of_room(error))
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
        return " ".join(self._sentence(full) for full in self._full.values())

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
