"""No serious finding of axe-core on any page, in light, dark and phone width; all by keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect
from rendermill.protocol.messages import Assign, FrameStarted, LogLines

from ..film_node import CAN_ENCODE, FILM, REQUIRES, work
from .browser import NEEDS_CHROMIUM, refused, seated

axe = pytest.importorskip(
    "axe_playwright_python.async_playwright",
    reason="axe-core is not installed; run: python scripts/environment.py dev",
)

pytestmark = NEEDS_CHROMIUM

TABS = {
    "watch": ".player-picture",
    "times": ".chart-table td",
    "timeline": ".timeline-scroll canvas",
    "log": ".log-panel",
    "nodes": ".job-nodes",
    "settings": "dl.facts.wide",
    "files": "td.path",
}
"""What each tab of a job shows once it is there."""

HOSTILE = '<img src=x onerror="window.hacked=1"> & 🎬'


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


async def serious(page: Page) -> list[str]:
    """Return what axe-core finds on the page as it is.

    It is inserted by the debugger, outside of what the content security policy governs.
    """
    result = await axe.Axe().run(page)
    return [
        f"{one['id']}: {one['help']} {[n['target'] for n in one['nodes'][:3]]}"
        for one in result.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("look", LOOKS)
async def test_no_page_has_a_serious_finding(
    coordinator: Any, farm: Any, scene: Any, make_node: Any, look: str
) -> None:
    film = scene("1-3", name="a film", film=FILM, requires=REQUIRES)
    await film.upload(farm)
    filmed = await film.submit(farm)
    encoder = make_node(farm, 2)
    async with encoder.connected(machine=CAN_ENCODE, name="encoder"):
        await work(encoder)
    shot = scene("1-5", name=f"shot {HOSTILE}")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    async with node.connected(name=HOSTILE):
        await node.render(lambda: len(node.accepted) >= 3)
        await node.send(LogLines(lines=(HOSTILE, "Warning: something"), frame=None))
        found: dict[str, list[str]] = {}
        async with seated(
            coordinator.url, coordinator.token, reduced_motion="reduce", **LOOKS[look]
        ) as seat:
            page = seat.page
            for where, shown in (
                ("#/", ".job-card"),
                (f"#/jobs/{job.id}", ".job-head"),
                (f"#/jobs/{job.id}/frames/1", ".frame-panel"),
                (f"#/jobs/{job.id}/frames/1/full", ".viewer"),
                (f"#/jobs/{job.id}/frames/2", ".frame-panel"),
                ("#/nodes", ".node-card"),
                (f"#/nodes/{node.node}", ".node-page .history tbody tr"),
                ("#/logs", ".log-line"),
                ("#/submit", ".drop"),
                (f"#/jobs/{filmed.id}", 'a:visible:text("Download film")'),
                *((f"#/jobs/{job.id}/{tab}", shown) for tab, shown in TABS.items()),
            ):
                await page.evaluate("where => { location.hash = where }", where)
                await expect(page.locator(shown).first).to_be_visible()
                if where.startswith("#/nodes/"):
                    await page.get_by_text("Tags and hours").click()
                    await expect(page.get_by_label("Renders at")).to_be_visible()
                found[where] = await serious(page)
            await page.evaluate("where => { location.hash = where }", f"#/jobs/{job.id}")
            await page.get_by_role("button", name="Cancel").click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            found["a question"] = await serious(page)
            await page.get_by_role("button", name="Keep it").click()
            await page.get_by_role("button", name="Render again").click()
            await expect(page.locator(".notice.problem")).to_be_visible()
            found["a problem"] = await serious(page)
            assert {where: some for where, some in found.items() if some} == {}
            assert await page.evaluate("window.hacked") is None
            assert await page.locator("main img[src=x]").count() == 0


@pytest.mark.parametrize("look", LOOKS)
async def test_signing_in_has_no_serious_finding(coordinator: Any, look: str) -> None:
    # What was asked for before is refused when it arrives behind the end of the session.
    ended = (refused(401),)
    async with seated(
        coordinator.url,
        coordinator.token,
        reduced_motion="reduce",
        expected=ended,
        **LOOKS[look],
    ) as seat:
        await seat.page.get_by_role("button", name="Sign out").click()
        await expect(seat.page.locator(".sign-in")).to_be_visible()
        await expect(seat.page.get_by_role("alert")).not_to_be_empty()
        assert await serious(seat.page) == []


async def test_everything_is_reached_by_keyboard(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=ref))
        async with seated(coordinator.url, coordinator.token, where="/nodes") as seat:
            page = seat.page
            await expect(page.locator(".node-card")).to_be_visible()
            reached: list[str] = []
            for _ in range(40):
                await page.keyboard.press("Tab")
                name = await page.evaluate(
                    "() => (document.activeElement.getAttribute('aria-label')"
                    " ?? document.activeElement.innerText ?? '').trim()"
                )
                reached.append(name)
                if name == "Drain":
                    break
            assert reached[0] == "Skip to content"
            assert {"Jobs", "Nodes", "Logs", "Submit", "Sign out", "box"} <= set(reached)
            assert reached[-1] == "Drain"
            await page.keyboard.press("Enter")
            await expect(page.locator(".node-card .pill")).to_have_text("Draining")
