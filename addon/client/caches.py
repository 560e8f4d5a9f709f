"""What Rendermill keeps on the artist's machine only to be quicker: how much, and away with it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ...wire import places
from .artist import snapshots_dir, sweep_snapshots
from .pictures import pictures_dir


class Cache(str, Enum):
    """A cache; each may be cleared at any time and costs only time."""

    CHUNKS = "chunks"
    """What is known of files that were read before, so that they are not read again."""
    PICTURES = "pictures"
    """Small pictures of frames."""
    COPIES = "copies"
    """Copies of scenes on their way, and those that a crash has left."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How much a cache holds."""

    total_bytes: int
    files: int


def measure_caches() -> dict[Cache, CacheSize]:
    """Return the size of every cache. Blocks; what cannot be read counts nothing."""
    return {cache: _size(_paths(cache)) for cache in Cache}


def clear(cache: Cache) -> None:
    """Empty a cache; copies of scenes that are being sent just now stay. Blocks.

    Raises OSError.
    """
    if cache is Cache.COPIES:
        sweep_snapshots()
        return
    for path in _paths(cache):
        path.unlink(missing_ok=True)


def _paths(cache: Cache) -> list[Path]:
    match cache:
        case Cache.CHUNKS:
            return list(places.cache_dir().glob("chunks.sqlite*"))
        case Cache.PICTURES:
            return list(pictures_dir().glob("*"))
        case Cache.COPIES:
            return [path for path in snapshots_dir().rglob("*") if not path.is_dir()]


def _size(paths: list[Path]) -> CacheSize:
    total = files = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
            files += 1
    return CacheSize(total, files)
