"""Drops on the page of a real farm: what is no scene, what breaks off, and what comes back."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from PIL import Image
from playwright.async_api import Page, expect

from .browser import NEEDS_CHROMIUM, Seat, refused, seated, until

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(900)]

LOOKED_MS = 240_000
"""A node starts a Blender to look at a scene, on a busy machine."""
NO_ANSWER = "Failed to load resource: net::ERR_"
BATCH_BYTES = 8 * 1024 * 1024
"""As in upload.js: what travels in one request."""
HASH_BYTES = 32


@pytest.fixture
def large_folder(scenes: Path, tmp_path: Path) -> Path:
    """A scene and so much beside it that it takes several requests."""
    folder = tmp_path / "shot"
    folder.mkdir()
    shutil.copy(scenes / "quick.blend", folder / "shot.blend")
    (folder / "large.bin").write_bytes(os.urandom(3 * BATCH_BYTES))
    return folder


async def drop(seat: Seat, *paths: Path) -> None:
    """Drag files or folders over the page from outside of the browser and let go."""
    box = await seat.page.locator(".drop").bounding_box()
    assert box is not None
    line = await seat.context.new_cdp_session(seat.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        await line.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": box["x"] + box["width"] / 2,
                "y": box["y"] + box["height"] / 2,
                "data": {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1},
            },
        )
    await line.detach()


def form_of(page: Page) -> Any:
    return page.get_by_role("region", name="What to render")


def at_submit(served: Any, *expected: str) -> Any:
    return seated(served.url, served.token, where="/submit", expected=expected)


async def test_a_dropped_scene_comes_back_as_pictures_and_nothing_in_it_ran(
    served: Any, scenes: Path
) -> None:
    async with at_submit(served) as seat:
        page = seat.page
        await drop(seat, scenes / "script.blend")
        await expect(form_of(page)).to_be_visible(timeout=LOOKED_MS)
        await expect(form_of(page)).to_contain_text("start.py")
        await form_of(page).get_by_label("Frames").fill("2")
        # In a hurry.
        await form_of(page).get_by_role("button", name="Submit", exact=True).dblclick()
        await expect(page.locator(".job-head .pill")).to_have_text("Done", timeout=LOOKED_MS)
        await page.locator(".tile").click()
        link = page.locator(".frame-panel").get_by_role("link", name="f_0002.png")
        async with page.expect_download() as one:
            await link.click()
        with Image.open(io.BytesIO((await (await one.value).path()).read_bytes())) as picture:
            assert picture.size == (48, 32)
        # Back is the page of submitting, empty again.
        await page.go_back()
        await page.go_back()
        await expect(page.get_by_role("button", name="Choose a file …")).to_be_visible()
        jobs = (await asyncio.to_thread(served.ask, "GET", "/api/v1/jobs"))["jobs"]
        assert [job["name"] for job in jobs].count("script") == 1
    assert not (scenes / "ran").exists()


def wrong_folders(make: Path, blend: bytes) -> Iterator[tuple[Path, str]]:
    """Folders to drop, and what the page has to say of each."""
    for name, content, sentence in (
        ("text", b"<html>hello</html>" * 9, "shot.blend is no .blend: it does not begin like one."),
        ("short", blend[: len(blend) * 2 // 3], "shot.blend is damaged or cut short"),
        ("torn", zstandard.compress(blend)[:-900], "shot.blend is damaged or cut short"),
        ("nothing", b"", "shot.blend is no .blend: it does not begin like one."),
    ):
        folder = make / name
        folder.mkdir(parents=True)
        (folder / "shot.blend").write_bytes(content)
        yield folder, sentence
    (make / "empty").mkdir()
    yield make / "empty", "There is no file in what was dropped."
    (make / "notes").mkdir()
    (make / "notes" / "read me.txt").write_text("hello")
    yield make / "notes", "There is no .blend in what was dropped."


async def test_what_is_no_scene_gets_one_sentence_and_another_try(
    served: Any, scenes: Path, tmp_path: Path
) -> None:
    blend = (scenes / "quick.blend").read_bytes()
    async with at_submit(served) as seat:
        page = seat.page
        problem = page.locator(".submit-page > [role=alert]")
        for folder, sentence in wrong_folders(tmp_path / "wrong", blend):
            await drop(seat, folder)
            await expect(problem).to_contain_text(sentence)
            said = await problem.inner_text()
            assert said.count(".") - said.count(".blend") == 1, said
            await expect(page.locator(".drop")).to_be_visible()


async def test_what_is_strange_and_right_is_taken(
    served: Any, scenes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "Shot & Co 🎬"
    (folder / "textures").mkdir(parents=True)
    shutil.copy(scenes / "quick.blend", folder / "one.blend")
    shutil.copy(scenes / "quick.blend", folder / "textures" / "two.blend")
    (folder / "textures" / "empty.png").write_bytes(b"")
    async with at_submit(served) as seat:
        page = seat.page
        await drop(seat, folder)
        # Two scenes: one is asked for, and the nearer one is the first.
        which = page.get_by_label("Which .blend is the scene?")
        await expect(which).to_have_value("one.blend")
        await which.select_option("textures/two.blend")
        await page.get_by_role("button", name="Use it").click()
        await expect(form_of(page)).to_be_visible(timeout=LOOKED_MS)
        await expect(form_of(page).get_by_role("heading")).to_contain_text("textures/two.blend")
        await form_of(page).get_by_role("button", name="Another scene").click()
        # Names that some nodes could not tell apart.
        (folder / "textures" / "Empty.png").write_bytes(b"x")
        (folder / "textures" / "two.blend").unlink()
        await drop(seat, folder)
        problem = page.locator(".submit-page > [role=alert]")
        await expect(problem).to_contain_text("mpty.png")
        seat.expected.append(refused(422))


async def test_a_scene_that_is_too_new_says_who_could_open_it(
    served: Any, scenes: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.blend"
    old = (scenes / "quick.blend").read_bytes()
    assert old.startswith(b"BLENDER-v405")
    newer.write_bytes(zstandard.compress(old.replace(b"BLENDER-v405", b"BLENDER-v909", 1)))
    async with at_submit(served) as seat:
        page = seat.page
        await drop(seat, newer)
        status = page.locator(".submit-page [role=status]")
        await expect(status).to_contain_text("saved by Blender 9.9", timeout=LOOKED_MS)
        await expect(status).to_contain_text("older Blender")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".drop")).to_be_visible()


async def test_an_upload_goes_on_when_the_coordinator_is_killed_in_the_middle(
    served: Any, large_folder: Path
) -> None:
    async with at_submit(served, NO_ANSWER, refused(404)) as seat:
        page = seat.page
        begins: list[bytes] = []
        killed = asyncio.Event()

        async def meddle(route: Any) -> None:
            # A request begins with the hash of its first chunk.
            begins.append((route.request.post_data_buffer or b"")[:HASH_BYTES])
            if len(begins) == 2:
                served.members["coordinator"].kill()
                killed.set()
            await route.continue_()

        await page.route("**/api/v1/blobs", meddle)
        await drop(seat, large_folder)
        await killed.wait()
        status = page.locator(".submit-page [role=status]")
        await expect(status).to_contain_text("this goes on when it does")
        await asyncio.to_thread(served.start_coordinator)
        await expect(form_of(page)).to_be_visible(timeout=LOOKED_MS)
        # What had arrived was not sent again, and what was cut was.
        first, cut, *_ = begins
        assert len(first) == HASH_BYTES
        assert begins.count(first) == 1
        assert begins.count(cut) > 1
        await page.unroute("**/api/v1/blobs")
        # The farm has forgotten the scene that it looked at: it looks again, nothing is sent.
        served.members["coordinator"].kill()
        await asyncio.to_thread(served.start_coordinator)
        await asyncio.to_thread(served.wait_ready, ["atlas"])
        await form_of(page).get_by_role("button", name="Submit", exact=True).click()
        await expect(page.locator(".notice")).to_contain_text("looks at it again")
        await expect(form_of(page)).to_be_visible(timeout=LOOKED_MS)
        await form_of(page).get_by_label("Frames").fill("1")
        await form_of(page).get_by_role("button", name="Submit", exact=True).click()
        await expect(page.locator(".job-head .pill")).to_have_text("Done", timeout=LOOKED_MS)


async def test_an_upload_that_is_stopped_sends_no_more(served: Any, large_folder: Path) -> None:
    async with at_submit(served) as seat:
        page = seat.page
        held: list[Any] = []

        async def hold(route: Any) -> None:
            held.append(route)

        await page.route("**/api/v1/blobs", hold)
        await drop(seat, large_folder)

        async def is_sending() -> bool:
            return len(held) == 1

        await until(is_sending)
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".drop")).to_be_visible()
        await held[0].continue_()
        await page.unroute("**/api/v1/blobs")
        # Dropped again it goes on, and the rest is sent.
        await drop(seat, large_folder)
        await expect(form_of(page)).to_be_visible(timeout=LOOKED_MS)
        assert len(held) == 1
