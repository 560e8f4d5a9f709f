"""What was sent of each scene the last time, so that the artist sees what has changed since.

One small file for each .blend and scene, ``<data>/scenes/<hash>.json``: the files that travelled,
with size and time of change. It is for people only: what must be sent is asked of the farm, chunk
by chunk, whatever stands here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...wire import places

SCENES_KEPT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSize:
    """The files of a scene as they are now, against those that were sent the last time."""

    files: int
    total_bytes: int
    sent_at: float | None
    """Seconds since 1970; None: this scene was never sent from here."""
    new: tuple[str, ...] = ()
    """Names of files that were not sent with it."""
    changed: tuple[str, ...] = ()
    """Names of files that have been written since."""
    changed_bytes: int = 0
    """Bytes of both."""
    gone: int = 0
    """Files that were sent and are not part of it any more."""


def measure(blend: str, scene: str, files: Iterable[Path]) -> SceneSize:
    """Look at every file of a scene, the .blend apart. Blocks; files that are gone count nothing.

    ``blend``: where the open file is saved, ``scene``: its name; the two name what is compared.
    """
    now = _states(files)
    before, sent_at = _load(blend, scene)
    fresh = [path for path in now if path not in before] if sent_at is not None else []
    changed = [path for path, state in now.items() if path in before and before[path] != state]
    return SceneSize(
        files=len(now),
        total_bytes=sum(size for size, _ in now.values()),
        sent_at=sent_at,
        new=tuple(Path(path).name for path in fresh),
        changed=tuple(Path(path).name for path in changed),
        changed_bytes=sum(now[path][0] for path in (*fresh, *changed)),
        gone=sum(path not in now for path in before),
    )


def remember_scene(blend: str, scene: str, files: Iterable[Path]) -> None:
    """Note that these files were sent just now. Blocks; raises OSError."""
    path = _path(blend, scene)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"blend": blend, "scene": scene, "sent": time.time(), "files": _states(files)}
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(plain), "utf-8")
    part.replace(path)
    known = sorted(path.parent.glob("*.json"), key=lambda other: other.stat().st_mtime)
    for old in known[:-SCENES_KEPT]:
        old.unlink(missing_ok=True)


def _states(files: Iterable[Path]) -> dict[str, tuple[int, int]]:
    states: dict[str, tuple[int, int]] = {}
    for path in files:
        with contextlib.suppress(OSError):
            stat = path.stat()
            states[str(path)] = (stat.st_size, stat.st_mtime_ns)
    return states


def _load(blend: str, scene: str) -> tuple[dict[str, tuple[int, int]], float | None]:
    try:
        plain = json.loads(_path(blend, scene).read_text("utf-8"))
        files = {path: (int(size), int(at)) for path, (size, at) in plain["files"].items()}
        return files, float(plain["sent"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, None


def _path(blend: str, scene: str) -> Path:
    name = hashlib.sha256(f"{blend}\n{scene}".encode("utf-8", "surrogateescape")).hexdigest()
    return places.data_dir() / "scenes" / f"{name[:32]}.json"
