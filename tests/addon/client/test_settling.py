from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.client.blend_structure import iterate_blocks, read_layout
from rendermill.addon.client.settling import settle

from .blend_files import Made, data_block, size_of, write


def scene(base: int, session: int = 1, nowhere: int = 0x7F00_0000_1000) -> list[Made]:
    """An object with two materials, a list and raw data, in a memory that begins at ``base``."""
    cube, red, blue, slots, link, verts = (base + 0x100 * n for n in range(1, 7))
    ob = data_block("OBCube", 0, session) + struct.pack(
        "<QQQQ4f", slots, link, 0, nowhere, 1, 2, 3, 4
    )
    assert len(ob) == size_of("Object")
    return [
        Made("GLOB", "raw_data", base + 8, b"settings"),
        Made("OB", "Object", cube, ob),
        Made("DATA", "raw_data", slots, struct.pack("<QQ", red, blue)),
        Made("DATA", "Link", link, struct.pack("<QQ", 0, link)),
        Made("DATA", "raw_data", verts, struct.pack("<4d", 0.1, 0.2, 0.3, 0.4)),
        Made("MA", "Material", red, data_block("MAred", blue, session) + b"abcdefgh"),
        Made("MA", "Material", blue, data_block("MAblue", 0, session) + b"12345678"),
    ]


def settled(tmp_path, data: bytes) -> bytes:
    path = tmp_path / "snapshot.blend"
    path.write_bytes(data)
    settle(path)
    return path.read_bytes()


def pointers(data: bytes) -> dict[str, object]:
    """What points where, in blocks' own terms: equal before and after."""
    layout = read_layout(data[:32])
    assert layout is not None
    blocks = list(iterate_blocks(data, layout))
    place = {block.address: index for index, block in enumerate(blocks)}
    ob, slots, link, red = (blocks[index] for index in (1, 2, 3, 5))

    def at(block, offset):
        return place.get(struct.unpack_from("<Q", data, block.payload + offset)[0])

    return {
        "slots": at(ob, 32),
        "first": at(ob, 40),
        "nowhere": at(ob, 56),
        "materials": (at(slots, 0), at(slots, 8)),
        "self": at(link, 8),
        "next": at(red, 0),
        "rest": [data[b.payload + 8 : b.payload + 24] for b in blocks[5:7]],
    }


@pytest.mark.parametrize("version", [405, 500])
def test_two_memories_become_one_file(tmp_path, version):
    first = write(scene(0x7F11_2233_4000, 3), version)
    second = write(scene(0x5588_0000_7000, 9, 0x7FFE_0000_4440), version)
    assert first != second
    assert settled(tmp_path, first) == settled(tmp_path, second)


@pytest.mark.parametrize("version", [405, 500])
def test_everything_points_where_it_did(tmp_path, version):
    before = write(scene(0x7F11_2233_4000), version)
    after = settled(tmp_path, before)
    assert pointers(after) == pointers(before)
    assert pointers(after)["materials"] == (5, 6)
    assert pointers(after)["nowhere"] is None
    assert len(after) == len(before)


def test_settling_twice_changes_nothing(tmp_path):
    once = settled(tmp_path, write(scene(0x7F11_2233_4000)))
    assert settled(tmp_path, once) == once


def test_another_material_moves_no_number(tmp_path):
    blocks = scene(0x7F11_2233_4000)
    blocks.insert(5, Made("MA", "Material", 0x7F99_0000_0000, data_block("MAnew") + bytes(8)))
    more = settled(tmp_path, write(blocks))
    less = settled(tmp_path, write(scene(0x7F11_2233_4000)))
    layout = read_layout(more[:32])
    assert layout is not None
    at = list(iterate_blocks(more, layout))[5]
    assert more[: at.header] + more[at.payload + at.length :] == less


def test_data_is_never_taken_for_pointers(tmp_path):
    """An address that also occurs among data keeps its number, there and everywhere."""
    base = 0x7F11_2233_4000
    blocks = scene(base)
    red = blocks[5].address
    data = struct.pack("<QdQ", red, 0.5, 12345)
    blocks[4] = Made("DATA", "raw_data", blocks[4].address, data)
    before = write(blocks)
    after = settled(tmp_path, before)
    assert data in after
    assert pointers(after)["materials"] == pointers(before)["materials"] == (5, 6)


def test_reused_memory_is_told_apart(tmp_path):
    """Two objects whose list was written from the same address: each finds its own."""

    def two(base: int) -> bytes:
        blocks = scene(base)
        other = scene(base + 0x10000)[1:5]
        other[0] = Made(
            "OB",
            "Object",
            other[0].address,
            data_block("OBOther") + struct.pack("<QQQQ4f", 0, blocks[3].address, 0, 0, 1, 2, 3, 4),
        )
        other[2] = Made("DATA", "Link", blocks[3].address, struct.pack("<QQ", 0, blocks[3].address))
        return write([*blocks, other[0], other[2]])

    after = settled(tmp_path, two(0x7F11_2233_4000))
    assert after == settled(tmp_path, two(0x5511_2233_0000))
    layout = read_layout(after[:32])
    assert layout is not None
    blocks = list(iterate_blocks(after, layout))
    for owner, link in ((1, 3), (7, 8)):
        (first,) = struct.unpack_from("<Q", after, blocks[owner].payload + 40)
        assert first == blocks[link].address
    assert blocks[3].address != blocks[8].address


@given(st.data())
def test_a_broken_file_is_left_alone(tmp_path_factory, data):
    whole = write(scene(0x7F11_2233_4000))
    cut = data.draw(st.integers(0, len(whole) - 25))
    path = tmp_path_factory.mktemp("broken") / "x.blend"
    path.write_bytes(whole[:cut])
    assert not settle(path)
    assert path.read_bytes() == whole[:cut]


@given(st.integers(0, 5000), st.integers(1, 255))
def test_a_damaged_file_never_crashes(tmp_path_factory, at, flip):
    whole = bytearray(write(scene(0x7F11_2233_4000)))
    whole[at % len(whole)] ^= flip
    path = tmp_path_factory.mktemp("damaged") / "x.blend"
    path.write_bytes(whole)
    settle(path)
    assert path.stat().st_size == len(whole)


@pytest.mark.parametrize(
    "head", [b"", b"\x28\xb5\x2f\xfd" + bytes(60), b"BLENDER_v405" + bytes(60), b"hello" * 20]
)
def test_other_files_are_left_alone(tmp_path, head):
    path = tmp_path / "x.blend"
    path.write_bytes(head)
    assert not settle(path)
    assert path.read_bytes() == head
