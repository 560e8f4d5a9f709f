"""Give the addresses in a snapshot names that stay, so that two saves of one scene are alike.

A .blend is a memory image. Each block carries the address its payload had, structs point to each
other by these addresses, and Blender uses them for nothing but to find the block that is meant: it
looks the number up and forgets it. In another Blender all numbers differ, and with them, in a
scene of many objects and materials, half of the file. `settle` replaces every address by a number
made from what it stands for (the data-block's kind and name; below it, the struct and which one of
its kind). What points where stays exactly as it was, nothing else is touched, and what did not
change in the scene does not change in the file. The session's number of each data-block, which
Blender gives anew at every opening, becomes 0 (not given).

It is done to snapshots, which are ours, and never to a file of the artist. Where Blender looks for
an address decides where one number may stand for two things: data-blocks are known in the whole
file, the ``DATA`` blocks behind a data-block only to it. Blocks of raw data are left alone, but
for arrays of pointers, which Blender writes as raw: a block is taken for one when it has nothing
but zeros and addresses. An address that is also found in a block of mixed contents, or that means a
data-block and something else, keeps its number everywhere.

A large scene has a million blocks and some millions of pointers, so they are worked on in columns,
a slice at a time, by numpy, which every Blender carries and which lets other threads run meanwhile.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .address_book import AddressBook, Numbers, begins_run
from .blend_columns import SLICE_ROWS, Column, every_offset, read_blocks
from .blend_structure import (
    HEAD_BYTES,
    BrokenBlend,
    Layout,
    open_mapped,
    read_layout,
    read_structs,
    release,
)

_ID = "ID"
_SESSION_FIELDS = ("session_uid", "session_uuid")
_LIKELY_MIN, _LIKELY_MAX = 0x1_0000, 0x7FFF_FFFF_FFFF
"""Where systems with 64-bit pointers put a program's memory."""
_PROBE_WORDS = 4096
"""An array of pointers has an address of the file among its first so many entries."""
_NEW_MASK = 0x0FFF_FFFF_FFFF_FFF0
_NEW_BIT = 0x1000_0000_0000_0000
"""Set in every new number: no system has memory there, so old and new never meet."""
_NAME_MAX_BYTES = 258
_NOWHERE = np.uint64(1)
"""Mixed into numbers of what is not in the file, so that they are none of what is."""
_SLICE_WORDS = 1 << 17
"""Words looked at at once: a few milliseconds, a few megabytes."""

_SLICE_BLOCKS = 1 << 10
"""Blocks looked at before the pages they lie in are let go: each may be in another page, and the
system maps sixteen of them at a time."""
_SLICE_OWNERS = 1 << 10
"""Likewise of data-blocks, which lie further apart."""


def settle(path: Path) -> bool:
    """Settle the addresses of the snapshot at ``path``, in place; whether that was possible.

    A file that is no uncompressed .blend with 8-byte little-endian pointers, or whose structure is
    not understood to its end, is left as it is. Blocks. Raises OSError.
    """
    with path.open("r+b") as file:
        layout = read_layout(file.read(HEAD_BYTES))
        if layout is None or layout.pointer_bytes != 8 or not layout.is_little:
            return False
        # Not closed here: it goes with the last view of it.
        data = open_mapped(file)
        try:
            addresses = _Addresses(data, layout)
        except BrokenBlend:
            return False
        addresses.rewrite()
    return True


