from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol.batch import HEADER_BYTES, RecordHeader, unpack_header
from rendermill.protocol.manifest import CHUNK_MAX_BYTES
from rendermill.wire import blobs
from rendermill.wire.errors import Damaged, NotFound, Refused


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


async def each(chunks: Iterable[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    for chunk in chunks:
        yield sha256(chunk), chunk


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}

    async def __call__(self, sha: str, data: bytes) -> None:
        assert sha not in self.chunks, "given twice"
        self.chunks[sha] = data


@given(st.one_of(st.binary(min_size=1, max_size=4000), st.just(b"a" * CHUNK_MAX_BYTES)))
def test_records_come_back(data):
    packed, payload = blobs.pack_record(sha256(data), data)
    header = unpack_header(packed)
    assert len(payload) == header.wire_length <= len(data)
    assert blobs.unpack_payload(header, payload) == data


def test_what_does_not_shrink_is_sent_as_it_is():
    data = noise(CHUNK_MAX_BYTES)
    assert blobs.pack_record(sha256(data), data)[1] is data
    text = b"vertex " * 20_000
    assert len(blobs.pack_record(sha256(text), text)[1]) < len(text) // 100
    assert blobs.pack_record(sha256(text), text, compress=False)[1] is text


@pytest.mark.parametrize("claimed", [1000, 50_000])
def test_a_bomb_is_not_inflated(claimed):
    bomb = zstandard.compress(bytes(50_000_000))
    header = RecordHeader("0" * 64, claimed, len(bomb), compressed=True)
    with pytest.raises(Damaged):
        blobs.unpack_payload(header, bomb)


def test_bytes_that_are_no_zstd():
    with pytest.raises(Damaged, match="decompressed"):
        blobs.unpack_payload(RecordHeader("0" * 64, 100, 5, compressed=True), b"hello")


async def test_chunks_go_up_and_come_back(farm):
    chunks = [noise(n * 997 + 1, n) for n in range(300)] + [bytes(CHUNK_MAX_BYTES), b"x" * 99_999]
    names = [sha256(chunk) for chunk in chunks]
    assert await blobs.missing(farm, [*names, *names]) == set(names)
    total = sum(map(len, chunks))
    seen: list[int] = []
    sent = await blobs.upload_chunks(
        farm, each(chunks), progress=lambda done, all_: seen.append(done), total=total
    )
    assert seen == sorted(seen)
    assert seen[-1] == total == sent.raw_bytes
    assert sent.blobs == len(chunks)
    assert await blobs.missing(farm, names) == set()
    kept = Kept()
    await blobs.fetch_chunks(farm, names, kept)
    assert kept.chunks == dict(zip(names, chunks, strict=True))


async def test_an_upload_goes_on_over_a_broken_line(farm, far, line):
    chunks = [noise(500_000, n) for n in range(80)]
    await far.health()
    line.cut()
    line.break_up = [300_000, 3_000_000, 17_000_000]
    sent = await blobs.upload_chunks(far, each(chunks))
    assert sent.blobs == 80
    assert await blobs.missing(farm, map(sha256, chunks)) == set()


async def test_a_fetch_goes_on_over_a_broken_line(farm, far, line):
    chunks = [noise(200_000, n) for n in range(40)]
    await blobs.upload_chunks(farm, each(chunks))
    await far.health()
    line.cut()
    line.break_down = [50, 250_000, 3_000_000, 1_000_000]
    kept = Kept()
    await blobs.fetch_chunks(far, map(sha256, chunks), kept)
    assert kept.chunks == {sha256(chunk): chunk for chunk in chunks}
    assert line.connections >= 5


async def test_a_chunk_that_is_not_there_is_named(farm):
    with pytest.raises(NotFound, match="a" * 64):
        await blobs.fetch_chunks(farm, ["a" * 64], Kept())


async def test_a_wrong_name_is_refused(farm):
    async def wrong() -> AsyncIterator[tuple[str, bytes]]:
        yield "b" * 64, b"hello"

    with pytest.raises(Refused, match="b" * 64):
        await blobs.upload_chunks(farm, wrong())


async def test_the_readers_error_ends_an_upload(farm):
    async def broken() -> AsyncIterator[tuple[str, bytes]]:
        yield sha256(b"a"), b"a"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await blobs.upload_chunks(farm, broken())


async def test_an_upload_holds_a_few_batches_and_no_more(farm):
    """The reader is asked for more only as the network takes it."""
    given_out = arrived = most = 0

    async def many() -> AsyncIterator[tuple[str, bytes]]:
        nonlocal given_out, most
        for number in range(120):
            chunk = noise(CHUNK_MAX_BYTES, number)
            given_out += len(chunk)
            most = max(most, given_out - arrived)
            yield sha256(chunk), chunk

    def progress(done: int, total: int) -> None:
        nonlocal arrived
        arrived = done

    await blobs.upload_chunks(farm, many(), progress=progress)
    batch = blobs.BATCH_MAX_BYTES + CHUNK_MAX_BYTES + HEADER_BYTES
    assert most <= (blobs.BATCHES_IN_FLIGHT + 1) * batch


async def test_files_go_up_in_a_stream(farm, tmp_path):
    path = tmp_path / "frame.exr"
    path.write_bytes(noise(3_000_001))
    digest = sha256(path.read_bytes())
    seen: list[int] = []
    assert await blobs.put_file(
        farm, path, digest, 3_000_001, progress=lambda done, _: seen.append(done)
    )
    assert seen[-1] == 3_000_001
    assert not await blobs.put_file(farm, path, digest, 3_000_001)


@pytest.mark.parametrize("length", [2_999_999, 3_000_002])
async def test_a_file_that_grew_or_shrank_is_not_stored(farm, tmp_path, length):
    path = tmp_path / "frame.exr"
    path.write_bytes(noise(3_000_001))
    digest = sha256(path.read_bytes())
    with pytest.raises(Damaged, match="changed its size"):
        await blobs.put_file(farm, path, digest, length)
    assert await blobs.missing(farm, [digest]) == {digest}


async def test_a_file_of_other_bytes_is_refused(farm, tmp_path):
    path = tmp_path / "frame.exr"
    path.write_bytes(b"hello")
    with pytest.raises(Refused) as caught:
        await blobs.put_file(farm, path, "c" * 64, 5)
    assert caught.value.problem.status == 422


async def test_a_download_is_resumed(farm, far, line, tmp_path):
    data = noise(3_000_000)
    digest = await blobs.put_bytes(farm, data)
    await far.health()
    line.cut()
    line.break_down = [1_000_000, 100, 500_000]
    seen: list[int] = []
    target = tmp_path / "frame_0001.png"
    target.write_bytes(b"the one before")
    await blobs.download_file(
        far, digest, len(data), target, progress=lambda done, _: seen.append(done)
    )
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.glob("*.png*")] == ["frame_0001.png"]
    assert seen == sorted(seen), "bytes that were here came again"
    assert line.connections >= 4


async def test_a_download_that_fails_leaves_nothing(farm, tmp_path):
    digest = await blobs.put_bytes(farm, b"hello")
    target = tmp_path / "here" / "frame.png"
    target.parent.mkdir()
    target.write_bytes(b"the one before")
    for length in (4, 6):
        with pytest.raises(Damaged):
            await blobs.download_file(farm, digest, length, target)
    with pytest.raises(NotFound):
        await blobs.download_file(farm, "d" * 64, 5, target)
    assert target.read_bytes() == b"the one before"
    assert list(target.parent.iterdir()) == [target]


async def test_a_download_can_be_cancelled(farm, tmp_path):
    digest = await blobs.put_bytes(farm, noise(4_000_000))
    begun = asyncio.Event()
    target = tmp_path / "here" / "frame.png"
    target.parent.mkdir()
    download = asyncio.ensure_future(
        blobs.download_file(
            farm, digest, 4_000_000, target, progress=lambda done, total: begun.set()
        )
    )
    await begun.wait()
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert list(target.parent.iterdir()) == []
