"""The scenes that nodes of this user keep on this computer: how much, and away with them."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ..node.locks import FileLock
from ..wire import places


class SceneCacheInUse(Exception):
    """A node works with it; one sentence."""


def folder() -> Path:
    """Return the folder of the cache, as `node.options.NodeOptions.cache_folder` has it."""
    return places.cache_dir() / "scenes"


def size() -> int:
    """Return the bytes on disk; a file that several trees link to counts once. Blocks."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for where, _, names in os.walk(folder()):
        for name in names:
            with contextlib.suppress(OSError):
                stat = Path(where, name).lstat()
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_size
    return total


def clear() -> None:
    """Delete all of it. Blocks. Raises `SceneCacheInUse` while a node runs, and OSError."""
    held: list[FileLock] = []
    try:
        for path in (folder() / "users").glob("*.lock"):
            lock = FileLock(path)
            if not lock.acquire(wait=False):
                raise SceneCacheInUse(
                    "A node on this computer works with these scenes; stop it first."
                )
            held.append(lock)
        for part in folder().glob("*"):
            if part.name != "users":
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    finally:
        for lock in held:
            lock.release()
