"""Small pictures of finished frames, for jobs whose frames are not brought here.

They lie in ``<cache>/pictures``, one for each job: the newest.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from ...wire import places
from ...wire.connection import FarmConnection

PICTURES_KEPT = 64
"""Of the jobs looked at last; each has some ten kilobytes."""
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def pictures_dir() -> Path:
    """Return the folder of the pictures."""
    return places.cache_dir() / "pictures"


async def fetch_picture(farm: FarmConnection, job: str, frame: int) -> Path:
    """Fetch the thumbnail of a finished frame and return its file; older ones of the job go.

    Raises `FarmError` (`NotFound` where there is none) and OSError.
    """
    _, data = await farm.send("GET", f"/api/v1/jobs/{job}/frames/{frame}/thumbnail", b"")
    return await asyncio.to_thread(_keep, job, frame, data)


def _keep(job: str, frame: int, data: bytes) -> Path:
    # The id comes from the network and becomes a file name.
    if not _SAFE.fullmatch(job):
        raise OSError(f"{job[:80]!r} is not the id of a job")
    folder = pictures_dir()
    folder.mkdir(parents=True, exist_ok=True)
    # Blender knows a picture by its content, whatever its name ends with.
    path = folder / f"{job}.{frame}.jpg"
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
    for older in folder.glob(f"{job}.*.jpg"):
        if older != path:
            older.unlink(missing_ok=True)
    others = sorted(folder.glob("*.jpg"), key=lambda other: other.stat().st_mtime)
    for old in others[:-PICTURES_KEPT]:
        old.unlink(missing_ok=True)
    return path
