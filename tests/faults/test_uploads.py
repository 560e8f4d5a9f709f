"""Uploads that are cut short, damaged or sent twice, and results under leases of another time.

A real coordinator process; the node is one of our own, which says what a real one never would.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import pytest
from rendermill.protocol.batch import RecordHeader, pack_header
from rendermill.protocol.messages import (
    Assign,
    FrameAccepted,
    FrameFile,
    FrameRef,
    FrameRefused,
    FrameStarted,
)
from rendermill.protocol.views import JobView
from rendermill.wire import blobs
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import Refused
from yarl import URL

from ..coordinator.conftest import HEIGHT, WIDTH, FakeNode, make_scene, picture
from .farm_under_fault import FarmUnderFault

ANSWER_SECONDS = 120.0


@pytest.fixture
async def connection(farm: FarmUnderFault) -> AsyncIterator[FarmConnection]:
    """The real client of a coordinator that runs as a process of its own."""
    # The nodes here say only what the test is about; no lease may run out over that.
    farm.lease_seconds = 3600.0
    await asyncio.to_thread(farm.start_coordinator)
    async with FarmConnection(farm.credentials, patience_seconds=ANSWER_SECONDS) as made:
        yield made


async def send_raw(farm: FarmUnderFault, head: str, body: bytes, *, length: int) -> bytes:
    """Send a request whose body has ``body`` where ``length`` bytes are announced.

    Closes its half of the connection behind it, as a sender that dies; returns the answer.
    """
    url = URL(farm.credentials.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(
            f"{head} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
            f"Authorization: Bearer {farm.credentials.token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        if len(body) < length:
            writer.write_eof()
        async with asyncio.timeout(ANSWER_SECONDS):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def status(answer: bytes) -> int:
    """Status code of a raw answer; 0 where there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def record(data: bytes, sha256: str = "") -> bytes:
    """A record of a batch, under its own name or a wrong one."""
    header = RecordHeader(sha256 or name_of(data), len(data), len(data), compressed=False)
    return pack_header(header) + data


async def is_missing(connection: FarmConnection, data: bytes) -> bool:
    return await blobs.missing(connection, [name_of(data)]) != set()


async def test_a_frame_cut_short_is_not_there_and_may_be_sent_again(
    farm: FarmUnderFault, connection: FarmConnection
) -> None:
    for part in (0, 1, 500, 999):
        data = part.to_bytes(2) * 500
        answer = await send_raw(
            farm, f"PUT /api/v1/blobs/{name_of(data)}", data[:part], length=len(data)
        )
        assert status(answer) not in (200, 201)
        assert await is_missing(connection, data)
        assert await blobs.put_bytes(connection, data) == name_of(data)
        assert not await is_missing(connection, data)
    close(farm)


def close(farm: FarmUnderFault) -> None:
    """Kill the coordinator, start and stop it once more, and look at what it keeps."""
    farm.kill("coordinator")
    farm.start_coordinator()
    farm.check()


async def test_damaged_bytes_are_refused_and_nothing_of_them_stays(
    farm: FarmUnderFault, connection: FarmConnection
) -> None:
    data, other = b"frame" * 1000, b"chunk" * 1000
    damaged = b"F" + data[1:]
    answer = await send_raw(
        farm, f"PUT /api/v1/blobs/{name_of(data)}", damaged, length=len(damaged)
    )
    assert status(answer) == 422
    assert await is_missing(connection, data)
    assert await is_missing(connection, damaged)
    # In a batch the good ones count, or none does; never the bad one.
    batch = record(other) + record(damaged, name_of(data))
    answer = await send_raw(farm, "POST /api/v1/blobs", batch, length=len(batch))
    assert status(answer) == 400
    assert name_of(data)[:12].encode() in answer
    assert await is_missing(connection, data)
    assert await is_missing(connection, damaged)
    for cut in (10, len(record(other)) - 1, len(batch) - 1):
        await send_raw(farm, "POST /api/v1/blobs", batch[:cut], length=len(batch))
        assert await is_missing(connection, data)
    close(farm)


async def test_the_same_bytes_many_times_at_once_are_stored_once(
    farm: FarmUnderFault, connection: FarmConnection
) -> None:
    data = b"twice" * 50_000
    names = await asyncio.gather(*(blobs.put_bytes(connection, data) for _ in range(8)))
    assert set(names) == {name_of(data)}
    batch = record(b"chunk") * 3
    answer = await send_raw(farm, "POST /api/v1/blobs", batch, length=len(batch))
    assert status(answer) == 200
    assert not await is_missing(connection, b"chunk")
    close(farm)


class Late(FakeNode):
    """A node that can be told what to say, and waits for the verdict."""

    async def offer(self, ref: FrameRef, data: bytes | None = None) -> FrameAccepted | FrameRefused:
        """Upload a picture for ``ref``, say that it is done, and return the verdict."""
        await self.send(await self.done(ref, data))
        return await self.verdict(ref)

    async def verdict(self, ref: FrameRef) -> FrameAccepted | FrameRefused:
        while True:
            message = await self.receive()
            if isinstance(message, FrameAccepted | FrameRefused) and message.frame == ref:
                return message

    async def leased(self, count: int) -> list[FrameRef]:
        """Wait for so many frames."""
        refs: list[FrameRef] = []
        while len(refs) < count:
            refs += (await self.receive_a(Assign)).frames
        for ref in refs:
            await self.send(FrameStarted(frame=ref))
        return refs


