"""The layers that a USD file is made of: sublayers, references, payloads, clips, of these again.

Blender opens the file that a cache names, and USD opens the others. Pictures that a layer names are
not among them: an import made images of those.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bpy

EXTENSIONS = (".usd", ".usda", ".usdc", ".usdz")

TEXT_MAX_BYTES = 64 << 20
"""Of a layer that is read as text."""

_TEXT_LAYER = b"#usda"
_NAMED_LAYER = re.compile(rb"@@@([^\r\n]+?\.usd[acz]?)@@@|@([^@\r\n]+\.usd[acz]?)@", re.IGNORECASE)


@dataclass(slots=True)
class Companions:
    """What is read along with a file, itself left out; absolute paths, in normal form."""

    files: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Sentences about what cannot travel along."""


def layers_of(path: str) -> Companions:
    """Return what a USD file is made of; nothing of one that cannot be read.

    A layer that is named by an absolute path gets a warning: nobody rewrites that.
    Layer by layer: asked for all at once, USD ends the process when one of them is broken.
    """
    named_in = _reader()
    found = Companions()
    queue, seen = [path], {path}
    while queue:
        layer = queue.pop()
        for name in named_in(layer):
            other = os.path.normpath(os.path.join(os.path.dirname(layer), name))
            if other in seen or not name.lower().endswith(EXTENSIONS):
                continue
            seen.add(other)
            if os.path.isabs(name):
                found.warnings.append(
                    f"The USD file {layer} refers to {name}, and a node looks for it there on its "
                    f"own disk; make that path relative."
                )
            if os.path.isfile(other):
                found.files.append(other)
                queue.append(other)
            else:
                found.missing.append(other)
    return found


def _reader() -> Callable[[str], list[str]]:
    """Return what tells which files a layer names: USD itself, which Blender brings along for
    Python since 4.4, or else a look at layers that are text. The first time it takes a sixth of a
    second.
    """
    expose = getattr(bpy.utils, "expose_bundled_modules", None)
    if expose is None:
        return _named_in_text
    try:
        expose()
        usd: Any = importlib.import_module("pxr.UsdUtils")
        failure: Any = importlib.import_module("pxr.Tf").ErrorException
    except ImportError:
        return _named_in_text

    def named_in(layer: str) -> list[str]:
        try:
            # Sublayers, references with value clips and pictures, payloads.
            return [name for kind in usd.ExtractExternalReferences(layer) for name in kind]
        except failure:
            return []

    return named_in


def _named_in_text(layer: str) -> list[str]:
    try:
        with open(layer, "rb") as file:
            if file.read(len(_TEXT_LAYER)) != _TEXT_LAYER:
                return []
            text = file.read(TEXT_MAX_BYTES)
    except OSError:
        return []
    return [os.fsdecode(long or short) for long, short in _NAMED_LAYER.findall(text)]
