"""Files that Blender reads because of another file, which alone the .blend names.

A shader includes headers and has a compiled form beside it, a USD file is made of layers, a picture
has a texture cache of Cycles. Where the modification times of two files say whether one still
belongs to the other, only what belongs is returned: on a node all files are equally old.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from .listings import Listings
from .usd_layers import EXTENSIONS as USD_EXTENSIONS
from .usd_layers import Companions, layers_of

TEXTURE_CACHE = "blender_tx"
"""Folder beside a picture with what Cycles 5.2 made of it."""

SHADER_MAX_BYTES = 4 << 20
INCLUDES_MAX = 200
"""Of one shader: more than anybody writes by hand."""

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\r\n]+)[">]', re.MULTILINE)


def companions_of(path: str, listings: Listings) -> Companions:
    """Return what is read along with an existing file, by its ending. Reads shaders and USD."""
    stem, extension = os.path.splitext(path)
    extension = extension.lower()
    if extension == ".osl":
        return _of_shader(path, listings)
    if extension == ".obj" and listings.has(stem + ".mtl"):
        return Companions([stem + ".mtl"])
    if extension in USD_EXTENSIONS:
        return layers_of(path)
    return Companions()


def _of_shader(path: str, listings: Listings) -> Companions:
    """Return the headers of a shader, and its compiled form unless Cycles compiles it anew."""
    found = Companions(list(_includes(path, listings)))
    compiled = os.path.splitext(path)[0] + ".oso"
    if not listings.has(compiled):
        return found
    if all(_seconds(compiled) >= _seconds(source) for source in (path, *found.files)):
        found.files.append(compiled)
    else:
        found.warnings.append(
            f"The shader {path} has changed since it was compiled, and a node compiles nothing; "
            f"update its Script node."
        )
    return found


def _includes(path: str, listings: Listings) -> Iterator[str]:
    """Yield what a shader includes, and what that includes; not what Blender itself brings."""
    seen = {path}
    queue = [path]
    while queue and len(seen) <= INCLUDES_MAX:
        source = queue.pop()
        try:
            with open(source, "rb") as file:
                text = file.read(SHADER_MAX_BYTES)
        except OSError:
            continue
        for name in _INCLUDE.findall(text):
            header = os.path.normpath(os.path.join(os.path.dirname(source), os.fsdecode(name)))
            if header not in seen and listings.has(header):
                seen.add(header)
                queue.append(header)
                yield header


def texture_caches(pictures: Iterable[str], listings: Listings) -> list[str]:
    """Return what Cycles reads in the place of ``pictures``: ``blender_tx/NAME.HASH.tx``.

    It does so where both files have one time, to the second, and reads the picture otherwise.
    """
    found: list[str] = []
    by_picture: dict[str, dict[str, list[str]]] = {}
    for picture in pictures:
        folder, name = os.path.split(picture)
        cache = os.path.join(folder, TEXTURE_CACHE)
        if cache not in by_picture:
            made = by_picture[cache] = {}
            for file in sorted(listings.names(cache)):
                stem, extension = os.path.splitext(file)
                if extension == ".tx":
                    made.setdefault(stem.rpartition(".")[0], []).append(file)
        for file in by_picture[cache].get(name, ()):
            path = os.path.join(cache, file)
            if _seconds(path) == _seconds(picture):
                found.append(path)
    return found


def _seconds(path: str) -> int:
    try:
        return int(os.stat(path).st_mtime)
    except OSError:
        return 0
