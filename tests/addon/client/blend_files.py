"""Small .blend files of our own writing: enough structure for what reads only structure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rendermill.addon.client.blend_columns import read_blocks
from rendermill.addon.client.blend_structure import read_layout

STRUCTS: dict[str, list[tuple[str, str]]] = {
    "raw_data": [("char", "_pad[8]")],
    "ID": [("void", "*next"), ("char", "name[16]"), ("int", "session_uid"), ("int", "flag")],
    "Link": [("Link", "*next"), ("Link", "*prev")],
    "Object": [
        ("ID", "id"),
        ("Material", "**mat"),
        ("Link", "first"),
        ("void", "(*func)()"),
        ("float", "loc[4]"),
    ],
    "Material": [("ID", "id"), ("char", "rgb[8]")],
}
_SIMPLE = {"char": 1, "int": 4, "float": 4, "void": 0}


@dataclass
class Made:
    """A block to write."""

    code: str
    struct: str
    address: int
    payload: bytes


@dataclass
class Seen:
    """A block as the code under test sees it."""

    code: bytes
    sdna: int
    header: int
    payload: int
    length: int
    address: int


def seen(data: bytes) -> list[Seen]:
    """Return the blocks of a file."""
    layout = read_layout(data[:32])
    assert layout is not None
    blocks = read_blocks(data, layout)
    columns = (blocks.sdna, blocks.header, blocks.payload, blocks.length, blocks.address)
    return [
        Seen(blocks.code_of(row), *map(int, values))
        for row, values in enumerate(zip(*columns, strict=True))
    ]


def name_of(field: str) -> tuple[str, int]:
    base, _, rest = field.partition("[")
    return base, int(rest.rstrip("]")) if rest else 1


def size_of(kind: str) -> int:
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    total = 0
    for type_, field in STRUCTS[kind]:
        base, count = name_of(field)
        total += 8 * count if base.startswith(("*", "(*")) else size_of(type_) * count
    return total


def dna() -> bytes:
    names = sorted({field for fields in STRUCTS.values() for _, field in fields})
    types = [*_SIMPLE, *STRUCTS]
    out = b"SDNA"

    def texts(tag: bytes, values: list[str]) -> None:
        nonlocal out
        out += tag + struct.pack("<i", len(values)) + b"".join(v.encode() + b"\0" for v in values)
        out += bytes(-len(out) % 4)

    texts(b"NAME", names)
    texts(b"TYPE", types)
    out += b"TLEN" + struct.pack(f"<{len(types)}H", *map(size_of, types))
    out += bytes(-len(out) % 4)
    out += b"STRC" + struct.pack("<i", len(STRUCTS))
    for kind, fields in STRUCTS.items():
        out += struct.pack("<HH", types.index(kind), len(fields))
        for type_, field in fields:
            out += struct.pack("<HH", types.index(type_), names.index(field))
    return out


def write(blocks: list[Made], version: int = 405, end: bytes = b"") -> bytes:
    """Return a file of these blocks, as Blender 4.x or 5.x heads them."""
    new = version >= 500
    out = b"BLENDER17-01v0%d" % version if new else b"BLENDER-v%d" % version
    order = list(STRUCTS)
    for block in [*blocks, Made("DNA1", "raw_data", 0x99999990, dna())]:
        code, sdna = block.code.encode().ljust(4, b"\0"), order.index(block.struct)
        length = len(block.payload)
        count = max(1, length // size_of(block.struct))
        if new:
            out += struct.pack("<4siQqq", code, sdna, block.address, length, count)
        else:
            out += struct.pack("<4siQii", code, length, block.address, sdna, count)
        out += block.payload
    return out + (b"ENDB" + bytes(28) if new else b"ENDB" + bytes(20)) + end


def data_block(name: str, link: int = 0, session: int = 1) -> bytes:
    return struct.pack("<Q16sii", link, name.encode(), session, 5)
