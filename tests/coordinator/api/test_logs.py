"""Every line once: fetched, then followed, over a cut in the middle of a burst."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from rendermill.protocol.logs import LogPage
from rendermill.protocol.messages import Assign, FailureKind, FrameFailed, FrameStarted, LogLines
from rendermill.wire.errors import FarmError

LINES, PER_MESSAGE = 3000, 10


async def follow(
    raw: aiohttp.ClientSession, coordinator: Any, after: int
) -> AsyncIterator[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {coordinator.token}"}
    url = f"{coordinator.url}/api/v1/events?after={after}"
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with raw.get(url, headers=headers, timeout=timeout) as answer:
        async for line in answer.content:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])


async def test_no_line_is_missed_and_none_comes_twice_over_a_cut_in_a_burst(
    coordinator: Any, farm: Any, raw: aiohttp.ClientSession, make_node: Any
) -> None:
    node = make_node(farm)
    async with node.connected():

        async def burst() -> None:
            for start in range(0, LINES, PER_MESSAGE):
                lines = tuple(f"line {number}" for number in range(start, start + PER_MESSAGE))
                await node.send(LogLines(lines=lines))

        talking = asyncio.create_task(burst())
        position = coordinator.conductor.feed.sequence
        seen: list[tuple[int, str]] = []
        try:
            async with asyncio.timeout(120):
                page = LogPage(lines=(), last=0, more=False)
                # In the middle: what is there, then what comes.
                while not seen:
                    page = await farm.get(f"/api/v1/logs?node={node.node}&limit=5000", LogPage)
                    seen = [(line.number, line.text) for line in page.lines]
                assert not page.more
                for cut in (40, 90, 10_000):
                    count = 0
                    async for event in follow(raw, coordinator, position):
                        position = event["sequence"]
                        if event["kind"] != "log":
                            continue
                        count += 1
                        first = event["log_number"]
                        seen += [
                            (first + at, text)
                            for at, text in enumerate(event["lines"])
                            if first + at > seen[-1][0]
                        ]
                        if count == cut or seen[-1][1] == f"line {LINES - 1}":
                            break
                    if seen[-1][1] == f"line {LINES - 1}":
                        break
            await talking
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
    assert [text for _, text in seen] == [f"line {number}" for number in range(LINES)]
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})
    stored = await farm.get("/api/v1/logs?limit=5000&q=LINE", LogPage)
    assert [(line.number, line.text) for line in stored.lines] == seen


async def test_lines_and_failures_of_a_frame_outlive_a_restart(
    start: Any, scene: Any, make_node: Any
) -> None:
    from rendermill.wire.connection import FarmConnection

    first = await start()
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-3")
        await shot.upload(farm)
        job = await shot.submit(farm)
        node = make_node(farm)
        async with node.connected():
            ref = (await node.receive_a(Assign)).frames[0]
            await node.send(FrameStarted(frame=ref))
            await node.send(LogLines(lines=("Sample\x00 1", "two\u2028parts"), frame=ref))
            await node.send(FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="It fell over."))
            page = LogPage(lines=(), last=0, more=False)
            async with asyncio.timeout(60):
                while len(page.lines) < 4:
                    path = f"/api/v1/logs?job={job.id}&frame={ref.frame}&after=0"
                    page = await farm.get(path, LogPage)
    await first.stop()
    second = await start()
    async with FarmConnection(second.credentials) as farm:
        again = await farm.get(f"/api/v1/logs?job={job.id}", LogPage)
        assert again.lines == page.lines
        assert [line.text for line in page.lines] == [
            "Sample\N{REPLACEMENT CHARACTER} 1",
            "two",
            "parts",
            f"Frame {ref.frame} failed (crash): It fell over.",
        ]
        assert (await farm.get("/api/v1/logs?job=another", LogPage)).lines == ()
        found = await farm.get("/api/v1/logs?q=fell%20OVER", LogPage)
        assert [line.frame for line in found.lines] == [ref.frame]
        # Lines go with their job.
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", dict)
        await farm.delete(f"/api/v1/jobs/{job.id}")
        assert (await farm.get(f"/api/v1/logs?job={job.id}", LogPage)).lines == ()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("after=1&before=2", "after a number or before one"),
        ("after=x", "whole number"),
        (f"q={'x' * 501}", "at most 500"),
    ],
)
async def test_what_cannot_be_asked_is_a_sentence(farm: Any, query: str, sentence: str) -> None:
    with pytest.raises(FarmError, match=sentence):
        await farm.get(f"/api/v1/logs?{query}", LogPage)