async def stored(connection: FarmConnection, job: JobView) -> dict[int, list[str]]:
    """SHA-256 of the files of every frame that the coordinator says is done."""
    page = json.loads(await connection.text(f"/api/v1/jobs/{job.id}/frames"))
    return {
        frame["frame"]: [file["sha256"] for file in frame["files"]]
        for frame in page["frames"]
        if frame["state"] == "done"
    }


async def test_a_result_counts_once_whoever_says_it_and_how_often(
    farm: FarmUnderFault, connection: FarmConnection
) -> None:
    scene = make_scene("1-3")
    await scene.upload(connection)
    job = await scene.submit(connection)
    followed = farm.follow(job.id, "1-3", (WIDTH, HEIGHT))
    first = Late(connection, "1" * 32, "one")
    async with first.connected():
        refs = await first.leased(2)
        one, two = refs[0], refs[1]
        # Told before its bytes are here: asked for again, not failed.
        data = picture(one.frame)
        early = FrameFile(root="main", path="f.png", sha256=name_of(data), length=len(data))
        done = await first.done(two)
        await first.send(type(done)(frame=one, files=(early,), stats=done.stats))
        refused = await first.verdict(one)
        assert isinstance(refused, FrameRefused)
        assert refused.retry
        assert isinstance(await first.offer(one), FrameAccepted)
        # Said twice, and then once more with another picture: what was stored first stays.
        assert isinstance(await first.offer(one), FrameAccepted)
        before = await stored(connection, job)
        other = picture(one.frame + 100)
        assert isinstance(await first.offer(one, other), FrameAccepted)
        assert await stored(connection, job) == before
        # An epoch that was never given out is nobody's.
        never = FrameRef(job=job.id, generation=two.generation, frame=two.frame, epoch=10**6)
        assert isinstance(await first.offer(never), FrameRefused)
        # Another generation is another picture.
        newer = FrameRef(
            job=job.id, generation=two.generation + 1, frame=two.frame, epoch=two.epoch
        )
        assert isinstance(await first.offer(newer), FrameRefused)
        assert set(await stored(connection, job)) == {one.frame}
    # The same node in another life, and then another node, under the lease of the first: the
    # frame is still open, so the work counts.
    again, stranger = Late(connection, "1" * 32, "two"), Late(connection, "2" * 32, "one")
    async with again.connected(), stranger.connected():
        leased = await again.leased(2)
        assert {ref.frame for ref in leased} == {two.frame, *({1, 2, 3} - {one.frame, two.frame})}
        assert isinstance(await stranger.offer(two), FrameAccepted)
        before = await stored(connection, job)
        for ref in leased:
            assert isinstance(await again.offer(ref, picture(ref.frame + 50)), FrameAccepted)
        assert (await stored(connection, job))[two.frame] == before[two.frame]
    assert sorted(await stored(connection, job)) == [1, 2, 3]
    # Rendered anew: a result of the time before leaves the frame open for the new one.
    await connection.post(f"/api/v1/jobs/{job.id}/retry", JobView, body={"frames": "2"})
    async with Late(connection, "3" * 32, "one").connected() as late:
        assert isinstance(late, Late)
        (fresh,) = await late.leased(1)
        assert (fresh.frame, fresh.generation) == (2, two.generation + 1)
        stale = FrameRef(job=job.id, generation=two.generation, frame=fresh.frame, epoch=two.epoch)
        # It is acknowledged, for it was stored once, and has no effect on what is asked for now.
        await late.offer(stale)
        assert sorted(await stored(connection, job)) == [1, 3]
        assert isinstance(await late.offer(fresh, picture(77)), FrameAccepted)
    assert followed.history.broken == []
    farm.kill("coordinator")
    farm.start_coordinator()
    assert (await stored(connection, job))[2] == [name_of(picture(77))]


async def test_a_job_whose_chunks_did_not_all_arrive_is_told_so(
    farm: FarmUnderFault, connection: FarmConnection
) -> None:
    scene = make_scene("1-2")
    await blobs.put_bytes(connection, scene.manifest)
    with pytest.raises(Refused) as refused:
        await scene.submit(connection, key="the same")
    assert refused.value.problem.status == 409
    assert set(refused.value.problem.missing) == set(scene.chunks)
    await scene.upload(connection)
    job = await scene.submit(connection, key="the same")
    # Sent twice, as after an answer that was lost: still one job.
    assert (await scene.submit(connection, key="the same")).id == job.id
    farm.kill("coordinator")
    farm.start_coordinator()
    assert (await scene.submit(connection, key="the same")).id == job.id
    assert len(json.loads(await connection.text("/api/v1/jobs"))["jobs"]) == 1
