"""The OpenColorIO configuration that this Blender was started with, and the files it reads.

Blender takes it from the variable OCIO once, when it starts; without one it has its own. A node
starts its Blender with the same configuration, so the files travel like any other of the scene.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import bpy

BUILT_IN = "ocio://"
"""Beginning of the names of configurations that OpenColorIO itself brings along."""

_OWN_CONFIGURATION = os.path.join("colormanagement", "config.ocio")
"""Of Blender, below its data files."""

_CONFIG_MAX_BYTES = 16 << 20
"""The largest of the ACES configurations has 0.5 MB."""

_SEARCH_PATH = re.compile(r"^search_path:[ \t]*(.*)((?:\n[ \t]+-[^\n]*)*)", re.MULTILINE)
_FILE_TRANSFORM = "!<FileTransform>"
"""Of all transforms with a ``src`` the one that reads a file; others name colour spaces."""
_SOURCE = re.compile(r"""\bsrc:\s*(?:"([^"]*)"|'([^']*)'|([^,}\n]+))""")


@dataclass(frozen=True, slots=True)
class ColourFiles:
    """What a configuration consists of."""

    files: list[str] = field(default_factory=list)
    """Absolute paths, the configuration itself first."""
    missing: list[str] = field(default_factory=list)
    """Tables that it names and that lie in none of its folders."""
    elsewhere: list[str] = field(default_factory=list)
    """Its folders that a node would look for where they are here: absolute, or with variables."""


def own_configuration() -> str:
    """Return where Blender keeps its own configuration."""
    utils: Any = bpy.utils
    return os.path.join(utils.system_resource("DATAFILES"), _OWN_CONFIGURATION)


def configuration(own: str) -> str:
    """Return the configuration this Blender uses: an absolute path, a built-in name, or ''.

    '' is Blender's ``own`` (see `own_configuration`), also where the variable names that very
    file, as distributions let it, and for a path that does not exist: Blender then takes its own,
    and says so in its log. Reads both files.
    """
    value = os.environ.get("OCIO", "").strip()
    if value.startswith(BUILT_IN):
        return value
    path = os.path.normpath(os.path.abspath(value)) if value else ""
    if not os.path.isfile(path):
        return ""
    # By what it says: a distribution may keep its data files in several places.
    return "" if os.path.isfile(own) and filecmp.cmp(path, own, shallow=False) else path


def colour_files(configuration: str) -> ColourFiles:
    """Return the files of a configuration; of none or a built-in one there are none.

    An archive (``.ocioz``) is one file. Raises OSError when it cannot be read.
    """
    if not configuration or configuration.startswith(BUILT_IN):
        return ColourFiles()
    found = ColourFiles([configuration])
    if configuration.lower().endswith(".ocioz"):
        return found
    with open(configuration, "rb") as file:
        text = file.read(_CONFIG_MAX_BYTES).decode("utf-8", "replace")
    base = os.path.dirname(configuration)
    folders = [base]
    for folder in _search_path(text):
        if "$" in folder or "%" in folder:
            found.elsewhere.append(folder)
            continue
        if os.path.isabs(folder):
            found.elsewhere.append(folder)
        folders.append(os.path.normpath(os.path.join(base, folder)))
    for name in dict.fromkeys(_sources(text)):
        # Each may be in any folder of the list; with a variable in its name it is anybody's guess.
        there = [path for folder in folders if os.path.isfile(path := os.path.join(folder, name))]
        if there:
            found.files.extend(os.path.normpath(path) for path in there)
        elif not found.elsewhere and "$" not in name:
            found.missing.append(os.path.join(folders[-1], name))
    return found


def _search_path(text: str) -> Iterator[str]:
    match = _SEARCH_PATH.search(text)
    if match is None:
        return
    lines = [line.strip()[1:] for line in match[2].splitlines() if line.strip()]
    # Version 1 has one line with colons; where a list follows, the line itself is empty.
    for item in lines or re.split(r":(?![\\/])", match[1].strip()):
        folder = item.strip().strip("\"'")
        if folder:
            yield folder


def _sources(text: str) -> Iterator[str]:
    for following in text.split(_FILE_TRANSFORM)[1:]:
        match = _SOURCE.search(following.partition("!<")[0])
        if match is not None:
            yield next(group for group in match.groups() if group is not None).strip()
