"""A ZIP archive as it is sent: stored, not compressed, of any length, with its length known before.

Pictures are compressed already, so nothing is deflated. Every entry carries its CRC and length in
front of its bytes, so each file is read twice, the second time from the system's cache; in return
any program can unpack the archive, also from a pipe. Beyond 4 GiB or 65,535 entries the ZIP64
records of the specification (PKWARE APPNOTE 6.3.10, 4.3 and 4.5.3) are used, and only then.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

LIMIT_32 = 0xFFFF_FFFF
LIMIT_16 = 0xFFFF
_VERSION_STORED, _VERSION_64 = 20, 45
_UTF8_NAMES = 0x800
_UNIX = 3
_REGULAR_0644 = 0o100644 << 16
_ZIP64_EXTRA = 0x0001


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on its way into an archive."""

    name: str
    """Relative POSIX path."""
    length: int
    modified: float
    """Seconds since 1970."""


class ZipStream:
    """The records around the bytes of files. Call `begin`, send the bytes, and so on; then `end`.

    ``limit`` is the length from which ZIP64 is used; smaller ones make equally valid archives.
    """

    def __init__(self, limit: int = LIMIT_32) -> None:
        self._limit = limit
        self._offset = 0
        self._directory = bytearray()
        self._count = 0

    def begin(self, entry: Entry, crc: int) -> bytes:
        """Return what stands before an entry's bytes, of which there are exactly its length."""
        name = entry.name.encode()
        is_large = entry.length >= self._limit
        length = LIMIT_32 if is_large else entry.length
        extra = (
            struct.pack("<HHQQ", _ZIP64_EXTRA, 16, entry.length, entry.length) if is_large else b""
        )
        version = _VERSION_64 if is_large else _VERSION_STORED
        day, clock = _dos_time(entry.modified)
        head = struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\3\4", version, _UTF8_NAMES, 0, clock, day, crc, length, length,
            len(name), len(extra),
        )  # fmt: skip
        self._list(entry, name, crc, (day, clock))
        self._offset += len(head) + len(name) + len(extra) + entry.length
        return head + name + extra

    def _list(self, entry: Entry, name: bytes, crc: int, modified: tuple[int, int]) -> None:
        large: list[int] = []
        length, offset = entry.length, self._offset
        if length >= self._limit:
            large += [length, length]
            length = LIMIT_32
        if offset >= self._limit:
            large.append(offset)
            offset = LIMIT_32
        extra = b""
        if large:
            extra = struct.pack(f"<HH{len(large)}Q", _ZIP64_EXTRA, 8 * len(large), *large)
        version = _VERSION_64 if large else _VERSION_STORED
        day, clock = modified
        self._directory += struct.pack(
            "<4sBBHHHHHIIIHHHHHII",
            b"PK\1\2", version, _UNIX, version, _UTF8_NAMES, 0, clock, day, crc, length, length,
            len(name), len(extra), 0, 0, 0, _REGULAR_0644, offset,
        )  # fmt: skip
        self._directory += name + extra
        self._count += 1

    def end(self) -> bytes:
        """Return the directory, the last part of the archive."""
        start, size, count = self._offset, len(self._directory), self._count
        tail = b""
        if start >= self._limit or size >= self._limit or count >= LIMIT_16:
            tail = struct.pack(
                "<4sQHHIIQQQQ",
                b"PK\6\6", 44, _VERSION_64, _VERSION_64, 0, 0, count, count, size, start,
            )  # fmt: skip
            tail += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
            start, size, count = LIMIT_32, LIMIT_32, LIMIT_16
        tail += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, start, 0)
        return bytes(self._directory) + tail


def archive_length(entries: list[Entry], limit: int = LIMIT_32) -> int:
    """Return how many bytes the archive of these entries has."""
    archive = ZipStream(limit)
    heads = sum(len(archive.begin(entry, 0)) + entry.length for entry in entries)
    return heads + len(archive.end())


def _dos_time(seconds: float) -> tuple[int, int]:
    """Date and time of the archive format: local, from 1980 to 2107, in steps of two seconds."""
    moment = time.localtime(max(0.0, seconds))
    if not 1980 <= moment.tm_year <= 2107:
        return (1 << 5) | 1, 0
    day = (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
    return day, moment.tm_hour << 11 | moment.tm_min << 5 | min(moment.tm_sec, 59) // 2
