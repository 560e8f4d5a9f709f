"""The log on the page: searched, followed, and whole over a restart of the coordinator."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect
from rendermill.coordinator.api import events
from rendermill.protocol.messages import LogLines

from .browser import NEEDS_CHROMIUM, seated

pytestmark = NEEDS_CHROMIUM

HOSTILE = '<img src=x onerror="window.hacked=1"> Sample 🎬'


async def test_lines_are_followed_and_searched(coordinator: Any, farm: Any, make_node: Any) -> None:
    node = make_node(farm)
    async with node.connected():
        await node.send(LogLines(lines=tuple(f"early line {number}" for number in range(150))))
        await node.send(LogLines(lines=("Warning: the texture wood.png is missing", HOSTILE)))
        async with seated(coordinator.url, coordinator.token, where="/logs") as seat:
            lines = seat.page.locator(".log-line .log-text")
            await expect(lines).to_have_count(152)
            await expect(lines.last).to_have_text(HOSTILE)
            await node.send(LogLines(lines=("said while the page was open",)))
            await expect(lines.last).to_have_text("said while the page was open")
            await seat.page.get_by_label("Search the log").fill("WOOD.png")
            await expect(lines).to_have_count(1)
            await expect(seat.page.locator(".log-line mark")).to_have_text("wood.png")
            await node.send(LogLines(lines=("nothing of it", "another wood.PNG")))
            await expect(lines).to_have_count(2)
            await seat.page.get_by_label("Search the log").fill("no such words")
            await expect(seat.page.get_by_text("No line has these words.")).to_be_visible()
            assert await seat.page.evaluate("window.hacked") is None


async def test_no_line_is_missing_or_double_after_the_stream_was_cut(
    coordinator: Any, farm: Any, make_node: Any
) -> None:
    node = make_node(farm)
    async with node.connected():
        cut = "Failed to load resource"
        async with seated(
            coordinator.url, coordinator.token, where="/logs", expected=(cut,)
        ) as seat:
            lines = seat.page.locator(".log-line .log-text")
            for start in range(0, 400, 10):
                await node.send(LogLines(lines=tuple(f"n{start + at}" for at in range(10))))
                if start in (100, 250):
                    await expect(lines.first).to_have_text("n0")
                    for follower in tuple(coordinator.app[events.FOLLOWERS]):
                        follower.cancel()
            await expect(lines.last).to_have_text("n399")
            assert await lines.all_text_contents() == [f"n{number}" for number in range(400)]


async def test_what_the_coordinator_no_longer_remembers_is_fetched(
    start: Any, make_node: Any
) -> None:
    from rendermill.wire.connection import FarmConnection

    first = await start()
    port = int(first.credentials.url.rsplit(":", 1)[1])
    async with seated(
        first.url,
        first.token,
        where="/logs",
        expected=("Failed to load resource",),
    ) as seat:
        lines = seat.page.locator(".log-line .log-text")
        async with FarmConnection(first.credentials) as farm:
            node = make_node(farm)
            async with node.connected():
                await node.send(LogLines(lines=("before",)))
                await expect(lines).to_have_text(["before"])
        await first.stop()
        await expect(seat.page.locator(".connection[data-state=lost]")).to_be_visible()
        second = await start(port=port)
        async with FarmConnection(second.credentials) as farm:
            node = make_node(farm, incarnation="two")
            async with node.connected():
                await node.send(LogLines(lines=("after",)))
                await expect(lines).to_have_text(["before", "after"])


async def test_the_address_names_what_is_shown(coordinator: Any, farm: Any, make_node: Any) -> None:
    one, two = make_node(farm, 1), make_node(farm, 2)
    async with one.connected(), two.connected():
        await one.send(LogLines(lines=("of one",)))
        await two.send(LogLines(lines=("of two",)))
        where = f"/logs/node/{two.node}"
        async with seated(coordinator.url, coordinator.token, where=where) as seat:
            lines = seat.page.locator(".log-line .log-text")
            await expect(lines).to_have_text(["of two"])
            await seat.page.get_by_label("Node", exact=True).select_option(one.node)
            await expect(lines).to_have_text(["of one"])
            assert seat.page.url.endswith(f"#/logs/node/{one.node}")
