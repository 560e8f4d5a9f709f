"""The layers that a USD file is made of: sublayers, references, payloads, clips, of these again.

Blender opens the file that a cache names, and USD opens the others. Pictures that a layer names are
not among them: an import made images of those.
"""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass, field
from typing import Any

import bpy

EXTENSIONS = (".usd", ".usda", ".usdc", ".usdz")

TEXT_MAX_BYTES = 64 << 20
"""Of a layer that is read as text."""

_TEXT_LAYER = b"#usda"
_NAMED_LAYER = re.compile(rb"@@@([^\r\n]+?\.usd[acz]?)@@@|@([^@\r\n]+\.usd[acz]?)@", re.IGNORECASE)


@dataclass(slots=True)
class Layers:
    """Absolute paths, in normal form."""

    files: list[str] = field(default_factory=list)
    """Those that are here, without the file that was asked about."""
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Sentences about layers that are named by an absolute path, which nobody rewrites."""


def layers_of(path: str) -> Layers:
    """Return what a USD file is made of; nothing of one that cannot be read."""
    pxr = _pxr()
    found = _by_usd(pxr, path) if pxr is not None else _by_text(path)
    found.files = [file for file in dict.fromkeys(found.files) if file != path]
    return found


def _pxr() -> Any | None:
    """Return USD itself, which Blender brings along for Python since 4.4; None where it does not.

    The first time it takes a sixth of a second.
    """
    expose = getattr(bpy.utils, "expose_bundled_modules", None)
    if expose is None:
        return None
    try:
        expose()
        importlib.import_module("pxr.UsdUtils")
        return importlib.import_module("pxr")
    except ImportError:
        return None


def _by_usd(pxr: Any, path: str) -> Layers:
    try:
        layers, _, unresolved = pxr.UsdUtils.ComputeAllDependencies(path)
    except pxr.Tf.ErrorException:
        return Layers()
    # Of a package all layers have the path of the package.
    found = Layers([os.path.normpath(layer.realPath) for layer in layers if layer.realPath])
    for name in unresolved:
        if name.lower().endswith(EXTENSIONS):
            found.missing.append(os.path.normpath(os.path.join(os.path.dirname(path), name)))
    for layer in layers:
        _warn(found, layer.realPath, layer.GetCompositionAssetDependencies())
    return found


def _by_text(path: str) -> Layers:
    """Follow the layers that are text; what a binary layer refers to stays unknown."""
    found = Layers()
    queue, seen = [path], {path}
    while queue:
        layer = queue.pop()
        names = _named_in(layer)
        _warn(found, layer, names)
        for name in names:
            other = os.path.normpath(os.path.join(os.path.dirname(layer), name))
            if other in seen:
                continue
            seen.add(other)
            if os.path.isfile(other):
                found.files.append(other)
                queue.append(other)
            else:
                found.missing.append(other)
    return found


def _named_in(layer: str) -> list[str]:
    try:
        with open(layer, "rb") as file:
            if file.read(len(_TEXT_LAYER)) != _TEXT_LAYER:
                return []
            text = file.read(TEXT_MAX_BYTES)
    except OSError:
        return []
    return [os.fsdecode(long or short) for long, short in _NAMED_LAYER.findall(text)]


def _warn(found: Layers, layer: str, names: list[str]) -> None:
    found.warnings += [
        f"The USD file {layer} refers to {name}, and a node looks for it there on its own disk; "
        f"make that path relative."
        for name in names
        if os.path.isabs(name)
    ]