class _Addresses:
    """The addresses of one file. Made whole before anything is written."""

    def __init__(self, data: mmap.mmap, layout: Layout) -> None:
        self._data = data
        self._layout = layout
        # To its end, where that is not what it should be nothing is written.
        self._blocks = blocks = read_blocks(data, layout)
        self._words: Numbers = every_offset(data, np.dtype("<u8"))
        """The 8 bytes at each offset of the file."""
        self._is_dna = blocks.are(b"DNA1")
        if not self._is_dna.any():
            raise BrokenBlend("it has no DNA1 block")
        self._structs = read_structs(self._payload(int(np.argmax(self._is_dna))), 8, is_little=True)
        if ((blocks.sdna < 0) | (blocks.sdna >= len(self._structs))).any():
            raise BrokenBlend("a block is of a struct that the file does not describe")
        id_ = next((struct_ for struct_ in self._structs if struct_.name == _ID), None)
        if id_ is None or "name" not in id_.fields:
            raise BrokenBlend("it has no struct ID")
        self._id_name = id_.fields["name"]
        self._id_session = [id_.fields[name] for name in _SESSION_FIELDS if name in id_.fields]

        self._is_data = blocks.are(b"DATA")
        if self._is_data[0]:
            raise BrokenBlend("it begins with data of nothing")
        self._is_id = self._find_ids()
        self._scope: Column = np.cumsum(~self._is_data) - 1
        """For each block the number of its scope: a data-block and what follows it."""
        self._key = self._name_blocks()
        """For each block what its number is made from."""
        has_address = blocks.address != 0
        ids = np.flatnonzero(self._is_id & ~self._is_data & has_address)
        rows = np.flatnonzero(self._is_data & has_address)
        new = _new_numbers(self._key)
        self._book = AddressBook(
            (blocks.address[ids], new[ids]),
            (blocks.address[rows], self._scope[rows], new[rows]),
            int(self._scope[-1]) + 1,
        )
        shapes = [bool(struct_.pointers) for struct_ in self._structs]
        self._has_pointers = np.array([False, *shapes[1:]])[blocks.sdna] & ~self._is_dna
        self._pointer_arrays = self._look_at_raw()

    def _payload(self, row: int, most: int | None = None) -> bytes:
        start, length = int(self._blocks.payload[row]), int(self._blocks.length[row])
        return self._data[start : start + (length if most is None else min(most, length))]

    # --- names ---

    def _find_ids(self) -> NDArray[np.bool_]:
        """Return which blocks are, or begin with, a data-block's ``ID``."""
        sdna = self._blocks.sdna
        begin = np.array([_ID in (struct_.name, struct_.begins_with) for struct_ in self._structs])
        sizes = np.array([struct_.size for struct_ in self._structs])
        return begin[sdna] & (sdna > 0) & (self._blocks.length >= sizes[sdna])

    def _name_blocks(self) -> Numbers:
        owners: Numbers = np.fromiter(self._owners(), np.uint64)
        release(self._data)
        key = owners[self._scope]
        rows = np.flatnonzero(self._is_data)
        names = np.array([_digest(struct_.name.encode()) for struct_ in self._structs], np.uint64)
        kind = _mix(key[rows], names[self._blocks.sdna[rows]])
        kind = _mix(kind, self._blocks.length[rows].astype(np.uint64))
        # Which one of its struct and length: a modifier more does not rename the rest.
        key[rows] = _mix(kind, _count_among_equals(kind))
        return key

    def _owners(self) -> Iterator[int]:
        """Give what each scope is known by: kind and name of its data-block."""
        used: set[bytes] = set()
        blocks = self._blocks
        for number, row in enumerate(np.flatnonzero(~self._is_data).tolist()):
            if number % _SLICE_OWNERS == 0:
                release(self._data)
            owner = blocks.code_of(row)
            if self._is_id[row]:
                name = self._payload(row, self._id_name + _NAME_MAX_BYTES)[self._id_name :]
                owner += name.split(b"\0", 1)[0]
            while owner in used:
                # Linked from two libraries, or a block that comes more than once.
                owner += b"'"
            used.add(owner)
            yield _digest(owner)

    # --- raw data ---

    def _look_at_raw(self) -> Column:
        """Return the rows of arrays of pointers; addresses among other raw data are frozen."""
        blocks, book = self._blocks, self._book
        raw = np.flatnonzero(~self._has_pointers & ~self._is_dna & (blocks.length >= 8))
        counts = blocks.length[raw] // 8
        mentions = np.zeros(len(raw), np.bool_)
        for which, item in self._slices(np.minimum(counts, _PROBE_WORDS)):
            mentions[which[book.know(self._raw_words(raw, which, item))]] = True
        raw, counts = raw[mentions], counts[mentions]
        is_array = (blocks.length[raw] % 8 == 0) & (blocks.sdna[raw] == 0)
        for which, item in self._slices(counts):
            words = self._raw_words(raw, which, item)
            is_array[which[~(book.know(words) | _may_be_pointer(words))]] = False
        found: list[Numbers] = []
        mixed = raw[~is_array]
        for which, item in self._slices(counts[~is_array]):
            words = self._raw_words(mixed, which, item)
            found.append(np.unique(words[book.know(words)]))
        if found:
            book.freeze(np.concatenate(found))
        return raw[is_array]

    def _slices(self, counts: Column, words: int = 1) -> Iterator[tuple[Column, Column]]:
        """As `_items`; between two slices the system may have back what was looked at."""
        for slice_ in _items(counts, words):
            yield slice_
            release(self._data)

    def _raw_words(self, rows: Column, which: Column, item: Column) -> Numbers:
        return self._words[self._blocks.payload[rows[which]] + 8 * item]

    # --- rewriting ---

    def rewrite(self) -> None:
        """Write the new numbers into the file."""
        blocks = self._blocks
        for rows, offsets, size in self._shapes():
            for which, item in self._slices(blocks.length[rows] // size, len(offsets)):
                row = rows[which]
                start = blocks.payload[row] + size * item
                for position, offset in enumerate(offsets):
                    self._rewrite_words(start + offset, row, item, position)
        rows = self._pointer_arrays
        for which, item in self._slices(blocks.length[rows] // 8):
            row = rows[which]
            self._rewrite_words(blocks.payload[row] + 8 * item, row, item, 0)
        self._rewrite_headers()
        # Numbers of one session, which Blender gives anew when it opens a file.
        session = every_offset(self._data, np.dtype("<u4"))
        payloads = blocks.payload[self._is_id]
        for begin in range(0, len(payloads), _SLICE_OWNERS):
            for offset in self._id_session:
                session[payloads[begin : begin + _SLICE_OWNERS] + offset] = 0
            release(self._data)

    def _shapes(self) -> Iterator[tuple[Column, tuple[int, ...], int]]:
        """Give for each struct with pointers: rows of its blocks, offsets of pointers, its size."""
        rows = np.flatnonzero(self._has_pointers)
        sdna = self._blocks.sdna[rows]
        order = np.argsort(sdna, kind="stable")
        kinds, starts = np.unique(sdna[order], return_index=True)
        for kind, of_kind in zip(kinds.tolist(), np.split(rows[order], starts[1:]), strict=False):
            yield of_kind, self._structs[kind].pointers, self._structs[kind].size

    def _rewrite_headers(self) -> None:
        blocks, book = self._blocks, self._book
        where = blocks.header + self._layout.address_offset
        # A DATA block is found in its own scope only, a data-block in the whole file.
        named = np.flatnonzero((self._is_data | self._is_id) & ~book.is_frozen(blocks.address))
        for begin in range(0, len(named), SLICE_ROWS):
            rows = named[begin : begin + SLICE_ROWS]
            self._words[where[rows]] = book.look_up(blocks.address[rows], self._scope[rows])
            release(self._data)
        # File settings and the like: one of each, to which nothing points.
        others = np.flatnonzero(~(self._is_data | self._is_id))
        codes = np.array([_digest(blocks.code_of(row)) for row in others.tolist()], np.uint64)
        self._words[where[others]] = _new_numbers(codes)

    def _rewrite_words(self, where: Column, row: Column, item: Column, position: int) -> None:
        """Rewrite the words at ``where``: in each item of blocks the pointer at ``position``."""
        old = self._words[where]
        some = np.flatnonzero(old)
        some = some[~self._book.is_frozen(old[some])]
        old = old[some]
        new = self._book.look_up(old, self._scope[row[some]])
        # What points to nothing in the file: Blender will find nothing, as before, and where it
        # only asks whether there was something, there still is. Small numbers are no addresses.
        lost = np.flatnonzero((new == 0) & (old >= _LIKELY_MIN))
        if len(lost):
            place = _mix(self._key[row[some[lost]]], item[some[lost]].astype(np.uint64))
            place = _mix(place, np.full(len(place), position, np.uint64))
            new[lost] = _new_numbers(_mix(place, _NOWHERE))
        is_new = (new != 0) & (new != old)
        self._words[where[some[is_new]]] = new[is_new]


def _items(counts: Column, words: int = 1) -> Iterator[tuple[Column, Column]]:
    """Go through all items of some blocks, a slice at a time: which block, and which item of it.

    ``words``: how many each item has.
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    most = max(1, _SLICE_WORDS // words)
    begin = 0
    while begin < total:
        last = int(np.searchsorted(ends, begin, "right")) + _SLICE_BLOCKS - 1
        end = min(begin + most, int(ends[min(last, len(ends) - 1)]))
        item = np.arange(begin, end)
        which = np.searchsorted(ends, item, "right")
        yield which, item - (ends[which] - counts[which])
        begin = end


def _count_among_equals(keys: Numbers) -> Numbers:
    """Return for each key the how many-eth of its like it is, from 1."""
    order = np.argsort(keys, kind="stable")
    sorted_ = keys[order]
    begins = np.flatnonzero(begins_run(sorted_))
    lengths = np.diff(begins, append=len(keys))
    count = np.empty(len(keys), np.uint64)
    count[order] = np.arange(1, len(keys) + 1) - np.repeat(begins, lengths)
    return count


def _digest(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def _mix(keys: Numbers, more: Numbers | np.uint64) -> Numbers:
    """Return keys made from two each, as if by chance, and always the same.

    The last steps are those of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom
    Number Generators", 2014).
    """
    mixed = (keys ^ np.uint64(0x9E37_79B9_7F4A_7C15)) + more * np.uint64(0xD1B5_4A32_D192_ED03)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return mixed ^ (mixed >> np.uint64(31))


def _new_numbers(keys: Numbers) -> Numbers:
    """Return new numbers made from keys: 8-byte aligned, not zero, in no one's memory."""
    return (keys & np.uint64(_NEW_MASK)) | np.uint64(_NEW_BIT)


def _may_be_pointer(words: Numbers) -> NDArray[np.bool_]:
    return (words == 0) | (
        (words >= _LIKELY_MIN) & (words <= _LIKELY_MAX) & (words % np.uint64(4) == 0)
    )
