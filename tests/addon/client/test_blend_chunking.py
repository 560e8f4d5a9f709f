from __future__ import annotations

import hashlib
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.client.blend_chunking import (
    PAYLOAD_MIN_BYTES,
    RUN_MAX_BYTES,
    split_blend,
    split_fixed,
)
from rendermill.protocol.manifest import CHUNK_MAX_BYTES

from .blend_files import Made, data_block, write


def split(data: bytes) -> list[bytes]:
    return list(split_blend(io.BytesIO(data)))


def scene(seed: int = 1, small: int = 600, big: int = 3) -> list[Made]:
    """Many small blocks and some big ones; ``seed`` moves every address and nothing else."""
    addresses = random.Random(seed)
    contents = random.Random(0)
    blocks: list[Made] = []
    for number in range(small):
        blocks.append(
            Made("DATA", "raw_data", addresses.getrandbits(40) * 16, contents.randbytes(400))
        )
        if number % (small // big) == 0:
            length = contents.randrange(PAYLOAD_MIN_BYTES, 3 * CHUNK_MAX_BYTES)
            blocks.append(
                Made("DATA", "raw_data", addresses.getrandbits(40) * 16, contents.randbytes(length))
            )
    return blocks


@pytest.mark.parametrize("version", [402, 405, 500])
def test_payloads_are_chunks_of_their_own(version):
    payload = random.Random(1).randbytes(2 * CHUNK_MAX_BYTES + 5)
    data = write([Made("DATA", "raw_data", 16, payload)], version)
    chunks = split(data)
    assert b"".join(chunks) == data
    assert chunks[1:4] == [
        payload[:CHUNK_MAX_BYTES],
        payload[CHUNK_MAX_BYTES : 2 * CHUNK_MAX_BYTES],
        payload[-5:],
    ]


@pytest.mark.parametrize("version", [405, 500])
def test_moved_addresses_touch_no_payload(version):
    first, second = (set(split(write(scene(seed), version))) for seed in (1, 2))
    shared = sum(map(len, first & second))
    big = sum(len(b.payload) for b in scene(1) if len(b.payload) >= PAYLOAD_MIN_BYTES)
    assert shared >= big


@pytest.mark.parametrize("version", [405, 500])
def test_a_change_touches_the_chunks_around_it_only(version):
    blocks = scene()
    before = set(split(write(blocks, version)))
    blocks.insert(300, Made("DATA", "raw_data", 48, b"an object more"))
    changed = [chunk for chunk in split(write(blocks, version)) if chunk not in before]
    assert len(changed) <= 2
    assert sum(map(len, changed)) <= 2 * RUN_MAX_BYTES


def test_golden_cuts():
    """A change of the cuts makes every scene travel anew: raise CHUNKING_VERSION with it."""
    blocks = [
        Made("OB", "Object", 0x1000, data_block("OBCube") + bytes(48)),
        Made("DATA", "raw_data", 0x2000, bytes(range(256)) * 20),
        *(Made("DATA", "raw_data", 16 * n, bytes([n % 251]) * 300) for n in range(1, 200)),
    ]
    names = [
        [(len(c), hashlib.sha256(c).hexdigest()[:12]) for c in split(write(blocks, version))]
        for version in (405, 500)
    ]
    assert names == GOLDEN


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 2**48)), max_size=12),
    st.sampled_from([405, 500]),
    st.binary(max_size=100),
    st.data(),
)
def test_chunks_joined_are_the_file(shape, version, end, draw):
    blocks = [Made("DATA", "raw_data", at, bytes([at % 256]) * length) for length, at in shape]
    whole = write(blocks, version, end)
    cut = draw.draw(st.integers(0, len(whole)))
    at = draw.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    for data in (whole, whole[:cut], damaged):
        chunks = split(data)
        assert b"".join(chunks) == data
        assert all(0 < len(chunk) <= CHUNK_MAX_BYTES for chunk in chunks)


@given(st.binary(max_size=300))
def test_any_other_file_is_cut_at_fixed_lengths(data):
    assert split(data) == ([data] if data else [])
    assert list(split_fixed(io.BytesIO(data))) == ([data] if data else [])


@pytest.mark.parametrize(
    "head", [b"BLENDER", b"BLENDER-v405", b"BLENDER17-01v0500", b"BLENDER99-01v0500"]
)
def test_a_header_alone(head):
    assert b"".join(split(head)) == head


def test_big_endian_and_narrow_pointers():
    payload = bytes(range(256)) * 64
    header = b"DATA" + len(payload).to_bytes(4, "big") + bytes(12)
    data = b"BLENDER_V279" + header + payload + b"ENDB" + bytes(16)
    assert split(data) == [data[:32], payload, b"ENDB" + bytes(16)]


GOLDEN = [
    [
        (140, "f9e422e1508f"),
        (5120, "4345361085c7"),
        (43740, "24012ddd64a9"),
        (16848, "357d961797d5"),
        (4208, "c4c394d14231"),
    ],
    [
        (161, "0cee0ea99177"),
        (5120, "4345361085c7"),
        (44820, "28ff883092db"),
        (17264, "46286daf5a14"),
        (4320, "85df49cc8e70"),
    ],
]
