"""Chromium over a real coordinator: signed in as somebody, and without a complaint at the end.

A complaint is an error on the console, an exception of a script, or a violation of the content
security policy.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
NEEDS_CHROMIUM = pytest.mark.skipif(
    not CHROMIUM, reason="No Chromium is installed; run: apt-get install -y chromium"
)
WAIT_MS = 60_000
"""For what takes milliseconds on a machine that does nothing else."""

_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  const { violatedDirective, blockedURI, sourceFile, lineNumber } = event;
  console.error(`CSP: ${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber}`);
});
"""


@dataclass
class Seat:
    """A browser with one page open."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser that is gone at the end, whatever happens."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000
        )
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def seated(
    url: str, token: str, *, where: str = "/", expected: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Seat]:
    """A page signed in with ``token``, live, at ``where``.

    ``expected`` are beginnings of complaints that belong to the test; ``options`` are those of
    Playwright's ``new_context``.
    """
    expect.set_options(timeout=WAIT_MS)
    async with chromium() as browser:
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(WAIT_MS)
        await context.add_init_script(_VIOLATIONS)
        page = await context.new_page()
        seat = Seat(page, context)
        page.on("pageerror", lambda error: seat.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                seat.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        await page.goto(f"{url}/#token={token}&to={where}")
        await expect(page.locator(".connection[data-state=live]")).to_be_visible()
        yield seat
        left = [text for text in seat.complaints if not text.startswith(expected or ("\0",))]
        assert left == []
