"""Where each file of a scene stands in the tree that travels.

Files keep their place below the deepest folder common to all files of their drive, so relative
paths hold by themselves and absolute ones are rewritten folder for folder.
"""

from __future__ import annotations

import ntpath
import posixpath
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...protocol.job import SceneRoot
from ...protocol.manifest import ManifestError, check_path
from .paths import is_windows_absolute

MAIN_ROOT = "scene"
"""Place in the tree of the drive that holds the .blend."""


@dataclass(slots=True)
class Tree:
    """Roots, and the place of every file that can travel."""

    roots: list[SceneRoot] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    """Absolute path as spelled -> path as in `ManifestFile.path`."""
    refused: dict[str, str] = field(default_factory=dict)
    """Absolute path -> sentence why its name cannot be created on every node."""


def plant(blend: str, files: Iterable[str]) -> Tree:
    """Return the tree for a .blend and the files it needs; all paths absolute and normal.

    Two spellings of one file (case aside, on systems where it does not count) get one place.
    """
    tree = Tree()
    by_drive: dict[str, list[str]] = {}
    for path in [blend, *files]:
        by_drive.setdefault(_drive(path), []).append(path)
    taken: set[str] = set()
    for drive, paths in by_drive.items():
        name = MAIN_ROOT if drive == _drive(blend) else _root_name(drive, taken)
        taken.add(name)
        folder = _common_folder(paths)
        tree.roots.append(SceneRoot(folder=folder, path=name))
        depth = len(_split(folder))
        for path in paths:
            _place(tree, path, depth, name)
    return tree


def _place(tree: Tree, path: str, depth: int, root: str) -> None:
    place = unicodedata.normalize("NFC", "/".join([root, *_split(path)[depth:]]))
    try:
        tree.places[path] = check_path(place)
    except ManifestError as error:
        tree.refused[path] = str(error)


def _flavour(path: str):
    return ntpath if is_windows_absolute(path) else posixpath


def _drive(path: str) -> str:
    """Return ``''`` on POSIX, ``c:`` or ``\\\\server\\share`` in lower case on Windows."""
    return _flavour(path).splitdrive(path)[0].lower()


def _split(path: str) -> list[str]:
    flavour = _flavour(path)
    rest = flavour.splitdrive(path)[1]
    text = rest.replace("\\", "/") if flavour is ntpath else rest
    return [part for part in text.split("/") if part]


def _common_folder(paths: list[str]) -> str:
    """Return the deepest folder that holds all paths, as the first of them spells it."""
    flavour = _flavour(paths[0])
    fold = str.casefold if flavour is ntpath else str
    common = _split(paths[0])[:-1]
    for path in paths[1:]:
        parts = _split(path)[:-1]
        length = 0
        while length < min(len(common), len(parts)) and fold(common[length]) == fold(parts[length]):
            length += 1
        common = common[:length]
    drive = flavour.splitdrive(paths[0])[0]
    return drive + flavour.sep + flavour.sep.join(common)


def _root_name(drive: str, taken: set[str]) -> str:
    letters = "".join(char if char.isascii() and char.isalnum() else "_" for char in drive)
    name = f"drive_{letters.strip('_') or 'other'}"
    number, unique = 2, name
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
