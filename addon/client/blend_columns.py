"""The blocks of a .blend as columns of numpy: a large scene has a million of them."""

from __future__ import annotations

import mmap
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blend_structure import BrokenBlend, Layout, release

SLICE_ROWS = 1 << 16
"""Blocks whose headers are looked at before the pages they lie in are let go."""
_RELEASE_BYTES = 64 * 1024 * 1024
"""Of a mapped file so much is passed before its pages are let go."""

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """All blocks of a file, a column for each thing that is known of them; rows in their order."""

    code: NDArray[np.uint32]
    """4 bytes: ``DATA``, or the kind of data-block, filled up with zeros."""
    header: Column
    """Offsets of the headers in the file."""
    payload: Column
    """Offsets of the payloads."""
    length: Column
    """Bytes of the payloads."""
    sdna: Column
    """Indices of the structs; 0: raw data, or not known."""
    address: NDArray[np.uint64]
    """Where the payloads were in the memory of the Blender that saved them."""

    def __len__(self) -> int:
        return len(self.header)

    def are(self, code: bytes) -> NDArray[np.bool_]:
        """Return which blocks have this code."""
        return self.code == np.frombuffer(code, "<u4")[0]

    def code_of(self, row: int) -> bytes:
        """Return the code of one block."""
        return self.code[row].tobytes()


def read_blocks(data: bytes | mmap.mmap, layout: Layout) -> Blocks:
    """Return the blocks of a file up to its end block. Raises `BrokenBlend`."""
    headers = array("q")
    add, unpack, length_field = headers.append, layout.header.unpack_from, layout.length_field
    size, end, position = layout.header.size, len(data), layout.start
    release_at = _RELEASE_BYTES
    # One after the other, as each length tells where the next one is; nothing else is done here.
    while True:
        payload = position + size
        if payload > end:
            raise BrokenBlend("the file ends before its end block")
        fields = unpack(data, position)
        if fields[0] == b"ENDB":
            break
        length: int = fields[length_field]
        if length < 0 or payload + length > end:
            raise BrokenBlend("a block is longer than the file")
        add(position)
        position = payload + length
        if position > release_at:
            release(data)
            release_at = position + _RELEASE_BYTES
    header = np.frombuffer(headers, np.int64)
    every = every_offset(data, _header(layout))
    read = np.empty(len(header), every.dtype)
    for begin in range(0, len(header), SLICE_ROWS):
        rows = slice(begin, begin + SLICE_ROWS)
        read[rows] = every[header[rows]]
        release(data)
    return Blocks(
        code=read["code"].copy(),
        header=header,
        payload=header + size,
        length=read["length"].astype(np.int64),
        sdna=read["sdna"].astype(np.int64),
        address=read["address"].astype(np.uint64),
    )


def every_offset(data: bytes | mmap.mmap, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of what ``data``, seen as a ``kind``, holds at each of its offsets."""
    return np.ndarray((max(0, len(data) - kind.itemsize + 1),), kind, data, strides=(1,))


def _header(layout: Layout) -> np.dtype[Any]:
    names, formats, offsets = zip(*layout.columns, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets})
