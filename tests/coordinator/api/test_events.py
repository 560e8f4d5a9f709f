"""The event stream of one job, while others have all the news."""

from __future__ import annotations

import asyncio
import json

from rendermill.coordinator import feed as feed_module
from rendermill.coordinator.api import events
from rendermill.coordinator.farm.decisions import Changed, Publish
from rendermill.coordinator.feed import EventFeed


async def test_a_follower_of_a_quiet_job_is_told_where_it_stands(coordinator, raw, monkeypatch):
    """Events of others neither keep the line dead silent nor make a return to it a reset."""
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.2)
    monkeypatch.setattr(feed_module, "RING_MAX_EVENTS", 50)
    feed = coordinator.conductor.feed
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    url = f"{coordinator.url}/api/v1/events"
    begun = feed.sequence

    async def chatter() -> None:
        while True:
            feed.tell_log(("line",), "n", "another job")
            await asyncio.sleep(0.005)

    task = asyncio.create_task(chatter())
    try:
        params = {"job": "quiet", "after": str(begun)}
        async with asyncio.timeout(60), raw.get(url, headers=headers, params=params) as answer:
            position = begun

            async def follow(until: int) -> None:
                nonlocal position
                while position < until:
                    line = await answer.content.readline()
                    assert not line.startswith(b"data:")
                    if line.startswith(b"id:"):
                        position = int(line[3:])

            # Beyond what the ring holds, so that the number it began with is gone.
            await follow(begun + 60)
            # Silence before it comes back: the ring is small, and a busy machine slow.
            task.cancel()
            await follow(feed.sequence)
        assert feed.since(begun) is None
        headers["Last-Event-ID"] = str(position)
        async with asyncio.timeout(60), raw.get(url, headers=headers, params=params) as answer:
            feed.tell_log(("mine",), "n", "quiet")
            while not (line := await answer.content.readline()).startswith(b"data:"):
                pass
        assert json.loads(line[5:])["lines"] == ["mine"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_burst_is_written_in_few_pieces_and_whole(coordinator, raw, monkeypatch):
    writes: list[bytes] = []
    write = events._write

    async def counted(response, text):
        writes.append(text)
        await write(response, text)

    monkeypatch.setattr(events, "_write", counted)
    feed = coordinator.conductor.feed
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    params = {"after": str(feed.sequence)}
    async with (
        asyncio.timeout(60),
        raw.get(f"{coordinator.url}/api/v1/events", headers=headers, params=params) as answer,
    ):

        async def next_line() -> str:
            while not (line := await answer.content.readline()).startswith(b"data:"):
                pass
            return json.loads(line[5:])["lines"][0]

        feed.tell_log(("first",), "n", "j")
        assert await next_line() == "first"
        before = len(writes)
        for number in range(100):
            feed.tell_log((str(number),), "n", "j")
            await asyncio.sleep(0)  # The follower could write now.
        assert [await next_line() for _ in range(100)] == [str(number) for number in range(100)]
        assert len(writes) - before < 20


async def test_too_many_frames_at_once_are_a_reset_for_those_who_follow_that_job(coordinator, raw):
    feed: EventFeed = coordinator.conductor.feed
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    params = {"job": "small", "after": str(feed.sequence)}
    frames = tuple(range(feed_module.BURST_MAX_FRAMES + 1))
    feed.publish(Publish(kind=Changed.FRAME, job="large", frames=frames))
    feed.tell_log(("mine",), "n", "small")
    kinds: dict[str, str] = {}
    for job in ("small", "large", ""):
        params["job"] = job
        async with (
            asyncio.timeout(60),
            raw.get(f"{coordinator.url}/api/v1/events", headers=headers, params=params) as answer,
        ):
            while not (line := await answer.content.readline()).startswith(b"data:"):
                pass
            kinds[job] = json.loads(line[5:])["kind"]
    assert kinds == {"small": "log", "large": "reset", "": "reset"}


async def test_endless_answers_have_no_head(coordinator, raw):
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    for path in ("events", "node"):
        async with (
            asyncio.timeout(60),
            raw.head(f"{coordinator.url}/api/v1/{path}", headers=headers) as answer,
        ):
            assert answer.status == 405
