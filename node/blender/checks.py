"""Are the files of a frame what was asked for? Looked at from outside Blender, as exit codes lie.

Pictures of the common formats are decoded by Pillow. OpenEXR, which Pillow cannot read, is checked
by its own structure: header, size, and that the table of chunks is complete and the last chunk
ends where the file ends, so that a file cut short or never finished is found without decoding it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ...protocol.job import FrameImage, OutputRoot
from .attempt import RenderedFile

THUMBNAIL_PIXELS = 512
"""Longest side of a thumbnail."""

THUMBNAIL_QUALITY = 80
EXR_HEADER_MAX_BYTES = 4 * 1024 * 1024
"""Headers of multilayer files with hundreds of channels stay far below."""

BACKDROP = (46, 46, 46)
"""Shown through transparent parts of a thumbnail."""

_ENDINGS = {b"\x89PNG": b"\0\0\0\0IEND\xae\x42\x60\x82", b"\xff\xd8\xff": b"\xff\xd9"}
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_EXR_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Lines in a chunk for each compression of the OpenEXR specification."""

_EXR_TILED, _EXR_MULTIPART = 0x200, 0x1000
# Blender refuses pictures above 65536 pixels a side, and the size is checked before decoding.
Image.MAX_IMAGE_PIXELS = 65536 * 65536


class BadOutput(Exception):
    """A frame's files are not what was asked for; one sentence says which and why."""


def collect(
    output: Path,
    roots: tuple[OutputRoot, ...],
    image: FrameImage,
    *,
    silent: frozenset[str] = frozenset(),
    stereo_3d: bool = False,
) -> tuple[RenderedFile, ...]:
    """Return the checked files below ``output``, sorted by root and path.

    ``silent`` are the roots Blender has no reason to write to. Raises `BadOutput`.
    """
    files: list[RenderedFile] = []
    for root in roots:
        folder = output / root.id
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        if not found and root.id not in silent:
            raise BadOutput(f'Blender wrote no file for "{root.label}".')
        for path in found:
            size = check_picture(path)
            if root.id == "main":
                _check_size(path, size, image, stereo_3d)
            files.append(RenderedFile(root.id, path.relative_to(folder).as_posix(), path))
        if root.id == "main":
            _check_views(found, image)
    return tuple(files)


def _check_size(
    path: Path, size: tuple[int, int] | None, image: FrameImage, stereo_3d: bool
) -> None:
    if size is None:
        return
    allowed = {(image.width, image.height)}
    if stereo_3d:
        # Two views in one picture: side by side or one above the other.
        allowed |= {(2 * image.width, image.height), (image.width, 2 * image.height)}
    if size not in allowed:
        raise BadOutput(
            f"{path.name} has {size[0]} x {size[1]} pixels instead of "
            f"{image.width} x {image.height}."
        )


def _check_views(found: list[Path], image: FrameImage) -> None:
    for suffix in image.views:
        if not any(path.stem.endswith(suffix) or path.name.endswith(suffix) for path in found):
            raise BadOutput(f'The stereo view "{suffix}" is missing from the frame.')


