"""What an image file says of itself in its header: format and size. Nothing is decoded.

A file from a node is not to be trusted with a decoder, and a frame needs only be refused when it
is plainly not the picture that was asked for. Numbers read here are bounded by the file itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

HEADER_MAX_BYTES = 1024 * 1024
"""How far into a file a header is followed; stamped metadata and colour profiles come first."""
_LINE_MAX_BYTES = 1024
_TIFF_TAGS_MAX = 4096

FORMATS = {
    "PNG": "PNG",
    "JPEG": "JPEG",
    "JPEG2000": "JPEG 2000",
    "OPEN_EXR": "OpenEXR",
    "OPEN_EXR_MULTILAYER": "OpenEXR",
    "TIFF": "TIFF",
    "WEBP": "WebP",
    "HDR": "Radiance HDR",
    "BMP": "BMP",
    "TARGA": "Targa",
    "TARGA_RAW": "Targa",
    "IRIS": "Iris",
    "DPX": "DPX",
    "CINEON": "Cineon",
}
"""Blender's identifiers of its still formats -> the names used here."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a header says. An OpenEXR file may have two sizes: its display and its data window."""

    format: str
    sizes: tuple[tuple[int, int], ...]
    """(width, height) in pixels."""


def read_header(file: BinaryIO) -> ImageHeader | None:
    """Return what the header of an image says; None for a file of no known format."""
    head = file.read(32)
    try:
        for matches, name, read in _READERS:
            if matches(head):
                return ImageHeader(name, read(file, head))
    except (struct.error, ValueError, IndexError):
        return None
    return None


def _png(_file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    return (struct.unpack(">II", head[16:24]),)


def _bmp(_file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    width, height = struct.unpack("<ii", head[18:26])
    return ((width, abs(height)),)


def _iris(_file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    return (struct.unpack(">HH", head[6:10]),)


def _targa(_file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    return (struct.unpack("<HH", head[12:16]),)


def _is_targa(head: bytes) -> bool:
    # Targa has no magic number: colour map type, image type and bits a pixel must make sense.
    return (
        len(head) >= 18
        and head[1] in (0, 1)
        and head[2] in (1, 2, 3, 9, 10, 11)
        and head[16] in (8, 15, 16, 24, 32)
    )


def _dpx(file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(772)
    return (struct.unpack(">II" if head[:4] == b"SDPX" else "<II", file.read(8)),)


def _cineon(file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(200)
    return (struct.unpack(">II" if head[0] == 0x80 else "<II", file.read(8)),)


def _hdr(file: BinaryIO, _head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(0)
    while (line := file.readline(_LINE_MAX_BYTES)) and file.tell() < HEADER_MAX_BYTES:
        words = line.split()
        if len(words) == 4 and words[0] in (b"-Y", b"+Y") and words[2] in (b"+X", b"-X"):
            return ((int(words[3]), int(words[1])),)
    raise ValueError


def _webp(_file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    kind = head[12:16]
    if kind == b"VP8X":
        size = (int.from_bytes(head[24:27], "little"), int.from_bytes(head[27:30], "little"))
        return ((size[0] + 1, size[1] + 1),)
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1),)
    width, height = struct.unpack("<HH", head[26:30])
    return ((width & 0x3FFF, height & 0x3FFF),)


def _jpeg(file: BinaryIO, _head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(2)
    while file.tell() < HEADER_MAX_BYTES:
        marker, kind, length = struct.unpack(">BBH", file.read(4))
        if marker != 0xFF or length < 2:
            raise ValueError
        # The start-of-frame markers, which are C0 to CF without C4, C8 and CC.
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            _, height, width = struct.unpack(">BHH", file.read(5))
            return ((width, height),)
        file.seek(length - 2, 1)
    raise ValueError


def _jpeg2000(file: BinaryIO, _head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(0)
    data = file.read(64 * 1024)
    # The SIZ segment is the first of the code stream: FF4F FF51, length, capabilities, sizes.
    place = data.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack(">IIII", data[place + 8 : place + 24])
    return ((right - left, bottom - top),)


def _tiff(file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    order = "<" if head[:2] == b"II" else ">"
    (offset,) = struct.unpack(order + "I", head[4:8])
    file.seek(offset)
    (count,) = struct.unpack(order + "H", file.read(2))
    size = {256: 0, 257: 0}
    for _ in range(min(count, _TIFF_TAGS_MAX)):
        entry = file.read(12)
        tag, kind = struct.unpack(order + "HH", entry[:4])
        if tag in size:
            value = entry[8:10] if kind == 3 else entry[8:12]
            (size[tag],) = struct.unpack(order + ("H" if kind == 3 else "I"), value)
    return ((size[256], size[257]),)


def _exr(file: BinaryIO, _head: bytes) -> tuple[tuple[int, int], ...]:
    file.seek(8)
    data = file.read(HEADER_MAX_BYTES)
    place = 0
    sizes: list[tuple[int, int]] = []
    while data[place] and len(sizes) < 2:
        name_end = data.index(0, place)
        type_end = data.index(0, name_end + 1)
        (length,) = struct.unpack_from("<i", data, type_end + 1)
        value = type_end + 5
        if length < 0:
            raise ValueError
        if data[place:name_end] in (b"dataWindow", b"displayWindow"):
            left, top, right, bottom = struct.unpack_from("<iiii", data, value)
            sizes.append((right - left + 1, bottom - top + 1))
        place = value + length
    return tuple(sizes)


_READERS = (
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), "PNG", _png),
    (lambda head: head.startswith(b"\xff\xd8\xff"), "JPEG", _jpeg),
    (lambda head: head.startswith(b"\x76\x2f\x31\x01"), "OpenEXR", _exr),
    (lambda head: head[:4] in (b"II*\x00", b"MM\x00*"), "TIFF", _tiff),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", "WebP", _webp),
    (lambda head: head.startswith((b"#?RADIANCE", b"#?RGBE")), "Radiance HDR", _hdr),
    (
        lambda head: head.startswith((b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")),
        "JPEG 2000",
        _jpeg2000,
    ),
    (lambda head: head[:4] in (b"SDPX", b"XPDS"), "DPX", _dpx),
    (lambda head: head[:4] in (b"\x80\x2a\x5f\xd7", b"\xd7\x5f\x2a\x80"), "Cineon", _cineon),
    (lambda head: head.startswith(b"\x01\xda"), "Iris", _iris),
    (lambda head: head.startswith(b"BM"), "BMP", _bmp),
    # Last, since almost anything could be one.
    (_is_targa, "Targa", _targa),
)
