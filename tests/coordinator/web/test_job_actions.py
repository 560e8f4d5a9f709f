"""From a click on the page of a job to its effect in the farm, against the real coordinator."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from typing import Any

from playwright.async_api import expect
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameStarted,
)
from rendermill.protocol.states import FrameState, JobState
from rendermill.protocol.views import FrameDetail, FramePage, JobDetail
from rendermill.wire import blobs

from ..film_node import CAN_ENCODE, FILM, REQUIRES, film_done, film_of, work
from .browser import NEEDS_CHROMIUM, refused, seated, until

pytestmark = NEEDS_CHROMIUM


async def submitted(farm: Any, scene: Any, frames: str, **changes: object) -> Any:
    shot = scene(frames, **changes)
    await shot.upload(farm)
    return await shot.submit(farm)


async def detail(farm: Any, job: Any) -> JobDetail:
    return await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)


async def fail_a_frame(farm: Any, node: Any, reason: str, failures: int = 1) -> None:
    """Begin the next frame that comes and fail it; return when the farm counts so many failures."""
    ref = (await node.receive_a(Assign)).frames[0]
    await node.send(FrameStarted(frame=ref))
    await node.send(FrameFailed(frame=ref, kind=FailureKind.SCENE, reason=reason))

    async def is_counted() -> bool:
        where = f"/api/v1/jobs/{ref.job}/frames/{ref.frame}"
        return (await farm.get(where, FrameDetail)).frame.failures == failures

    await until(is_counted)


def seat_at(coordinator: Any, where: str, **options: Any) -> Any:
    credentials = coordinator.credentials
    return seated(credentials.url, credentials.token, where=where, **options)


async def test_nodes_limit_and_tags_are_chosen(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-3")
    async with (
        make_node(farm, 1).connected(name="atlas") as atlas,
        seat_at(coordinator, f"/jobs/{job.id}/nodes") as seat,
    ):
        page = seat.page
        await page.get_by_label("Only these").check()
        # Nobody chosen would mean that nobody renders it.
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".notice.problem")).to_contain_text("at least one node")
        await page.get_by_label("atlas").check()
        await page.get_by_label("Most nodes at once").fill("2")
        await page.get_by_label("Tags a node must have").fill("gpu, fast")
        await page.get_by_role("button", name="Save").click()

        async def is_limited() -> bool:
            return (await detail(farm, job)).spec.max_nodes == 2

        await until(is_limited)
        spec = (await detail(farm, job)).spec
        assert spec.requires.nodes == (atlas.node,)
        assert spec.requires.tags == ("gpu", "fast")
        assert spec.max_nodes == 2
        # The form shows what holds now, and takes it back.
        await page.get_by_role("tab", name="Frames").click()
        await expect(page.get_by_role("slider", name="Frames")).to_be_visible()
        await page.get_by_role("tab", name="Nodes").click()
        await expect(page.get_by_label("atlas")).to_be_checked()
        await expect(page.get_by_label("Most nodes at once")).to_have_value("2")
        await page.get_by_label("Any node that can render it").check()
        await page.get_by_label("Tags a node must have").fill("")
        await page.get_by_role("button", name="Save").click()

        async def is_anybody() -> bool:
            requires = (await detail(farm, job)).spec.requires
            return (requires.nodes, requires.tags) == ((), ())

        await until(is_anybody)


async def test_scouts_are_looked_at_and_approved(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-9", scouts=True)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        async with seat_at(coordinator, "/") as seat:
            item = seat.page.locator(".attention-list li", has_text="scout frames")
            await item.get_by_role("button", name="Approve").click()
            await node.render(lambda: len(node.accepted) == 9)
            await expect(item).to_have_count(0)
    assert (await detail(farm, job)).job.state is JobState.DONE


async def test_failed_frames_are_retried_where_they_are_told(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1")
    node = make_node(farm)
    async with node.connected():
        failures = 0
        while (await detail(farm, job)).job.state is not JobState.FAILED:
            failures += 1
            await fail_a_frame(farm, node, "The camera is missing.", failures)
        async with seat_at(coordinator, "/") as seat:
            item = seat.page.locator(".attention-list li", has_text="1 frame failed")
            await expect(item).to_contain_text("The camera is missing.")
            await item.get_by_role("button", name="Retry 1").click()
            await node.render(lambda: len(node.accepted) == 1)
            await expect(item).to_have_count(0)
    assert (await detail(farm, job)).job.state is JobState.DONE


async def test_chosen_frames_are_rendered_again(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-6")
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 6)
        async with seat_at(coordinator, f"/jobs/{job.id}") as seat:
            page = seat.page
            await page.get_by_label("Frames", exact=True).and_(page.locator("input")).fill("2-3,99")
            await page.get_by_role("button", name="Render again").click()
            await expect(page.locator(".notice.problem")).to_contain_text("99")
            await page.locator("#some-frames").fill("2-3, 5")
            await page.get_by_role("button", name="Render again").click()
            await expect(page.locator("#some-frames")).to_have_value("")
            await node.render(lambda: len(node.accepted) == 9)
            await expect(page.locator(".job-head .pill")).to_have_text("Done")
            seat.expected.append(refused(404))  # Frame 99.
    frames = (await farm.get(f"/api/v1/jobs/{job.id}/frames", FramePage)).frames
    assert [one.frame for one in frames if one.generation == 2] == [2, 3, 5]


async def test_one_frame_some_and_all_are_downloaded(
    coordinator, farm, scene, make_node, paint, tmp_path
):
    job = await submitted(farm, scene, "1-4")
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 4)
    async with seat_at(coordinator, f"/jobs/{job.id}/frames/3", accept_downloads=True) as seat:
        page = seat.page
        async with page.expect_download() as one:
            await page.get_by_role("link", name="f_0003.png").click()
        made = await one.value
        assert made.suggested_filename == "f_0003.png"
        assert (await made.path()).read_bytes() == paint(3)
        async with page.expect_download() as whole:
            await page.get_by_role("link", name="Download 4 frames").click()
        made = await whole.value
        assert made.suggested_filename == "shot.zip"
        with zipfile.ZipFile(await made.path()) as opened:
            assert opened.namelist() == [f"f_000{number}.png" for number in range(1, 5)]
            assert opened.read("f_0004.png") == paint(4)
        await page.locator("#some-frames").fill("2,4")
        async with page.expect_download() as some:
            await page.get_by_role("link", name="Download", exact=True).click()
        with zipfile.ZipFile(await (await some.value).path()) as opened:
            assert opened.namelist() == ["f_0002.png", "f_0004.png"]


async def test_the_film_is_downloaded(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-3", film=FILM, requires=REQUIRES)
    async with seat_at(coordinator, f"/jobs/{job.id}", accept_downloads=True) as seat:
        page = seat.page
        button = page.get_by_role("link", name="Download film")
        await expect(page.locator(".job-head")).to_contain_text("made when every frame is done")
        await expect(button).to_be_hidden()
        node = make_node(farm)
        async with node.connected(machine=CAN_ENCODE):
            ref = await work(node, stop_at_film=True)
            await expect(page.locator(".job-head")).to_contain_text("Film: encoding on box")
            await node.send(await film_done(node, ref))
            await work(node)
        await expect(page.locator(".job-head")).to_contain_text(f"Film: {FILM.name}, ")
        async with page.expect_download() as film:
            await button.click()
        made = await film.value
        assert made.suggested_filename == FILM.name
        assert (await made.path()).read_bytes() == film_of(ref)


async def test_scouts_are_rejected_on_the_page_of_the_job(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-9", scouts=True)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        async with seat_at(coordinator, f"/jobs/{job.id}") as seat:
            page = seat.page
            await expect(page.get_by_role("button", name="Approve the rest")).to_be_visible()
            await page.get_by_role("button", name="Reject", exact=True).click()
            await page.get_by_role("button", name="Reject them").click()
            await expect(page.locator(".job-head .pill")).to_have_text("Cancelled")
    counts = (await detail(farm, job)).job.counts
    assert (counts.done, counts.cancelled) == (3, 6)


async def test_a_preview_of_the_node_is_shown_at_full_size(
    coordinator, farm, scene, make_node, paint
):
    job = await submitted(farm, scene, "1-2")
    node = make_node(farm)
    async with node.connected():
        while len(node.accepted) < 2:
            match await node.receive():
                case Assign(frames=refs):
                    for ref in refs:
                        shown = paint(ref.frame, (320 + ref.frame, 180), "JPEG")
                        digest = await blobs.put_bytes(farm, shown)
                        done = dataclasses.replace(await node.done(ref), preview=digest)
                        await node.send(done)
                case FrameAccepted(frame=ref):
                    node.accepted.append(ref)
                case _:
                    pass
        async with seat_at(coordinator, f"/jobs/{job.id}/frames/1") as seat:
            page = seat.page
            await page.locator(".frame-link").click()
            picture = page.get_by_role("img", name="Frame 1 at full size")
            await expect(picture).to_have_js_property("naturalWidth", 321)
            await page.keyboard.press("ArrowRight")
            await expect(page.get_by_role("img", name="Frame 2 at full size")).to_have_js_property(
                "naturalWidth", 322
            )
            await page.keyboard.press("Escape")
            await expect(page.locator(".viewer")).to_be_hidden()
            await page.wait_for_url(re.compile(r"/frames/2$"))


async def test_the_timeline_shows_a_failure_and_the_retry_as_they_happen(
    coordinator, farm, scene, make_node
):
    job = await submitted(farm, scene, "1")
    node = make_node(farm)
    async with node.connected():
        await fail_a_frame(farm, node, "Blender said no.")
        async with seat_at(coordinator, f"/jobs/{job.id}/timeline") as seat:
            page = seat.page
            await expect(page.get_by_role("tabpanel")).to_contain_text("1 failure")
            await node.render(lambda: len(node.accepted) == 1)
            await expect(page.get_by_role("tabpanel")).to_contain_text("1 retry")
            await page.get_by_text("As a table").click()
            table = page.get_by_role("table", name="All tries, newest first")
            await expect(table.get_by_role("row", name="Blender said no.")).to_have_count(1)
            await table.get_by_role("button", name="1", exact=True).first.click()
            await expect(page.locator(".frame-panel h2")).to_have_text("Frame 1")


async def test_a_node_that_goes_away_while_it_renders_needs_attention(
    coordinator, farm, scene, make_node
):
    job = await submitted(farm, scene, "1-2")
    async with seat_at(coordinator, "/") as seat:
        item = seat.page.locator(".attention-list li", has_text="went away")
        async with make_node(farm).connected() as node:
            ref = (await node.receive_a(Assign)).frames[0]
            await node.send(FrameStarted(frame=ref))
            await expect(seat.page.locator(".job-card")).to_contain_text("on box")
            await expect(item).to_have_count(0)
        await expect(item).to_contain_text("box went away while it rendered frame 1 of shot.")
        # Told by the farm, so that a page opened later knows it too.
        await seat.page.reload()
        await expect(item).to_contain_text("box went away")
        async with make_node(farm, incarnation="two").connected():
            await expect(item).to_have_count(0)
    assert (await detail(farm, job)).job.state is JobState.RENDERING


async def test_the_load_of_the_hour_survives_a_reload(coordinator, farm, scene, make_node):
    job = await submitted(farm, scene, "1-3")
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
    async with seat_at(coordinator, "/") as seat:
        chart = seat.page.get_by_role("img", name="Load of the farm over the last hour: 3 frames")
        await expect(chart).to_be_visible()
        await seat.page.reload()
        await expect(chart).to_be_visible()
        await seat.page.get_by_text("As a table").click()
        await expect(seat.page.get_by_role("table", name="Every 5 minutes")).to_contain_text("3")
    frames = (await farm.get(f"/api/v1/jobs/{job.id}/frames", FramePage)).frames
    assert {one.state for one in frames} == {FrameState.DONE}
