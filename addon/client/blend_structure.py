"""What an uncompressed .blend is made of: its blocks, and where its structs hold pointers.

Layouts (``BLO_core_bhead.hh``, ``BLO_core_blend_header.hh``), all lengths in bytes:

- before 5.0: ``BLENDER``, ``-`` (8-byte pointers) or ``_`` (4), ``v`` little or ``V`` big endian,
  3 digits of version; block header: code 4, length i32, old address, SDNA index i32, count i32.
- since 5.0: ``BLENDER``, 2 digits: length of this header, ``-``, 2 digits of format, ``v``,
  4 digits of version; block header: code 4, SDNA index i32, old address u64, length i64, count i64.

The block ``DNA1`` describes every struct of the file, so nothing here knows Blender's types.
"""

from __future__ import annotations

import mmap
import re
import struct
import sys
from dataclasses import dataclass
from typing import BinaryIO

_OLD = re.compile(rb"BLENDER([-_])([vV])\d{3}")
_NEW = re.compile(rb"BLENDER(\d\d)-01v\d{4}")
_OLD_HEADER_BYTES = 12
_HEADER_MAX_BYTES = 99
HEAD_BYTES = 32
"""Bytes of a file's start that tell whether it is a .blend, and which."""

_NAME = re.compile(r"(?P<pointer>\*|\(\*)?[^\[]*(?P<lengths>(?:\[\d+\])*)$")


class BrokenBlend(ValueError):
    """A file whose structure is not that of a .blend."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the blocks of a file are headed."""

    start: int
    """Bytes before the first block."""
    header: struct.Struct
    length_field: int
    """Which field of the header is the payload's length."""
    columns: tuple[tuple[str, str, int], ...]
    """What is where in a header: name, type as numpy writes it, offset."""
    address_offset: int
    """Bytes from a header's start to its address."""
    pointer_bytes: int
    is_little: bool


def read_layout(head: bytes) -> Layout | None:
    """Return the layout of a file that begins with ``head`` (`HEAD_BYTES` do); None: no .blend."""
    old = _OLD.match(head)
    if old is not None:
        order = "<" if old[2] == b"v" else ">"
        wide = old[1] == b"-"
        return Layout(
            start=_OLD_HEADER_BYTES,
            header=struct.Struct(f"{order}4si{'Q' if wide else 'I'}ii"),
            length_field=1,
            columns=(
                ("code", "<u4", 0),
                ("length", order + "i4", 4),
                ("address", order + ("u8" if wide else "u4"), 8),
                ("sdna", order + "i4", 16 if wide else 12),
            ),
            address_offset=8,
            pointer_bytes=8 if wide else 4,
            is_little=order == "<",
        )
    new = _NEW.match(head)
    if new is None or not len(new[0]) <= int(new[1]) <= _HEADER_MAX_BYTES:
        return None
    return Layout(
        start=int(new[1]),
        header=struct.Struct("<4siQqq"),
        length_field=3,
        columns=(
            ("code", "<u4", 0),
            ("sdna", "<i4", 4),
            ("address", "<u8", 8),
            ("length", "<i8", 16),
        ),
        address_offset=8,
        pointer_bytes=8,
        is_little=True,
    )


@dataclass(frozen=True, slots=True)
class StructLayout:
    """One struct as the file describes it."""

    name: str
    size: int
    pointers: tuple[int, ...]
    """Offsets of all pointers, those of structs within it too, ascending."""
    fields: dict[str, int]
    """Name without ``*`` and ``[]`` of each field of its own -> offset."""
    begins_with: str
    """Type of its first field; '' for a pointer. Data-blocks begin with ``ID``."""


def read_structs(dna: bytes, pointer_bytes: int, *, is_little: bool) -> tuple[StructLayout, ...]:
    """Return the structs that the payload of a ``DNA1`` block describes. Raises `BrokenBlend`."""
    try:
        return _Dna(dna, pointer_bytes, "<" if is_little else ">").structs()
    except (struct.error, IndexError, KeyError, ValueError, RecursionError) as error:
        raise BrokenBlend(f"the description of its structs cannot be read: {error!r}") from error


