"""What a visitor may not do is not on the page, and who is not let in any more is told so."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect
from rendermill.coordinator.identity.roles import Role
from rendermill.protocol.messages import Assign, FrameStarted
from rendermill.protocol.views import JobView, Visitor

from .browser import NEEDS_CHROMIUM, opened, seated

pytestmark = NEEDS_CHROMIUM

NODES = {"Drain", "Disable", "Enable", "Resume"}


async def pages(page: Page, job: JobView, node: str) -> list[set[str]]:
    """Names of the visible buttons of every page that act on the farm."""
    seen: list[set[str]] = []
    for where, ready in (
        ("#/", ".job-card"),
        (f"#/jobs/{job.id}", ".job-head"),
        (f"#/jobs/{job.id}/frames/1", ".frame-panel"),
        ("#/nodes", ".node-card"),
        (f"#/nodes/{node}", ".node-page"),
        ("#/logs", ".logs-page"),
    ):
        await page.evaluate("where => { location.hash = where }", where)
        await expect(page.locator(ready).first).to_be_visible()
        # In one go: the page is live, and what is listed one by one may change in between.
        found = await page.locator("button[data-needs], input[data-needs]").evaluate_all(
            "all => all.filter((one) => one.checkVisibility()).map((one) => one.innerText.trim())"
        )
        seen.append(set(found))
    return seen


@pytest.mark.parametrize("role", [Role.VIEW, Role.SUBMIT, Role.ADMIN])
async def test_the_page_offers_what_its_visitor_may_do(
    coordinator: Any, farm: Any, scene: Any, make_node: Any, role: Role
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    token = await coordinator.tokens.issue(f"a {role.value}", role)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=ref))
        async with seated(coordinator.url, token) as seat:
            await expect(seat.page.locator(".account-name")).to_have_text(f"a {role.value}")
            offered = await pages(seat.page, job, node.node)
            submits = seat.page.get_by_role("link", name="Submit", exact=True)
            if role is Role.VIEW:
                assert offered == [set()] * len(offered)
                await expect(submits).to_be_hidden()
                await expect(seat.page.get_by_label("Priority", exact=True)).to_have_count(0)
            else:
                assert "Pause" in offered[0]
                assert "Cancel" in offered[1]
                await expect(submits).to_be_visible()
            assert bool(offered[3] & NODES) is (role is Role.ADMIN)
            assert bool(offered[4] & NODES) is (role is Role.ADMIN)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEW, ("see",)),
        (Role.SUBMIT, ("see", "submit", "steer")),
        (Role.ADMIN, ("see", "submit", "steer", "nodes")),
        (Role.NODE, ()),
    ],
)
async def test_what_a_token_allows_is_told_as_the_coordinator_holds_it(
    coordinator: Any, as_role: Any, raw: aiohttp.ClientSession, role: Role, may: tuple[str, ...]
) -> None:
    async with as_role(role.value) as connection:
        visitor = await connection.get("/api/v1/me", Visitor)
        assert (visitor.role, visitor.may) == (role.value, may)
        headers = {"Authorization": f"Bearer {connection.credentials.token}"}
        # Each permission against a route that needs it: 404 and 409 come from behind the guard.
        for permission, method, path in (
            ("see", "GET", "/api/v1/jobs"),
            ("steer", "POST", "/api/v1/jobs/none/pause"),
            ("nodes", "POST", "/api/v1/nodes/none/drain"),
        ):
            url = coordinator.url + path
            async with raw.request(method, url, headers=headers) as answer:
                assert (answer.status != 403) is (permission in may), (permission, answer.status)


async def test_a_revoked_session_goes_to_sign_in_with_a_sentence(
    coordinator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rendermill.coordinator.api import events

    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.2)
    token = await coordinator.tokens.issue("a laptop", Role.ADMIN)
    member = coordinator.tokens.check(token)
    async with seated(coordinator.url, token, expected=("Failed to load resource",)) as seat:
        await coordinator.tokens.revoke(member.id)
        await expect(seat.page.get_by_role("heading", name="Sign in to the farm")).to_be_visible()
        await expect(seat.page.get_by_role("alert")).to_have_text(
            "Your session has ended. Sign in again."
        )
        await expect(seat.page.get_by_role("navigation")).to_be_hidden()


async def test_signing_out_ends_the_session_of_the_browser(coordinator: Any) -> None:
    token = coordinator.token
    async with seated(coordinator.url, token, expected=("Failed to load resource",)) as seat:
        await seat.page.get_by_role("button", name="Sign out").click()
        await expect(seat.page.get_by_role("alert")).to_have_text("You are signed out.")
        assert await seat.context.cookies() == []
        await seat.page.reload()
        await expect(seat.page.get_by_label("Token")).to_be_visible()


async def test_the_token_of_a_machine_is_refused_with_a_sentence(coordinator: Any) -> None:
    token = await coordinator.tokens.issue("a node", Role.NODE)
    async with opened() as seat:
        page = seat.page
        await page.goto(coordinator.url)
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not to a person")
