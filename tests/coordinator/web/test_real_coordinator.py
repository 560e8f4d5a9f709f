"""The page against the real coordinator: what a person clicks happens in the farm."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect
from rendermill.protocol.messages import Assign, FrameStarted, JobScript, LogLines
from rendermill.protocol.states import FrameState, JobState, NodeState
from rendermill.protocol.views import FrameDetail, JobDetail, NodePage

from .browser import NEEDS_CHROMIUM, opened, refused, seated, until
from .conftest import PATIENT

pytestmark = NEEDS_CHROMIUM


def signed_in(coordinator: Any, *expected: str) -> Any:
    """A seat, signed in by the link the coordinator prints."""
    return seated(coordinator.credentials.url, coordinator.credentials.token, expected=expected)


async def test_a_job_from_queued_to_its_last_picture(coordinator, farm, scene, make_node):
    async with signed_in(coordinator) as seat:
        page = seat.page
        await expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
        shot = scene("1-5")
        await shot.upload(farm)
        job = await shot.submit(farm)
        await page.get_by_role("link", name="shot", exact=True).click()
        await expect(page.locator(".job-head .pill")).to_have_text("Queued")
        node = make_node(farm)
        async with node.connected():
            await node.render(lambda: len(node.accepted) == 5)
            await expect(page.locator(".job-head .pill")).to_have_text("Done")
            await expect(page.locator(".tile")).to_have_count(5)
            await page.locator(".tile").nth(2).click()
            panel = page.locator(".frame-panel")
            await expect(panel.get_by_role("link", name="f_0003.png")).to_be_visible()
            await expect(panel.locator(".attempt")).to_contain_text("box")
            await expect(panel.get_by_role("img")).to_have_js_property("naturalWidth", 8)
            await panel.get_by_role("button", name="Render this frame again").click()
            await expect(page.locator(".state-filter")).to_contain_text("1 rendering")
            await node.render(lambda: len(node.accepted) == 6)
            await expect(page.locator(".job-head .pill")).to_have_text("Done")
            again = await farm.get(f"/api/v1/jobs/{job.id}/frames/3", FrameDetail)
            assert again.frame.state is FrameState.DONE


async def test_pause_priority_cancel_and_remove_reach_the_farm(coordinator, farm, scene):
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)

    async def now() -> Any:
        return (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job

    async with signed_in(coordinator) as seat:
        page = seat.page
        await page.get_by_role("link", name="shot", exact=True).click()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator(".job-head .pill")).to_have_text("Paused")
        assert (await now()).paused
        await page.get_by_label("Priority").fill("90")
        await page.get_by_role("button", name="Set").click()

        async def is_set() -> bool:
            return (await now()).priority == 90

        await until(is_set)
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".job-head .pill")).to_have_text("Queued")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.locator(".job-head .pill")).to_have_text("Cancelled")
        assert (await now()).state is JobState.CANCELLED
        await expect(page.get_by_role("button", name="Retry all")).to_be_visible()
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("button", name="Remove the job").click()
        await expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()


async def test_settings_files_script_and_log(coordinator, farm, scene, make_node):
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    # The script is asked for once before there is one.
    async with signed_in(coordinator, refused(404)) as seat, node.connected():
        page = seat.page
        await page.get_by_role("link", name="shot", exact=True).click()
        panel = page.get_by_role("tabpanel")
        await page.get_by_role("tab", name="Settings").click()
        await expect(panel).to_contain_text("/home/ada/out/f_####")
        await page.get_by_role("tab", name="Files").click()
        await expect(panel).to_contain_text("scene/wood.png")
        await page.get_by_role("tab", name="Script").click()
        await expect(panel).to_contain_text("The script appears when")
        await page.get_by_role("tab", name="Log").click()
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(JobScript(job=job.id, script="import bpy  # made for this job"))
        await node.send(FrameStarted(frame=ref))
        await node.send(LogLines(lines=("Sample 1/4 <b>",), frame=ref))
        await expect(panel).to_contain_text("Sample 1/4 <b>")
        await page.get_by_role("tab", name="Script").click()
        await expect(panel).to_contain_text("made for this job")


async def test_a_node_is_drained_and_goes_away(coordinator, farm, make_node):
    node = make_node(farm)
    async with signed_in(coordinator) as seat:
        page = seat.page
        await page.get_by_role("link", name="Nodes", exact=True).click()
        await expect(page.get_by_role("heading", name="No nodes yet")).to_be_visible()
        async with node.connected():
            card = page.locator(".node-card")
            await expect(card.locator(".pill")).to_have_text("Idle")
            await expect(card).to_contain_text("Blender 4.5.15 Cycles")
            await card.get_by_role("button", name="Drain").click()
            await expect(card.locator(".pill")).to_have_text("Draining")
            (view,) = (await farm.get("/api/v1/nodes", NodePage)).nodes
            assert view.state is NodeState.DRAINING
        await expect(page.locator(".node-card .pill")).to_have_text("Offline")


async def test_the_load_of_the_hour_survives_a_restart(start, scene, make_node):
    from rendermill.wire.connection import FarmConnection

    first = await start(config=PATIENT)
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-3")
        await shot.upload(farm)
        await shot.submit(farm)
        node = make_node(farm)
        async with node.connected():
            await node.render(lambda: len(node.accepted) == 3)
    await first.stop()
    async with signed_in(await start(config=PATIENT)) as seat:
        name = "Load of the farm over the last hour: 3 frames"
        await expect(seat.page.get_by_role("img", name=name)).to_be_visible()


async def test_the_page_lives_through_a_restart_of_the_coordinator(start, scene):
    from rendermill.wire.connection import FarmConnection

    first = await start()
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-3")
        await shot.upload(farm)
        await shot.submit(farm)
    port = int(first.credentials.url.rsplit(":", 1)[1])
    async with opened() as seat:
        page = seat.page
        await page.goto(f"{first.credentials.url}/#token={first.credentials.token}")
        await expect(page.locator(".connection[data-state=live]")).to_be_visible()
        await first.stop()
        await expect(page.locator(".connection[data-state=lost]")).to_be_visible()
        second = await start(port=port)
        await expect(page.locator(".connection[data-state=live]")).to_be_visible(timeout=60_000)
        async with FarmConnection(second.credentials) as farm:
            other = scene("4-6", name="after the restart")
            await other.upload(farm)
            await other.submit(farm)
        await expect(page.get_by_role("link", name="after the restart", exact=True)).to_be_visible()
