"""From a click to what a real node and its Blender do about it.

The Blender of the node ``atlas`` renders pictures of 48 x 32 pixels. Jobs are queued over the real
interface; all else is done on the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import re
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.async_api import Page, expect
from rendermill.protocol.job import FrameImage
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials

from ...local_farms import ROOT
from .browser import NEEDS_CHROMIUM, POLL_SECONDS, seated, until
from .conftest import in_blender

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(900)]

FILM_SCENES = ROOT / "tests" / "node" / "blender" / "film_scenes.py"
WIDTH, HEIGHT = 48, 32
RENDERED_MS = 240_000
"""For frames of a real Blender, on a busy machine."""


@pytest.fixture
async def client(served: Any) -> AsyncIterator[FarmConnection]:
    """The farm as whoever runs it reaches it."""
    credentials = Credentials(served.url, served.token, "", "farm", "")
    async with FarmConnection(credentials) as connection:
        yield connection


@pytest.fixture
def queue(scene: Any, scenes: Path, client: FarmConnection) -> Callable[..., Awaitable[str]]:
    """Queue frames of one of the scenes; returns the id of the job."""

    async def submit(blend: str, frames: str, file_format: str = "PNG", **changes: object) -> str:
        shot = scene(
            frames,
            (scenes / f"{blend}.blend").read_bytes(),
            image=FrameImage(width=WIDTH, height=HEIGHT, file_format=file_format),
            **changes,
        )
        await shot.upload(client)
        return (await shot.submit(client)).id

    return submit


def at(served: Any, where: str, **options: Any) -> Any:
    return seated(served.url, served.token, where=where, **options)


async def go(page: Page, where: str) -> None:
    await page.evaluate("where => { location.hash = where }", f"#{where}")


def pill(page: Page) -> Any:
    return page.locator(".job-head .pill")


async def is_done(page: Page) -> None:
    await expect(pill(page)).to_have_text("Done", timeout=RENDERED_MS)


async def counts(served: Any, job: str) -> dict[str, int]:
    return (await asyncio.to_thread(served.job, job))["counts"]


async def when(served: Any, job: str, true: Callable[[dict[str, int]], bool]) -> None:
    """Wait until the frames of a job stand so."""

    async def is_so() -> bool:
        return true(await counts(served, job))

    await until(is_so)


async def when_node(served: Any, state: str) -> None:
    async def is_so() -> bool:
        return (await asyncio.to_thread(served.node, "atlas")).get("state") == state

    await until(is_so)


def kill_blender(served: Any) -> None:
    """Kill -9 whatever the node has started."""
    node = psutil.Process(served.members["atlas"].process.pid)
    for child in node.children(recursive=True):
        # One of them may take another along.
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def begun(served: Any, name: str) -> list[int]:
    """Return the frames of the job of that name that Blender has begun to render, in order."""
    log = served.members["atlas"].log.read_text("utf-8", "replace")
    return [int(found) for found in re.findall(rf"{name}, frame (\d+): Rendering", log)]


async def when_begun(served: Any, name: str, number: int) -> int:
    """Wait until Blender has begun so many frames of a job; return the last of them."""

    async def is_so() -> bool:
        return len(begun(served, name)) >= number

    await until(is_so)
    return begun(served, name)[-1]


async def test_a_job_is_steered_while_it_renders(served, queue):
    # More frames than are rendered before somebody could press a button.
    job = await queue("quick", "1-900", name="steered")
    async with at(served, f"/jobs/{job}") as seat:
        page = seat.page
        await expect(page.locator(".state-filter")).to_contain_text("done", timeout=RENDERED_MS)
        await page.get_by_role("button", name="Pause").click()
        await expect(pill(page)).to_have_text("Paused")
        await when(served, job, lambda now: now["leased"] == 0)
        await when_node(served, "idle")
        held = await counts(served, job)
        assert held["waiting"] > 0
        # One that is queued behind it goes first, and the paused one not at all.
        other = await queue("quick", "1-2", name="meanwhile")
        await when(served, other, lambda now: now["done"] == 2)
        assert await counts(served, job) == held
        await page.get_by_role("button", name="Resume").click()
        await when(served, job, lambda now: now["done"] > held["done"])

        async def cancel() -> None:
            await page.get_by_role("button", name="Cancel", exact=True).click()
            await page.get_by_role("button", name="Cancel the job").click()
            await expect(pill(page)).to_have_text("Cancelled")
            await when_node(served, "idle")

        await cancel()
        ended = await counts(served, job)
        assert ended["cancelled"] > 0
        assert ended["done"] + ended["cancelled"] == 900
        # Some again, and then all that were cancelled.
        await page.locator("#some-frames").fill("2, 900")
        await page.get_by_role("button", name="Render again").click()
        await when(served, job, lambda now: now["waiting"] == now["leased"] == 0)
        # The second is rendered anew; the last was cancelled before.
        assert (await counts(served, job))["done"] == ended["done"] + 1
        assert begun(served, "steered").count(2) == 2
        await page.get_by_role("button", name=re.compile("^Retry")).click()
        await when(served, job, lambda now: now["done"] > ended["done"] + 1)
        assert (await counts(served, job))["cancelled"] == 0
        await cancel()


async def test_what_is_more_urgent_is_rendered_first(served, queue):
    async with at(served, "/nodes") as seat:
        page = seat.page
        card = page.get_by_role("article", name="Node atlas")
        await card.get_by_role("button", name="Drain").click()
        await expect(card.locator(".pill")).to_have_text("Draining")
        first = await queue("quick", "1-4", name="patient")
        second = await queue("quick", "1-4", name="urgent")
        await go(page, f"/jobs/{second}")
        await page.get_by_label("Priority", exact=True).fill("90")
        await page.get_by_role("button", name="Set").click()

        async def is_set() -> bool:
            return (await asyncio.to_thread(served.job, second))["priority"] == 90

        await until(is_set)
        await go(page, "/nodes")
        await card.get_by_role("button", name="Resume").click()
        await go(page, f"/jobs/{first}")
        await is_done(page)
    # By the moments in which Blender began them: the node tells of an end when it is stored.
    log = served.members["atlas"].log.read_text("utf-8")
    order = re.findall(r"(urgent|patient), frame \d+: Rendering", log)
    assert order == ["urgent"] * 4 + ["patient"] * 4


async def test_scouts_are_approved_and_the_rest_is_rendered(served, queue):
    job = await queue("quick", "1-7", name="scouted", scouts=True)
    async with at(served, f"/jobs/{job}") as seat:
        page = seat.page
        button = page.get_by_role("button", name="Approve the rest")
        await expect(button).to_be_visible(timeout=RENDERED_MS)
        assert sorted(begun(served, "scouted")) == [1, 4, 7]
        await expect(page.locator(".tile img")).to_have_count(3)
        # Twice in a hurry is once.
        await button.dblclick()
        await is_done(page)
    assert sorted(begun(served, "scouted")) == [1, 2, 3, 4, 5, 6, 7]


async def test_hours_tags_and_the_switch_of_a_node_decide_what_it_renders(served, queue):
    node = served.node("atlas")["id"]
    async with at(served, f"/nodes/{node}") as seat:
        page = seat.page
        card = page.locator(".node-page .node-card")
        await expect(card.locator(".pill")).to_have_text("Idle")
        # Hours that are not now.
        far = datetime.datetime.now() + datetime.timedelta(days=3)  # noqa: DTZ005 the node's own
        await page.get_by_text("Tags and hours").click()
        await page.get_by_label("Renders at").fill(f"{far:%a} 00:00-01:00".lower())
        await page.get_by_role("button", name="Save").click()
        await expect(card.locator(".pill")).to_have_text("Not available")
        job = await queue("quick", "1-2", name="tagged")
        await go(page, f"/jobs/{job}")
        await expect(page.locator(".job-head .why")).not_to_be_empty()
        await go(page, f"/nodes/{node}")
        await page.get_by_text("Tags and hours").click()
        await expect(page.get_by_label("Renders at")).not_to_have_value("")
        await page.get_by_role("button", name="As the node was started").click()
        await is_done_at(page, job)
        # A tag that no node has, until the node gets it.
        await go(page, f"/jobs/{job}/nodes")
        await page.get_by_label("Tags a node must have").fill("fast")
        await page.get_by_role("button", name="Save").click()
        await go(page, f"/jobs/{job}/frames")
        await page.locator("#some-frames").fill("2")
        await page.get_by_role("button", name="Render again").click()
        await expect(page.locator(".job-head .why")).to_contain_text("fast")
        await go(page, f"/nodes/{node}")
        await page.get_by_text("Tags and hours").click()
        await page.get_by_label("Tags", exact=True).fill("floor2, fast")
        await page.get_by_role("button", name="Save").click()
        await is_done_at(page, job)
        assert sorted(begun(served, "tagged")) == [1, 2, 2]
        # Disabled in the middle of a frame: it is given up, and rendered once enabled.
        slow = await queue("slow", "1", name="given up")
        await when_begun(served, "given up", 1)
        await go(page, f"/nodes/{node}")
        await card.get_by_role("button", name="Disable").click()
        await expect(card.locator(".pill")).to_have_text("Disabled")
        await when(served, slow, lambda now: now["waiting"] == 1)
        await card.get_by_role("button", name="Enable").click()
        await is_done_at(page, slow)
        assert begun(served, "given up") == [1, 1]
        # Drained in the middle of a frame: that one is finished, and no other begun.
        last = await queue("slow", "1-2", name="drained")
        frame = await when_begun(served, "drained", 1)
        await go(page, f"/nodes/{node}")
        await card.get_by_role("button", name="Drain").click()
        await when_node(served, "draining")
        await when(served, last, lambda now: now["leased"] == 0)
        assert begun(served, "drained") == [frame]
        await when(served, last, lambda now: now["done"] == now["waiting"] == 1)
        await card.get_by_role("button", name="Resume").click()
        await is_done_at(page, last)
        assert sorted(begun(served, "drained")) == [1, 2]


async def is_done_at(page: Page, job: str) -> None:
    await go(page, f"/jobs/{job}")
    await is_done(page)


async def test_a_frame_that_failed_for_good_is_retried(served, queue):
    job = await queue("slow", "1", name="killed")

    async def failed() -> int:
        frame = await asyncio.to_thread(served.ask, "GET", f"/api/v1/jobs/{job}/frames/1")
        return frame["frame"]["failures"]

    failures = 0
    while (await asyncio.to_thread(served.job, job))["state"] != "failed":
        await when_begun(served, "killed", failures + 1)
        kill_blender(served)
        while await failed() == failures:  # noqa: ASYNC110 the farm's own count is waited for
            await asyncio.sleep(POLL_SECONDS)
        failures += 1
    async with at(served, "/") as seat:
        page = seat.page
        item = page.locator(".attention-list li", has_text="killed")
        await expect(item).to_contain_text("1 frame failed")
        await item.get_by_role("button", name="Retry 1").click()
        await expect(item).to_have_count(0)
        await go(page, f"/jobs/{job}/timeline")
        await is_done(page)
        panel = page.get_by_role("tabpanel")
        await expect(panel).to_contain_text(f"{failures} failures")
        await panel.get_by_text("As a table").click()
        await expect(panel.get_by_role("row", name="Crashed")).to_have_count(failures)
        # What Blender said of the frame is found among all that was said.
        await go(page, f"/jobs/{job}/frames/1")
        frame = page.locator(".frame-panel")
        await expect(frame.locator(".facts")).to_contain_text("atlas")
        await expect(frame.locator(".facts")).to_contain_text("Memory")
        await expect(frame.locator(".attempt")).to_have_count(failures + 1)
        await frame.get_by_role("link", name="Log of this frame").click()
        lines = page.locator(".log-line")
        await expect(lines.filter(has_text="Saved:").first).to_be_visible()
        await page.get_by_label("Search the log").fill("SAVED:")
        await expect(lines.filter(has_not_text="Saved:")).to_have_count(0)
        await expect(lines.locator("mark").first).to_have_text("Saved:")


async def test_a_node_that_a_job_keeps_away_from_is_forgiven(served, queue, client, make_node):
    other = make_node(client, 7)
    async with other.attended(name="other"), at(served, "/nodes") as seat:
        page = seat.page
        atlas = served.node("atlas")["id"]
        job = await queue("slow", "1-12", name="avoiding")
        # Blender dies over three frames there; the other node holds what it has got.
        failed: set[int] = set()
        number = 0
        while len(failed) < 3:
            number += 1
            failed.add(await when_begun(served, "avoiding", number))
            kill_blender(served)

        async def is_avoided() -> bool:
            view = await asyncio.to_thread(served.job, job)
            return atlas in [one["node"] for one in view["avoids"]]

        await until(is_avoided)
        await when_node(served, "idle")
        before = len(begun(served, "avoiding"))
        await go(page, f"/jobs/{job}/nodes")
        kept_away = page.get_by_role("tabpanel").get_by_role("listitem")
        await expect(kept_away).to_contain_text("atlas until ")
        await expect(kept_away).to_contain_text("3 frames failed there")
        await kept_away.get_by_role("link", name="atlas").click()
        await page.get_by_role("button", name="Forgive", exact=True).click()
        await when_begun(served, "avoiding", before + 1)
        # Only the other may have it now: what atlas has begun is still taken, and nothing more.
        await go(page, f"/jobs/{job}/nodes")
        await page.get_by_label("Only these").check()
        await page.get_by_label("other").check()
        await page.get_by_role("button", name="Save").click()
        await when_node(served, "idle")
        done = (await counts(served, job))["done"]
        assert done > 0
        assert (await counts(served, job))["waiting"] > 0
        await page.get_by_role("button", name="Cancel", exact=True).click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(pill(page)).to_have_text("Cancelled")


async def test_what_is_taken_home_is_what_was_stored(served, queue, tmp_path):
    job = await queue("quick", "1-3", name="taken <home>")
    async with at(served, f"/jobs/{job}", accept_downloads=True) as seat:
        page = seat.page
        await is_done(page)
        stored = {
            number: await asyncio.to_thread(
                served.fetch, f"/api/v1/jobs/{job}/frames/{number}/files/0"
            )
            for number in (1, 2, 3)
        }
        await go(page, f"/jobs/{job}/frames/2")
        async with page.expect_download() as one:
            await page.get_by_role("link", name="f_0002.png").click()
        taken = await (await one.value).path()
        assert taken.read_bytes() == stored[2]
        with Image.open(taken) as picture:
            assert (picture.format, picture.size) == ("PNG", (WIDTH, HEIGHT))
        async with page.expect_download() as whole:
            await page.get_by_role("link", name="Download 3 frames").click()
        with zipfile.ZipFile(await (await whole.value).path()) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name) for name in archive.namelist()} == {
                f"f_{number:04d}.png": data for number, data in stored.items()
            }
        # The generated script stands where the node made it.
        await page.get_by_role("button", name="Close frame").click()
        await page.get_by_role("tab", name="Script").click()
        await expect(page.get_by_role("tabpanel")).to_contain_text("import bpy")


async def test_an_exr_is_seen_through_the_view_of_its_scene(served, queue, scenes):
    job = await queue("exr", "1", "OPEN_EXR", name="seen")
    async with at(served, f"/jobs/{job}/frames/1") as seat:
        page = seat.page
        await is_done(page)
        panel = page.locator(".frame-panel")
        await expect(panel.get_by_role("link", name="f_0001.exr")).to_be_visible()
        await panel.locator(".frame-link").click()
        picture = page.get_by_role("img", name="Frame 1 at full size")
        await expect(picture).to_have_js_property("naturalWidth", WIDTH)
        shown = await picture.evaluate(
            "async (image) => [...new Uint8Array(await (await fetch(image.src)).arrayBuffer())]"
        )
    with (
        Image.open(io.BytesIO(bytes(shown))) as seen,
        Image.open(scenes / "reference.png") as wanted,
    ):
        assert seen.size == wanted.size
        difference = ImageChops.difference(seen.convert("RGB"), wanted.convert("RGB"))
        assert max(ImageStat.Stat(difference).mean) < 6, ImageStat.Stat(difference).mean
        dark = ImageChops.difference(wanted.convert("RGB"), Image.new("RGB", wanted.size))
        assert max(ImageStat.Stat(dark).mean) > 40


async def test_a_film_is_downloaded_and_plays(served, tmp_path):
    folder = tmp_path / "artist"
    await asyncio.to_thread(in_blender, FILM_SCENES, "make", str(folder), "h264")
    said = await asyncio.to_thread(served.command, "submit", str(folder / "film.blend"), "--json")
    assert said.returncode == 0, said.stdout + said.stderr
    jobs = (await asyncio.to_thread(served.ask, "GET", "/api/v1/jobs"))["jobs"]
    job = next(one["id"] for one in jobs if one["film"])
    async with at(served, f"/jobs/{job}", accept_downloads=True) as seat:
        page = seat.page
        button = page.get_by_role("link", name="Download film")
        await expect(button).to_be_visible(timeout=RENDERED_MS)
        async with page.expect_download() as film:
            await button.click()
        taken = await film.value
        path = tmp_path / taken.suggested_filename
        await taken.save_as(path)
    assert path.suffix == ".mp4"
    # Blender itself reads every picture of it.
    said = await asyncio.to_thread(
        in_blender, FILM_SCENES, "decode", str(tmp_path), str(path), "silent"
    )
    assert "DECODED " in said
