"""200 nodes and 10,000 frames on the page, over a coordinator process that is killed in between."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from rendermill.protocol.views import JobView
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials

from ...local_farms import fake_nodes, local_farm
from .browser import NEEDS_CHROMIUM, seated, until

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(600)]

NODES = 200
FRAMES = 10_000
DONE_BEFORE = 1500
SETTLED_MS = 120_000
"""Until the page has all that 200 nodes did at once, on a busy machine."""


async def legend(page: Page) -> dict[str, int]:
    """Return the frames by state as the page of the job counts them."""
    texts = await page.locator(".state-filter button:visible").all_inner_texts()
    found = (text.strip().rpartition(" ") for text in texts)
    return {word: int(number.replace(",", "")) for number, _, word in found}


def told(view: JobView) -> dict[str, int]:
    """The same, as the farm counts them."""
    words = {"waiting": "waiting", "leased": "rendering", "done": "done"}
    return {word: n for name, word in words.items() if (n := getattr(view.counts, name))}


async def test_a_crowd_through_a_killed_coordinator(tmp_path: Path) -> None:
    with local_farm.LocalFarm(tmp_path / "farm", sys.executable) as served:
        served.start_coordinator()
        credentials = Credentials(served.url, served.token, "", "", "")
        scene = fake_nodes.LoadScene()
        async with FarmConnection(credentials) as farm:
            await scene.upload(farm)
            job = (await scene.submit(farm, FRAMES, name="crowd")).id

        async def view() -> JobView:
            return await asyncio.to_thread(ask, served, job)

        gone = ("Failed to load resource", "WebSocket")
        async with seated(served.url, served.token, where=f"/jobs/{job}", expected=gone) as seat:
            page = seat.page
            await expect(page.locator(".state-filter")).to_contain_text("10,000 waiting")
            first = fake_nodes.FakeNodes(credentials, NODES, finishing=False)
            async with first:
                await first.until_assigned(NODES)
                await self_consistent(page, view)
                await the_nodes_are_right(page, first.nodes)
                await page.evaluate("where => { location.hash = where }", f"#/jobs/{job}")
                await expect(page.locator(".state-filter")).to_be_visible()
                # Killed with frames under way on every node.
                served.members["coordinator"].kill()
            await expect(page.locator(".connection[data-state=lost]")).to_be_visible()
            before = await legend(page)
            served.start_coordinator()
            second = fake_nodes.FakeNodes(credentials, NODES)
            for node, old in zip(second.nodes, first.nodes, strict=True):
                node.id, node.incarnation = old.id, "another"
            async with second:
                await expect(page.locator(".connection[data-state=live]")).to_be_visible()
                await second.until_accepted(FRAMES)
                await expect(page.locator(".job-head .pill")).to_have_text(
                    "Done", timeout=SETTLED_MS
                )
            assert sum(before.values()) == FRAMES
            assert await legend(page) == {"done": FRAMES}
            assert (await view()).counts.done == FRAMES
            assert second.accepted == FRAMES
            # Every cell, and what a page that is opened now knows.
            await the_field_is_right(page)
            await page.reload()
            await expect(page.locator(".state-filter")).to_contain_text("10,000 done")
            await the_field_is_right(page)
            await page.get_by_role("link", name="Jobs", exact=True).click()
            await expect(page.locator(".job-card")).to_have_count(1)
            await expect(page.locator(".job-card")).to_contain_text("10,000")


def ask(served: Any, job: str) -> JobView:
    """Return the view of a job."""
    import msgspec

    return msgspec.convert(served.job(job), JobView)


async def self_consistent(page: Page, view: Any) -> None:
    """What the page counts is what the farm counts."""

    async def is_so() -> bool:
        return await legend(page) == told(await view())

    await until(is_so)


async def the_nodes_are_right(page: Page, nodes: list[Any]) -> None:
    """All are there, in order, found by a filter, and lead to their own page."""
    await page.get_by_role("link", name="Nodes", exact=True).click()
    cards = page.locator(".node-card")
    await expect(cards).to_have_count(NODES)
    await expect(page.locator(".node-card .pill[data-state=rendering]")).to_have_count(NODES)
    names = await page.locator(".node-card .node-name").all_text_contents()
    assert names == [node.name for node in nodes]
    await page.get_by_role("searchbox").fill("load0017")
    await expect(page.locator(".node-card:visible")).to_have_count(10)
    await page.get_by_role("link", name="load00173", exact=True).click()
    await expect(page.locator(".node-page h1")).to_have_text("load00173")
    await expect(page.locator(".node-page .node-work")).to_contain_text("crowd")


async def the_field_is_right(page: Page) -> None:
    """Ends and middle of the field of frames are done, by keyboard."""
    field = page.get_by_role("slider", name="Frames")
    await expect(field).to_be_enabled()
    await field.focus()
    await page.keyboard.press("End")
    await expect(page.locator(".frame-panel h2")).to_have_text(f"Frame {FRAMES}")
    await expect(page.locator(".frame-panel .pill")).to_have_text("Done")
    await page.keyboard.press("Home")
    await expect(page.locator(".frame-panel h2")).to_have_text("Frame 1")
    await expect(page.locator(".frame-panel .pill")).to_have_text("Done")
