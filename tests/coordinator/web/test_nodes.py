"""The page of a node: from a click to its effect in the farm."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect
from rendermill.protocol.messages import (
    Assign,
    Availability,
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    Heartbeat,
    LogLines,
)
from rendermill.protocol.states import NodeState
from rendermill.protocol.views import JobDetail, NodeHistory, NodeView

from .browser import NEEDS_CHROMIUM, seated, until

pytestmark = NEEDS_CHROMIUM


async def test_a_node_shows_what_it_renders_and_has_rendered(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1-4")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected(), seated(coordinator.url, coordinator.token) as seat:
        page = seat.page
        await page.get_by_role("link", name="Nodes", exact=True).click()
        await page.locator(".node-card").get_by_role("link", name="box").click()
        card = page.locator(".node-page .node-card")
        await expect(card.get_by_role("heading", name="box")).to_be_visible()
        await expect(card).to_contain_text("4 cores")
        first = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=first))
        await node.send(FrameProgress(frame=first, fraction=0.4, text="Sample 4/10"))
        await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
        await expect(card).to_contain_text(f"frame {first.frame} · 40 %")
        await node.send(LogLines(lines=("Sample 4/10 <i>of</i> it",), frame=first))
        log = page.get_by_role("log")
        await expect(log).to_contain_text("Sample 4/10 <i>of</i> it")
        await node.send(await node.done(first))
        await node.receive_a(FrameAccepted)
        await node.send(Heartbeat(load=0.5, memory_free_bytes=1 << 30, disk_free_bytes=1 << 30))
        rows = page.locator(".history tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("shot")
        await expect(rows.first).to_contain_text("Done")
        await expect(card).to_contain_text("1 frame done")
    history = await farm.get(f"/api/v1/nodes/{node.node}/history", NodeHistory)
    assert [(one.frame, one.outcome) for one in history.attempts if one.outcome == "done"] == [
        (first.frame, "done")
    ]


async def test_actions_of_a_node_reach_the_farm(
    coordinator: Any, farm: Any, make_node: Any
) -> None:
    node = make_node(farm)

    async def state() -> NodeState:
        return (await farm.get(f"/api/v1/nodes/{node.node}", NodeView)).state

    where = f"/nodes/{node.node}"
    async with node.connected():  # noqa: SIM117 the node outlives the page
        async with seated(coordinator.url, coordinator.token, where=where) as seat:
            actions = seat.page.get_by_role("group", name="Actions for box")
            pill = seat.page.locator(".node-card .pill")
            for button, word, wanted in (
                ("Drain", "Draining", NodeState.DRAINING),
                ("Resume", "Idle", NodeState.IDLE),
                ("Disable", "Disabled", NodeState.DISABLED),
                ("Enable", "Idle", NodeState.IDLE),
            ):
                await actions.get_by_role("button", name=button, exact=True).click()
                await expect(pill).to_have_text(word)
                assert await state() is wanted


async def test_tags_and_hours_are_set_and_given_back(
    coordinator: Any, farm: Any, make_node: Any
) -> None:
    node = make_node(farm)

    async def view() -> NodeView:
        return await farm.get(f"/api/v1/nodes/{node.node}", NodeView)

    async with (
        node.connected(),
        seated(
            coordinator.url,
            coordinator.token,
            where=f"/nodes/{node.node}",
            expected=("Failed to load resource: the server responded with a status of 422",),
        ) as seat,
    ):
        page = seat.page
        await page.get_by_text("Tags and hours").click()
        await page.get_by_label("Tags", exact=True).fill("gpu, floor2")
        await page.get_by_label("Renders at").fill("never on sundays")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".form [role=alert]")).not_to_be_empty()
        await page.get_by_label("Renders at").fill("mon-fri 19:00-07:30")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".form")).to_contain_text("Some of this was set here")
        now = await view()
        assert now.settings.tags == ("floor2", "gpu")
        assert now.settings.schedule == "mon-fri 19:00-07:30"
        assert now.farm_settings.max_load is None
        await page.get_by_role("button", name="As the node was started").click()
        await expect(page.locator(".form")).to_contain_text("As the node was started.")
        assert (await view()).settings.tags == ()


async def test_history_pages_have_every_try_once(farm: Any, scene: Any, make_node: Any) -> None:
    shot = scene("1-7")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 7)
    seen: list[int] = []
    query = ""
    while True:
        page = await farm.get(f"/api/v1/nodes/{node.node}/history?limit=2{query}", NodeHistory)
        seen += [one.frame for one in page.attempts]
        if page.next is None:
            break
        query = f"&before={page.next}"
    assert sorted(seen) == list(range(1, 8))
    view = await farm.get(f"/api/v1/nodes/{node.node}", NodeView)
    assert view.speed is not None
    assert 0 < view.speed < 100


async def test_why_a_frame_failed_stands_in_the_history(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=ref))
        reason = "Blender fell over <b>it</b>."
        await node.send(FrameFailed(frame=ref, kind=FailureKind.CRASH, reason=reason))

        async def is_noted() -> bool:
            history = await farm.get(f"/api/v1/nodes/{node.node}/history", NodeHistory)
            return len(history.attempts) > 0

        await until(is_noted)
        async with seated(coordinator.url, coordinator.token, where=f"/nodes/{node.node}") as seat:
            row = seat.page.locator(".history tbody tr").first
            await expect(row).to_contain_text("Crashed")
            await expect(row).to_contain_text(reason)


async def test_a_forgiven_node_gets_frames_again_at_once(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    where = f"/nodes/{node.node}"
    async with (
        node.connected(),
        seated(coordinator.url, coordinator.token, where=where) as seat,
    ):
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=ref))
        reason = "The GPU went away."
        await node.send(FrameFailed(frame=ref, kind=FailureKind.NODE, reason=reason))

        # A machine that fails by itself rests: what it held is taken back.
        async def is_resting() -> bool:
            return (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job.counts.leased == 0

        await until(is_resting)
        await seat.page.get_by_role("button", name="Forgive", exact=True).click()
        assert (await node.receive_a(Assign)).job == job.id


async def test_a_node_at_which_somebody_works_says_why_and_until_when(
    coordinator: Any, farm: Any, make_node: Any
) -> None:
    node = make_node(farm)
    async with (
        node.connected(),
        seated(coordinator.url, coordinator.token, where="/nodes") as seat,
    ):
        card = seat.page.locator(".node-card")
        await expect(card.locator(".pill")).to_have_text("Idle")
        reason = "It is outside its hours <b>."
        # A moment of another day, so that the day is told.
        await node.send(Availability(available=False, reason=reason, changes_at=4_102_488_000.0))
        await expect(card.locator(".pill")).to_have_text("Not available")
        await expect(card.locator(".why")).to_contain_text(f"{reason} Renders again from ")
        await expect(card.locator(".why")).to_contain_text("Jan")
        await node.send(Availability(available=True))
        await expect(card.locator(".pill")).to_have_text("Idle")
        await expect(card.locator(".why")).to_be_hidden()
