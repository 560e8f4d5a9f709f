"""Where a Blender may be on this machine: candidates only, `probe` finds out what they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_USUAL_PLACES = {
    "linux": (
        "/opt/blender*/blender",
        "/usr/local/blender*/blender",
        "/usr/local/bin/blender",
        "/snap/bin/blender",
        "~/blender*/blender",
        "~/Applications/blender*/blender",
        "~/.local/share/blender*/blender",
        "~/.steam/steam/steamapps/common/Blender/blender",
    ),
    "darwin": (
        "/Applications/Blender*.app/Contents/MacOS/Blender",
        "/Applications/Blender*/Blender.app/Contents/MacOS/Blender",
        "~/Applications/Blender*.app/Contents/MacOS/Blender",
    ),
    "win32": (
        "C:/Program Files/Blender Foundation/*/blender.exe",
        "C:/Program Files (x86)/Steam/steamapps/common/Blender/blender.exe",
        "~/AppData/Local/Programs/Blender*/blender.exe",
    ),
}

_PROGRAMS = ("blender", "blender.exe", "Blender")
_PYTHONS = ("bin/python", "bin/python3", "Scripts/python.exe")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that may be a Blender."""

    path: Path
    """Absolute. A Python is not resolved: the link in an environment decides what it imports."""
    is_module: bool
    """True for a Python that may import bpy."""


class NotABlender(ValueError):
    """A path the user named that holds no Blender; the message says what to name instead."""


def find_blenders(extra: Iterable[Path] = ()) -> list[Candidate]:
    """Return the candidates of this machine, those in ``extra`` first, each once.

    An extra path is a Blender program, a Python that has bpy, or a folder with one of them.
    Raises `NotABlender` for an extra path that is none of these.
    """
    found: dict[Path, Candidate] = {}
    for candidate in (*map(candidate_at, extra), *_on_search_path(), *_in_usual_places(), *_own()):
        key = candidate.path if candidate.is_module else candidate.path.resolve()
        found.setdefault(key, candidate)
    return list(found.values())


def candidate_at(path: Path) -> Candidate:
    """Return the candidate a user means by ``path``. Raises `NotABlender`."""
    path = path.expanduser().absolute()
    if path.is_dir():
        for names, is_module in ((_PROGRAMS, False), (_PYTHONS, True)):
            for name in names:
                if (path / name).is_file():
                    return Candidate(path / name, is_module)
        inside = path / "Contents" / "MacOS" / "Blender"
        if inside.is_file():
            return Candidate(inside, is_module=False)
        raise NotABlender(f"There is no Blender in the folder {path}; name the program itself.")
    if not path.is_file():
        raise NotABlender(f"There is no file {path}; name a Blender or a Python that has bpy.")
    if not os.access(path, os.X_OK):
        raise NotABlender(f"{path} is not a program; name a Blender or a Python that has bpy.")
    return Candidate(path, path.name.lower().startswith("python"))


def _on_search_path() -> Iterator[Candidate]:
    program = shutil.which("blender")
    if program is not None:
        yield Candidate(Path(program).absolute(), is_module=False)


def _in_usual_places() -> Iterator[Candidate]:
    for pattern in _USUAL_PLACES.get(sys.platform, ()):
        whole = Path(pattern).expanduser()
        anchor = Path(whole.anchor)
        for path in sorted(anchor.glob(str(whole.relative_to(anchor))), reverse=True):
            if path.is_file() and os.access(path, os.X_OK):
                yield Candidate(path, is_module=False)


def _own() -> Iterator[Candidate]:
    """The Python we run in, where it has bpy; found without importing it."""
    if importlib.util.find_spec("bpy") is not None and sys.executable:
        yield Candidate(Path(sys.executable).absolute(), is_module=True)
