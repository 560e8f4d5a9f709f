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
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from .blend_structure import (
    HEAD_BYTES,
    Block,
    BrokenBlend,
    Layout,
    StructLayout,
    iterate_blocks,
    open_mapped,
    read_layout,
    read_structs,
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


def settle(path: Path) -> bool:
    """Settle the addresses of the snapshot at ``path``, in place; whether that was possible.

    A file that is no uncompressed .blend with 8-byte little-endian pointers, or whose structure is
    not understood to its end, is left as it is. Blocks. Raises OSError.
    """
    with path.open("r+b") as file:
        layout = read_layout(file.read(HEAD_BYTES))
        if layout is None or layout.pointer_bytes != 8 or not layout.is_little:
            return False
        with open_mapped(file) as data:
            try:
                addresses = _Addresses(data, layout)
            except BrokenBlend:
                return False
            addresses.rewrite()
    return True


class _Addresses:
    """The addresses of one file. Made whole before anything is written.

    The blocks are gone through again for each purpose and never kept: a large scene has a million,
    and Python's collections of garbage would hold Blender up to look at each of them.
    """

    def __init__(self, data: mmap.mmap, layout: Layout) -> None:
        self._data = data
        self._layout = layout
        dna = None
        # To its end, where that is not what it should be nothing is written.
        for block in self._blocks():
            if block.code == b"DNA1" and dna is None:
                dna = block
        if dna is None:
            raise BrokenBlend("it has no DNA1 block")
        structs = read_structs(self._payload(dna), 8, is_little=True)
        self._structs = structs
        self._shapes = {i: _Shape(s) for i, s in enumerate(structs) if s.pointers and i > 0}
        id_ = next((struct_ for struct_ in structs if struct_.name == _ID), None)
        if id_ is None or "name" not in id_.fields:
            raise BrokenBlend("it has no struct ID")
        self._id_name = id_.fields["name"]
        self._id_session = [id_.fields[name] for name in _SESSION_FIELDS if name in id_.fields]
        self._scopes: list[dict[int, int]] = []
        """For each data-block and what follows it: address of a DATA block -> new number."""
        self._ids: dict[int, int] = {}
        self._elsewhere: dict[int, int] = {}
        """Addresses of DATA blocks as seen from outside their scope: Blender finds nothing there,
        and finds the same nothing from everywhere."""
        self._frozen: set[int] = set()
        self._pointer_arrays: set[int] = set()
        self._name_blocks()
        self._look_at_raw()

    def _blocks(self) -> Iterator[Block]:
        return iterate_blocks(self._data, self._layout)

    def _payload(self, block: Block) -> bytes:
        return self._data[block.payload : block.payload + block.length]

    # --- names ---

    def _named(self) -> Iterator[tuple[Block, bytes, int]]:
        """Give each block with what its number is made from, and the number of its scope."""
        used: set[bytes] = set()
        owner = b""
        counts: dict[tuple[int, int], int] = {}
        scope = -1
        for block in self._blocks():
            if not 0 <= block.sdna < len(self._structs):
                raise BrokenBlend("a block is of a struct that the file does not describe")
            if block.code == b"DATA":
                if scope < 0:
                    raise BrokenBlend("it begins with data of nothing")
                # Which one of its struct and length: a modifier more does not rename the rest.
                kind = (block.sdna, block.length)
                counts[kind] = counts.get(kind, 0) + 1
                name = self._structs[block.sdna].name.encode()
                yield block, b"%s/%s/%d/%d" % (owner, name, block.length, counts[kind]), scope
                continue
            owner = self._owner_key(block) if self._is_id(block) else block.code
            while owner in used:
                # Linked from two libraries, or a block that comes more than once.
                owner += b"'"
            used.add(owner)
            counts = {}
            scope += 1
            yield block, owner, scope

    def _name_blocks(self) -> None:
        for block, key, scope in self._named():
            if block.code == b"DATA" and block.address:
                number = _number(key)
                self._scopes[scope].setdefault(block.address, number)
                self._elsewhere.setdefault(block.address, number)
            if block.code == b"DATA":
                continue
            self._scopes.append({})
            if block.address and self._is_id(block):
                if block.address in self._ids:
                    self._frozen.add(block.address)
                self._ids[block.address] = _number(key)
        self._frozen |= self._ids.keys() & self._elsewhere.keys()
        self._frozen.add(0)

    def _is_id(self, block: Block) -> bool:
        """Whether a block is, or begins with, a data-block's ``ID``."""
        if block.sdna == 0:
            return False
        struct_ = self._structs[block.sdna]
        return block.length >= struct_.size and _ID in (struct_.name, struct_.begins_with)

    def _owner_key(self, block: Block) -> bytes:
        start = block.payload + self._id_name
        text = self._data[start : start + min(_NAME_MAX_BYTES, block.length - self._id_name)]
        return block.code + text.split(b"\0", 1)[0]

    # --- raw data ---

    def _look_at_raw(self) -> None:
        # Not one set of both: to make it would hold up every other thread.
        ids, elsewhere = self._ids.keys(), self._elsewhere.keys()
        for index, block in enumerate(self._blocks()):
            if block.code == b"DNA1" or block.sdna in self._shapes or block.length < 8:
                continue
            words = self._words(block, _PROBE_WORDS)
            if ids.isdisjoint(words) and elsewhere.isdisjoint(words):
                continue
            words = self._words(block, block.length // 8)
            is_array = block.length % 8 == 0 and block.sdna == 0
            known = {word for word in words if word in ids or word in elsewhere}
            if is_array and all(word in known or _may_be_pointer(word) for word in words):
                self._pointer_arrays.add(index)
            else:
                self._frozen |= known

    def _words(self, block: Block, most: int) -> tuple[int, ...]:
        count = min(most, block.length // 8)
        return struct.unpack_from(f"<{count}Q", self._data, block.payload)

    # --- rewriting ---

    def rewrite(self) -> None:
        """Write the new numbers into the file."""
        address = struct.Struct("<Q")
        for index, (block, place, scope_number) in enumerate(self._named()):
            scope = self._scopes[scope_number]
            at = block.header + self._layout.address_offset
            if block.code != b"DATA" and not self._is_id(block):
                # File settings and the like: one of each, to which nothing points.
                address.pack_into(self._data, at, _number(block.code))
            elif block.address not in self._frozen:
                # A DATA block is found in its own scope only, a data-block in the whole file.
                found = scope if block.code == b"DATA" else self._ids
                address.pack_into(self._data, at, found[block.address])
            if self._is_id(block):
                # Numbers of one session, which Blender gives anew when it opens a file.
                for offset in self._id_session:
                    start = block.payload + offset
                    self._data[start : start + 4] = bytes(4)
            if index in self._pointer_arrays:
                shape = struct.Struct(f"<{block.length // 8}Q")
                self._rewrite_words(shape, block.payload, scope, place)
            elif block.code != b"DNA1" and block.sdna in self._shapes:
                for item, (start, shape) in enumerate(self._shapes[block.sdna].elements(block)):
                    self._rewrite_words(shape, start, scope, b"%s/%d" % (place, item))

    def _rewrite_words(
        self, shape: struct.Struct, start: int, scope: dict[int, int], place: bytes
    ) -> None:
        old = shape.unpack_from(self._data, start)
        if not any(old):
            return
        new = tuple(
            self._new(word, scope, place, position) if word else 0
            for position, word in enumerate(old)
        )
        if new != old:
            # The pad bytes of the shape must keep what is between the pointers.
            self._pack(shape, start, old, new)

    def _pack(
        self, shape: struct.Struct, start: int, old: tuple[int, ...], new: tuple[int, ...]
    ) -> None:
        offsets = _OFFSETS.get(shape.format)
        if offsets is None:
            shape.pack_into(self._data, start, *new)
            return
        for offset, before, after in zip(offsets, old, new, strict=True):
            if before != after:
                at = start + offset
                self._data[at : at + 8] = after.to_bytes(8, "little")

    def _new(self, word: int, scope: dict[int, int], place: bytes, position: int) -> int:
        if word in self._frozen:
            return word
        number = scope.get(word) or self._ids.get(word) or self._elsewhere.get(word)
        if number is not None:
            return number
        # It points to nothing in the file. Blender will find nothing, as before, and where it only
        # asks whether there was something, there still is. Small numbers are no addresses.
        return _number(b"nowhere/%s/%d" % (place, position)) if word >= _LIKELY_MIN else word


_OFFSETS: dict[str, tuple[int, ...]] = {}
"""Format of a `_Shape` -> the offsets of its pointers."""


class _Shape:
    """Reads all pointers of a struct at once."""

    def __init__(self, layout: StructLayout) -> None:
        self._size = layout.size
        form = "<"
        position = 0
        for offset in layout.pointers:
            form += f"{offset - position}xQ" if offset > position else "Q"
            position = offset + 8
        self._struct = struct.Struct(form)
        _OFFSETS[self._struct.format] = layout.pointers

    def elements(self, block: Block) -> Iterator[tuple[int, struct.Struct]]:
        """Give the offset of each struct in a block."""
        for item in range(block.length // self._size):
            yield block.payload + item * self._size, self._struct


def _number(key: bytes) -> int:
    """Return the new number of what ``key`` names: 8-byte aligned, not zero, in no one's memory."""
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return int.from_bytes(digest, "little") & _NEW_MASK | _NEW_BIT


def _may_be_pointer(word: int) -> bool:
    return word == 0 or (_LIKELY_MIN <= word <= _LIKELY_MAX and word % 4 == 0)