def check_picture(path: Path) -> tuple[int, int] | None:
    """Return width and height of a picture that is whole; None for a kind without a known header.

    Raises `BadOutput` for a file that is empty, cut short or cannot be decoded.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise BadOutput(f"{path.name} is empty.")
    if head.startswith(_EXR_MAGIC):
        return _check_exr(path)
    if head.startswith(b"#?"):
        return _radiance_size(path)
    if head[:4] in (b"SDPX", b"XPDS", b"\x80\x2a\x5f\xd7", b"\xd7\x5f\x2a\x80"):
        return None
    return _check_with_pillow(path, head)


def _check_with_pillow(path: Path, head: bytes) -> tuple[int, int] | None:
    # Pillow forgives an end that is missing; a Blender killed while it writes leaves just that.
    for magic, end in _ENDINGS.items():
        if head.startswith(magic):
            with path.open("rb") as file:
                file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
                if file.read() != end:
                    raise BadOutput(f"{path.name} is cut short.")
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    except UnidentifiedImageError as error:
        # Pillow knows no TIFF of three 16-bit channels, which Blender writes.
        if head[:4] in (b"II*\0", b"MM\0*"):
            return None
        raise BadOutput(f"{path.name} is no picture that can be read.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadOutput(f"{path.name} cannot be decoded: {error}.") from error


def _radiance_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        for _ in range(64):
            words = file.readline(256).split()
            if len(words) == 4 and words[0] == b"-Y" and words[2] == b"+X":
                return int(words[3]), int(words[1])
    raise BadOutput(f"{path.name} has no Radiance header.")


# --- OpenEXR -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _ExrPart:
    attributes: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        left, top, right, bottom = struct.unpack("<4i", self.attributes["dataWindow"])
        return right - left + 1, bottom - top + 1

    def chunks(self, tiled: bool) -> int | None:
        if "chunkCount" in self.attributes:
            return struct.unpack("<i", self.attributes["chunkCount"])[0]
        lines = _EXR_LINES.get(self.attributes["compression"][0])
        if tiled or lines is None:
            return None
        return -(-self.size[1] // lines)


def _check_exr(path: Path) -> tuple[int, int]:
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(EXR_HEADER_MAX_BYTES)
        flags = struct.unpack_from("<I", head, 4)[0]
        try:
            parts, position = _exr_parts(head, multipart=bool(flags & _EXR_MULTIPART))
            counts = [part.chunks(bool(flags & _EXR_TILED)) for part in parts]
            size = parts[0].size
        except (struct.error, ValueError, KeyError, IndexError) as error:
            raise BadOutput(f"{path.name} has a broken OpenEXR header.") from error
        if min(size) < 1:
            raise BadOutput(f"{path.name} has an OpenEXR header without a picture.")
        if any(count is None for count in counts):
            return size
        total = sum(count or 0 for count in counts)
        file.seek(position)
        table = file.read(8 * total)
        if len(table) < 8 * total:
            raise BadOutput(f"{path.name} is cut short.")
        offsets = struct.unpack(f"<{total}Q", table)
        # A table entry is written when its chunk is: 0 means that Blender never came so far.
        if 0 in offsets or _chunk_end(file, max(offsets), bool(flags & _EXR_MULTIPART)) > length:
            raise BadOutput(f"{path.name} is cut short.")
    return size


def _exr_parts(head: bytes, *, multipart: bool) -> tuple[list[_ExrPart], int]:
    """Return the parts of a file and the position of its first table of offsets."""
    parts: list[_ExrPart] = []
    position = 8
    while True:
        part = _ExrPart()
        while head[position] != 0:
            end = head.index(b"\0", position)
            name = head[position:end].decode("latin-1")
            end = head.index(b"\0", end + 1)
            (length,) = struct.unpack_from("<I", head, end + 1)
            part.attributes[name] = head[end + 5 : end + 5 + length]
            position = end + 5 + length
        position += 1
        if part.attributes:
            parts.append(part)
        if not multipart:
            return parts, position
        if head[position] == 0:
            return parts, position + 1


def _chunk_end(file: BinaryIO, offset: int, multipart: bool) -> int:
    file.seek(offset + (4 if multipart else 0))
    data = file.read(8)
    if len(data) < 8:
        return 1 << 62
    (length,) = struct.unpack_from("<I", data, 4)
    return offset + (12 if multipart else 8) + length


# --- thumbnails --------------------------------------------------------------------------------


def make_thumbnail(picture: Path, target: Path) -> Path | None:
    """Write a JPEG of at most `THUMBNAIL_PIXELS` a side; None where the picture cannot be shown.

    A thumbnail is never worth a frame, so nothing is raised for a picture that does not decode.
    """
    try:
        with Image.open(picture) as opened:
            opened.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
            small = _shown(opened)
            small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
            small.save(target, "JPEG", quality=THUMBNAIL_QUALITY)
    except (OSError, SyntaxError, ValueError):
        target.unlink(missing_ok=True)
        return None
    return target if os.path.getsize(target) else None  # noqa: PTH202


def _shown(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits of grey; a plain convert would clip instead of scale.
        return picture.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA"):
        coloured = picture.convert("RGBA")
        backdrop = Image.new("RGB", picture.size, BACKDROP)
        backdrop.paste(coloured, mask=coloured.getchannel("A"))
        return backdrop
    return picture.convert("RGB")
