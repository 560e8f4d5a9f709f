from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.client import settling
from rendermill.addon.client.settling import settle

from .blend_files import STRUCTS, Made, data_block, seen, size_of, write


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
    blocks = seen(data)
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
    at = seen(more)[5]
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
    blocks = seen(after)
    for owner, link in ((1, 3), (7, 8)):
        (first,) = struct.unpack_from("<Q", after, blocks[owner].payload + 40)
        assert first == blocks[link].address
    assert blocks[3].address != blocks[8].address


# Few addresses, so that they are often used again, meant by two things, or found among data.
ADDRESSES = [0x7F00_0000_0000 + 0x40 * n for n in range(12)]
WORDS = st.sampled_from([0, 7, 0x7F99_0000_0000, 0x3FE0_0000_0000_0000, *ADDRESSES])


@st.composite
def files(draw) -> list[Made]:
    """Data-blocks with lists, arrays of pointers and raw data behind them, that point anywhere."""
    blocks: list[Made] = []
    for owner in range(draw(st.integers(1, 4))):
        rest = struct.pack("<4Q4f", *(draw(WORDS) for _ in range(4)), 1, 2, 3, 4)
        name = draw(st.sampled_from(["OBa", "OBb", f"OB{owner}"]))
        id_ = data_block(name, draw(WORDS), owner)
        blocks.append(Made("OB", "Object", draw(st.sampled_from(ADDRESSES)), id_ + rest))
        for _ in range(draw(st.integers(0, 5))):
            words = draw(st.lists(WORDS, min_size=1, max_size=6))
            kind = draw(st.sampled_from(["Link", "raw_data"]))
            words += words * (kind == "Link")
            payload = struct.pack(f"<{len(words)}Q", *words)
            if kind == "raw_data":
                payload += draw(st.sampled_from([b"", b"tail"]))
            blocks.append(Made("DATA", kind, draw(st.sampled_from(ADDRESSES)), payload))
    return blocks


def found_by_blender(data: bytes) -> list[list[int | None]]:
    """For each word of a block of structs or pointers: which block Blender finds there, if any.

    Data-blocks are looked for in the whole file, and the last of an address is found; data behind
    the data-block that is being read, where the first is found.
    """
    blocks = seen(data)[:-1]
    ids = {block.address: row for row, block in enumerate(blocks) if block.code != b"DATA"}
    found: list[list[int | None]] = []
    for row, block in enumerate(blocks):
        first = max(n for n in range(row + 1) if blocks[n].code != b"DATA")
        behind: dict[int, int] = {}
        for n in range(first + 1, len(blocks)):
            if blocks[n].code != b"DATA":
                break
            behind.setdefault(blocks[n].address, n)
        words = struct.unpack_from(f"<{block.length // 8}Q", data, block.payload)
        found.append([behind.get(word, ids.get(word)) for word in words])
    return found


@given(files(), st.sampled_from([405, 500]), st.integers(1, 40), st.integers(1, 9))
def test_whatever_points_where_it_is_found_again(
    tmp_path_factory, blocks, version, slice_words, slice_blocks
):
    before = write(blocks, version)
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        # In slices that end anywhere.
        patch.setattr(settling, "_SLICE_WORDS", slice_words)
        for name in ("_SLICE_BLOCKS", "_SLICE_OWNERS", "SLICE_ROWS"):
            patch.setattr(settling, name, slice_blocks)
        after = settled(folder, before)
        assert settled(folder, after) == after
    assert found_by_blender(after) == found_by_blender(before)
    # Nothing but addresses and session numbers is touched: raw data stays, but arrays of pointers.
    raw = list(STRUCTS).index("raw_data")
    for old, new in zip(seen(before), seen(after), strict=True):
        was = before[old.payload : old.payload + old.length]
        now = after[new.payload : new.payload + new.length]
        words = struct.unpack_from(f"<{old.length // 8}Q", was)
        if old.sdna == raw and (old.length % 8 or 0x3FE0_0000_0000_0000 in words or 7 in words):
            assert now == was


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


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
from pathlib import Path
from rendermill.addon.client import following, reading
reading._settle(Path(sys.argv[1]))
assert "rendermill.addon.client.settling" not in sys.modules
"""


def test_a_blender_without_numpy_sends_all_the_same(tmp_path):
    """Debian's can be installed without it: the whole client must work, with its snapshot as is."""
    whole = write(scene(0x7F11_2233_4000))
    path = tmp_path / "snapshot.blend"
    path.write_bytes(whole)
    subprocess.run([sys.executable, "-c", WITHOUT_NUMPY, str(path)], check=True, timeout=120)
    assert path.read_bytes() == whole
