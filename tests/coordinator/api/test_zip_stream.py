"""Archives as programs that unpack them see them."""

from __future__ import annotations

import io
import zipfile
import zlib

import pytest
from rendermill.coordinator.api.zip_stream import LIMIT_16, Entry, ZipStream, archive_length

NOON = 1_700_000_000.0


def archive(contents: dict[str, bytes], limit: int) -> bytes:
    stream = ZipStream(limit)
    made = bytearray()
    for name, content in contents.items():
        entry = Entry(name, len(content), NOON)
        made += stream.begin(entry, zlib.crc32(content)) + content
    made += stream.end()
    entries = [Entry(name, len(content), NOON) for name, content in contents.items()]
    assert len(made) == archive_length(entries, limit)
    return bytes(made)


@pytest.mark.parametrize("limit", [0xFFFF_FFFF, 300, 90, 1])
def test_names_bytes_and_checksums_survive_whatever_needs_zip64(limit: int):
    contents = {
        "f_0001.png": b"small",
        "f_-0002.png": b"",
        "Tiefe/Größe 🎬.exr": b"x" * 500,
        "last.png": b"y" * 50,
    }
    with zipfile.ZipFile(io.BytesIO(archive(contents, limit))) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == contents
        for entry in opened.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.external_attr >> 16 == 0o100644
            assert entry.date_time[0] == 2023


def test_more_files_than_two_bytes_can_count():
    contents = {f"{number}": b"" for number in range(LIMIT_16 + 2)}
    with zipfile.ZipFile(io.BytesIO(archive(contents, 0xFFFF_FFFF))) as opened:
        assert len(opened.namelist()) == LIMIT_16 + 2


def test_lengths_beyond_four_gibibytes_are_told_in_full():
    """Without writing them: the directory alone says where everything would lie."""
    large = 5 * 1024**3
    stream = ZipStream()
    first = stream.begin(Entry("large.exr", large, NOON), 0)
    second = stream.begin(Entry("behind.png", 3, NOON), zlib.crc32(b"\0\0\0"))
    directory = stream.end()
    assert archive_length([Entry("large.exr", large, NOON), Entry("behind.png", 3, NOON)]) == (
        len(first) + large + len(second) + 3 + len(directory)
    )
    # A file with the same directory and nothing between: `zipfile` reads the directory by its end.
    with zipfile.ZipFile(_Holes(first, large, second, directory)) as opened:
        behind = opened.getinfo("behind.png")
        assert opened.getinfo("large.exr").file_size == large
        assert behind.header_offset == len(first) + large
        assert opened.open(behind).read() == b"\0\0\0"


class _Holes(io.RawIOBase):
    """A sparse file: two headers, zeros where the bytes of files would be, and the directory."""

    def __init__(self, first: bytes, large: int, second: bytes, directory: bytes) -> None:
        self._parts = {0: first, len(first) + large: second}
        self._parts[len(first) + large + len(second) + 3] = directory
        self._length = max(self._parts) + len(directory)
        self._place = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._length)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._length if size < 0 else min(self._length, self._place + size)
        found = bytearray(end - self._place)
        for start, part in self._parts.items():
            low, high = max(start, self._place), min(start + len(part), end)
            if low < high:
                found[low - self._place : high - self._place] = part[low - start : high - start]
        self._place = end
        return bytes(found)


def test_times_the_format_cannot_hold_are_moved_to_its_first_day():
    stream = ZipStream()
    data = stream.begin(Entry("old", 0, 0.0), 0) + stream.end()
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
