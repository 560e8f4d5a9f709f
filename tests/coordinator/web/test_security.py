"""The content security policy is strict, and a walk through every page never meets it."""

from __future__ import annotations

from typing import Any

import aiohttp
from playwright.async_api import expect
from rendermill.coordinator.web import CONTENT_SECURITY_POLICY
from rendermill.protocol.messages import LogLines

from .browser import NEEDS_CHROMIUM, seated

pytestmark = NEEDS_CHROMIUM


async def test_the_policy_allows_no_inline_code_and_no_other_origin(
    coordinator: Any, raw: aiohttp.ClientSession
) -> None:
    async with raw.get(coordinator.url) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert policy == CONTENT_SECURITY_POLICY
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert directives["default-src"] == "'self'"
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "*" not in policy
    async with raw.get(f"{coordinator.url}/static/app.js") as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_walk_through_every_page_and_tab_meets_no_violation(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1-5")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    # The script of a job that no real node has begun is not there.
    missing = "Failed to load resource: the server responded with a status of 404"
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 5)
        await node.send(LogLines(lines=("a line",)))
        async with seated(coordinator.url, coordinator.token, expected=(missing,)) as seat:
            page = seat.page
            for where, shown in (
                ("#/", ".job-card"),
                ("#/nodes", ".node-card"),
                (f"#/nodes/{node.node}", ".node-page .history tbody tr"),
                ("#/logs", ".log-line"),
                ("#/submit", ".drop"),
                (f"#/jobs/{job.id}/frames/1", ".frame-panel"),
                (f"#/jobs/{job.id}", ".job-head"),
            ):
                await page.evaluate("where => { location.hash = where }", where)
                await expect(page.locator(shown).first).to_be_visible()
            tabs = page.get_by_role("tab")
            for index in range(await tabs.count()):
                await tabs.nth(index).click()
                await expect(page.get_by_role("tabpanel").first).to_be_visible()
            # The collector itself works: a violation made on purpose is a complaint.
            assert seat.unexpected == []
            async with page.expect_console_message(
                lambda message: message.text.startswith("CSP"), timeout=60_000
            ):
                await page.evaluate(
                    "() => { const s = document.createElement('script');"
                    " s.textContent = '1'; document.head.append(s); }"
                )
            assert [text for text in seat.complaints if text.startswith("CSP")]
            # The browser's own words of it may come later, and belong to it.
            seat.expected.append("")
