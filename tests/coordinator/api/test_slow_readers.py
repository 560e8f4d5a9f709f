"""Whoever does not read holds nobody up: the farm goes on, and the slow one is let go."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import aiohttp
from rendermill.coordinator import feed as feed_module
from rendermill.coordinator.api import events, node_link
from rendermill.coordinator.connections import UNSENT_MAX_MESSAGES
from rendermill.protocol.messages import ForgetJob
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobDetail

WAIT_SECONDS = 60
LARGE = "x" * 500_000
"""A few of these fill every buffer between two processes of one machine."""


@contextlib.asynccontextmanager
async def deaf_follower(coordinator):
    """Ask for the event stream and never read a byte of it."""
    address = urlsplit(coordinator.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    try:
        writer.transport.pause_reading()
        writer.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {coordinator.token}\r\n\r\n".encode()
        )
        await writer.drain()
        yield
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        del reader


async def until(is_so) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - nobody tells when a connection was let go
            await asyncio.sleep(0.01)


async def renders_a_job(farm, node, shot) -> None:
    job = await shot.submit(farm)
    goal = len(node.accepted) + job.counts.waiting + job.counts.leased
    async with asyncio.timeout(WAIT_SECONDS):
        await node.render(lambda: len(node.accepted) >= goal)
    detail = await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)
    assert detail.job.state is JobState.DONE


async def test_a_follower_that_never_reads_is_let_go(
    coordinator, farm, make_node, scene, monkeypatch
):
    monkeypatch.setattr(events, "WRITE_SECONDS", 0.5)
    # Else so much is told between two looks that the ring holds none of it, and the stream is
    # nothing but resets, which fill no buffer.
    monkeypatch.setattr(events, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(feed_module, "RING_MAX_BYTES", 20 * len(LARGE))
    shot = scene("1-10")
    await shot.upload(farm)
    feed = coordinator.conductor.feed
    followers = coordinator.app[events.FOLLOWERS]
    node = make_node(farm)
    async with node.connected(), deaf_follower(coordinator):
        await until(lambda: followers)
        for _ in range(40):
            feed.tell_log((LARGE,), "n", "j")
            await asyncio.sleep(0)
        await renders_a_job(farm, node, shot)
        # What waits for it is the ring, which is bounded, and not a queue of its own.
        assert sum(len(told.data) for told in feed._ring) <= 20 * len(LARGE)
        # What the ring no longer holds is a reset, which is small: so it is told on and on.
        async with asyncio.timeout(WAIT_SECONDS):
            while followers:
                feed.tell_log((LARGE,), "n", "j")
                await asyncio.sleep(0.01)
        await renders_a_job(farm, node, shot)


async def test_many_that_never_read(coordinator, farm, make_node, scene):
    """Long before they are let go: nobody waits for them."""
    shot = scene("1-10")
    await shot.upload(farm)
    feed = coordinator.conductor.feed
    node = make_node(farm)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(node.connected())
        for _ in range(20):
            await stack.enter_async_context(deaf_follower(coordinator))
        await until(lambda: len(coordinator.app[events.FOLLOWERS]) == 20)
        for _ in range(5):
            feed.tell_log((LARGE,), "n", "j")
        await renders_a_job(farm, node, shot)


async def test_a_node_that_never_reads_is_cut_off(coordinator, farm, make_node, scene, monkeypatch):
    monkeypatch.setattr(node_link, "SEND_SECONDS", 0.5)
    shot = scene("1-10")
    await shot.upload(farm)
    deaf, good = make_node(farm, 1), make_node(farm, 2)
    connections = coordinator.connections
    async with good.connected(), deaf.connected() as stuck:
        for _ in range(60):
            connections.send(stuck.node, stuck.incarnation, ForgetJob(job=LARGE))
        await until(lambda: (stuck.node, stuck.incarnation) not in connections._connections)
        await renders_a_job(farm, good, shot)


async def test_what_waits_for_a_node_is_bounded(coordinator, farm, make_node, scene):
    """More messages than a node can have missed in good faith: it is cut off at once."""
    shot = scene("1-10")
    await shot.upload(farm)
    deaf, good = make_node(farm, 1), make_node(farm, 2)
    connections = coordinator.connections
    async with good.connected(), deaf.connected() as stuck:
        held = connections._connections[stuck.node, stuck.incarnation]
        for number in range(2 * UNSENT_MAX_MESSAGES):
            connections.send(stuck.node, stuck.incarnation, ForgetJob(job=str(number)))
            assert held.unsent.qsize() <= UNSENT_MAX_MESSAGES
        async with asyncio.timeout(WAIT_SECONDS):
            while (await stuck.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        assert stuck.socket.close_code == node_link.CLOSE_CUT_OFF
        await renders_a_job(farm, good, shot)