class _Dna:
    """Reads ``SDNA``: names, types, sizes of types, structs as lists of (type, name)."""

    def __init__(self, dna: bytes, pointer_bytes: int, order: str) -> None:
        self._dna = dna
        self._position = 0
        self._order = order
        self._pointer_bytes = pointer_bytes
        self._expect(b"SDNA")
        names = self._texts(b"NAME")
        self._types = self._texts(b"TYPE")
        self._expect(b"TLEN")
        self._sizes = self._numbers(len(self._types))
        self._expect(b"STRC")
        (count,) = self._take("i")
        self._structs: list[tuple[int, list[tuple[int, str]]]] = []
        for _ in range(count):
            kind, fields = self._numbers(2, align=False)
            flat = self._numbers(2 * fields, align=False)
            pairs = zip(flat[::2], flat[1::2], strict=True)
            self._structs.append((kind, [(type_, names[name]) for type_, name in pairs]))
        self._by_type = {kind: index for index, (kind, _) in enumerate(self._structs)}
        self._known: dict[int, StructLayout] = {}

    def structs(self) -> tuple[StructLayout, ...]:
        return tuple(self._struct(index) for index in range(len(self._structs)))

    def _struct(self, index: int) -> StructLayout:
        known = self._known.get(index)
        if known is not None:
            return known
        kind, members = self._structs[index]
        offset = 0
        pointers: list[int] = []
        fields: dict[str, int] = {}
        for type_, name in members:
            match = _NAME.match(name)
            if match is None:
                raise ValueError(name)
            count = 1
            for length in re.findall(r"\[(\d+)\]", match["lengths"]):
                count *= int(length)
            fields[name.strip("(*").split("[")[0].split(")")[0]] = offset
            if match["pointer"]:
                pointers += range(offset, offset + count * self._pointer_bytes, self._pointer_bytes)
                offset += count * self._pointer_bytes
                continue
            size = self._sizes[type_]
            inner = self._by_type.get(type_)
            if inner is not None:
                within = self._struct(inner).pointers
                pointers += [offset + item * size + at for item in range(count) for at in within]
            offset += count * size
        if offset != self._sizes[kind]:
            raise ValueError(f"{self._types[kind]} has {offset} bytes, not {self._sizes[kind]}")
        first = ""
        if members and not members[0][1].startswith(("*", "(*")):
            first = self._types[members[0][0]]
        made = StructLayout(self._types[kind], offset, tuple(pointers), fields, first)
        self._known[index] = made
        return made

    def _take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(self._order + form, self._dna, self._position)
        self._position += struct.calcsize(self._order + form)
        return values

    def _expect(self, tag: bytes) -> None:
        if self._dna[self._position : self._position + 4] != tag:
            raise ValueError(f"{tag!r} is missing")
        self._position += 4

    def _align(self) -> None:
        self._position += -self._position % 4

    def _numbers(self, count: int, *, align: bool = True) -> tuple[int, ...]:
        values = self._take(f"{count}H")
        if align:
            self._align()
        return values

    def _texts(self, tag: bytes) -> list[str]:
        self._expect(tag)
        (count,) = self._take("i")
        texts: list[str] = []
        for _ in range(count):
            end = self._dna.index(0, self._position)
            texts.append(self._dna[self._position : end].decode("utf-8", "replace"))
            self._position = end + 1
        self._align()
        return texts


def release(data: bytes | mmap.mmap) -> None:
    """Let the system take a mapped file's pages out of this process, where it can.

    They stay in its cache, what was written into them too. Else all of a large file that was ever
    looked at counts as memory of Blender, and is the last to be taken when memory is short.
    """
    if isinstance(data, mmap.mmap) and sys.platform == "linux":
        data.madvise(mmap.MADV_DONTNEED)


def open_mapped(file: BinaryIO) -> mmap.mmap:
    """Return a file opened for reading and writing as memory that is written back to it."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE)
