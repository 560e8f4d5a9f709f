"""Chromium over a real coordinator: signed in as somebody, and without a complaint at the end.

A complaint is an error on the console, an exception of a script, or a violation of the content
security policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
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
POLL_SECONDS = 0.05

_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  const { violatedDirective, blockedURI, sourceFile, lineNumber } = event;
  console.error(`CSP: ${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber}`);
});
"""


@dataclass
class Seat:
    """A browser with one page open.

    A complaint that begins with one of ``expected`` belongs to the test; a test may add to it. They
    are told apart at the end, for the browser tells of them when it likes.
    """

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note what the browser complains of from now on."""
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if message.type == "error" else None
            ),
        )

    @property
    def unexpected(self) -> list[str]:
        """Complaints that nobody expected."""
        return [text for text in self.complaints if not text.startswith(("\0", *self.expected))]


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


def refused(status: int) -> str:
    """How the browser's own complaint begins when the coordinator has answered ``status``."""
    return f"Failed to load resource: the server responded with a status of {status}"


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the farm says that it is so."""
    async with asyncio.timeout(WAIT_MS / 1000):
        while not await is_so():  # noqa: ASYNC110 the farm's own answer is waited for
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Seat]:
    """A page that has gone nowhere yet; ``options`` are those of Playwright's ``new_context``."""
    expect.set_options(timeout=WAIT_MS)
    async with chromium() as browser:
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(WAIT_MS)
        await context.add_init_script(_VIOLATIONS)
        page = await context.new_page()
        seat = Seat(page, context)
        seat.listen()
        yield seat


@contextlib.asynccontextmanager
async def seated(
    url: str, token: str, *, where: str = "/", expected: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Seat]:
    """A page signed in with ``token``, live, at ``where``, and no complaint at the end.

    ``expected`` are beginnings of complaints that belong to the test; ``options`` are those of
    Playwright's ``new_context``.
    """
    async with opened(**options) as seat:
        seat.expected.extend(expected)
        await seat.page.goto(f"{url}/#token={token}&to={where}")
        await expect(seat.page.locator(".connection[data-state=live]")).to_be_visible()
        yield seat
        assert seat.unexpected == [], seat.unexpected
