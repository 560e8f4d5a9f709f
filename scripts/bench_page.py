"""What the status page costs: CPU of the browser's renderer and of the coordinator, live.

    python scripts/bench_page.py [--nodes 200] [--updates 20] [--seconds 20] [--rounds 3] [--page P]

A real coordinator, nodes of scripts/fake_nodes.py that together send so many updates a second (a
frame is begun, goes on three times and is done, with a picture of its own) besides their
heartbeats, and each page open in headless Chromium. The nodes are spread over the stages of a
frame, so that every window has the same of each. Measured is CPU time over wall time, so waiting
for other work on the machine does not count (that this slows the CPU itself does: see `yardstick`):
of the page's renderer process, which runs its scripts, layout and paint (CDP
``SystemInfo.getProcessInfo``), of all of Chromium's processes (headless Chromium composites in
software), and of the coordinator (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256

import aiohttp
from fake_nodes import FakeNode, FakeNodes, LoadScene, Pictures, picture
from measured_coordinator import MeasuredCoordinator, measured_coordinator, spread
from playwright.async_api import Browser, Page, async_playwright, expect
from rendermill.protocol.messages import (
    FrameDone,
    FrameFile,
    FrameProgress,
    FrameRef,
    FrameStarted,
    FrameStats,
)
from rendermill.protocol.views import NodePage
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials

AIM_RENDERER_PERCENT = 10.0
AIM_COORDINATOR_PERCENT = 5.0
FRAMES = 10_000
SETTLE_SECONDS = 8.0
"""Between the page is there and the first window: pictures load, the browser compiles scripts."""
READY_MS = 120_000
PAGES = ("overview", "job", "frame", "watch", "times", "timeline", "nodes", "node", "logs")
SHARES = (0.25, 0.5, 0.75)
"""What a node tells of a frame between its beginning and its end."""
FIRST_SHARES = (0.1, *SHARES)
"""The same of its first frame, of which each node leaves out another number from the front."""
SAMPLES = 64
YARDSTICK_ENTRIES = 200_000
YARDSTICK_SECONDS = 2.0
"""Between two looks at the machine in a window."""
YARDSTICKS = 3
"""Each look takes the best of so many: the first after a pause finds its caches cold."""
YARDSTICK_QUIET_MS = 20.0
"""What a yardstick takes where nothing else runs, on the machine that docs/status-page.md is of."""
FRAME_SECONDS = 12.0
"""Render time the nodes claim, about what it takes at 200 nodes and 20 updates a second."""


class PacedNodes(FakeNodes):
    """Nodes that send a given number of updates a second, all together, each in its turn."""

    def __init__(self, credentials: Credentials, count: int, updates_per_second: float) -> None:
        super().__init__(credentials, count, Pictures.UNIQUE)
        self.sent = 0
        """Updates so far."""
        self._updates_per_second = updates_per_second
        self._stages = itertools.cycle(range(len(FIRST_SHARES) + 1))
        self._begun: set[str] = set()
        # Whoever waits longest is next (asyncio.Semaphore is first in, first out).
        self._turns = asyncio.Semaphore(0)
        self._clock: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PacedNodes:
        """Connect all, then let time run."""
        await super().__aenter__()
        self._clock = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop the clock and part."""
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.gather(self._clock, return_exceptions=True)
        await super().__aexit__(*error)

    async def _tick(self) -> None:
        begin = time.monotonic()
        given = 0
        while True:
            due = int((time.monotonic() - begin) * self._updates_per_second)
            for _ in range(given, due):
                self._turns.release()
            given = max(given, due)
            await asyncio.sleep(0.5 / self._updates_per_second)

    def _shares(self, node: FakeNode) -> tuple[float, ...]:
        """Return what a node tells of its next frame.

        Nodes that began together would end together, and windows differ by what falls in them.
        """
        if node.id in self._begun:
            return SHARES
        self._begun.add(node.id)
        return FIRST_SHARES[next(self._stages) :]

    async def _turn(self) -> None:
        await self._turns.acquire()
        self.sent += 1

    async def _finish(
        self, node: FakeNode, socket: aiohttp.ClientWebSocketResponse, ref: FrameRef
    ) -> None:
        await self._turn()
        await self._say(socket, FrameStarted(frame=ref))
        for share in self._shares(node):
            await self._turn()
            text = f"Sample {round(share * SAMPLES)}/{SAMPLES}"
            await self._say(socket, FrameProgress(frame=ref, fraction=share, text=text))
        await self._turn()
        self._number += 1
        data = picture(self._number)
        await self._put(data)
        file = FrameFile(
            root="main",
            path=f"f_{ref.frame:06d}.png",
            sha256=sha256(data).hexdigest(),
            length=len(data),
        )
        stats = FrameStats(seconds=FRAME_SECONDS)
        node.done_at = time.perf_counter()
        await self._say(
            socket, FrameDone(frame=ref, files=(file,), stats=stats, thumbnail=file.sha256)
        )


@dataclass
class Costs:
    """Per cent of a core, one value a window."""

    renderer: list[float] = field(default_factory=list)
    browser: list[float] = field(default_factory=list)
    coordinator: list[float] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)
    """Updates a second that were really sent."""
    yardstick: list[float] = field(default_factory=list)
    """CPU milliseconds that the same piece of work took meanwhile: how slow everything was."""

    def quiet(self, values: list[float]) -> list[float]:
        """Return what would have been used where a yardstick takes `YARDSTICK_QUIET_MS`."""
        return [
            value * YARDSTICK_QUIET_MS / taken
            for value, taken in zip(values, self.yardstick, strict=True)
        ]

    def show(self, name: str) -> bool:
        """Print them; whether the medians keep to the aims."""
        print(
            f"{name}, at {spread(self.updates, 1)} updates/s, median (min to max) of "
            f"{len(self.renderer)} windows:\n"
            f"  page (renderer process)  {spread(self.renderer, 1)} % of a core, "
            f"aim < {AIM_RENDERER_PERCENT:g}\n"
            f"  all of Chromium          {spread(self.browser, 1)} %\n"
            f"  coordinator              {spread(self.coordinator, 1)} %, "
            f"aim < {AIM_COORDINATOR_PERCENT:g}\n"
            f"  the same piece of work   {spread(self.yardstick, 1)} ms of CPU time\n"
            f"  at {YARDSTICK_QUIET_MS:g} ms of it: page {spread(self.quiet(self.renderer), 1)} %, "
            f"coordinator {spread(self.quiet(self.coordinator), 1)} %",
            flush=True,
        )
        return (
            statistics.median(self.renderer) < AIM_RENDERER_PERCENT
            and statistics.median(self.coordinator) < AIM_COORDINATOR_PERCENT
        )


async def browser_seconds(browser: Browser) -> dict[str, float]:
    """Return the CPU seconds of Chromium's processes so far, added up by kind."""
    session = await browser.new_browser_cdp_session()
    try:
        answer = await session.send("SystemInfo.getProcessInfo")
    finally:
        await session.detach()
    found: dict[str, float] = {}
    for process in answer["processInfo"]:
        found[process["type"]] = found.get(process["type"], 0.0) + process["cpuTime"]
    return found


def yardstick() -> float:
    """Return the CPU milliseconds of a piece of work that is always the same.

    CPU time is not the same on a busy machine: who shares a core's caches, its clock and its other
    thread with strangers needs more of it for the same.
    """
    begin = time.thread_time()
    table = {number: str(number) for number in range(YARDSTICK_ENTRIES)}
    sum(len(table[number]) for number in range(0, YARDSTICK_ENTRIES, 3))
    return 1000 * (time.thread_time() - begin)


async def measure(
    browser: Browser,
    coordinator: MeasuredCoordinator,
    load: PacedNodes,
    seconds: float,
    rounds: int,
) -> Costs:
    """Return what the windows cost, one after the other."""
    costs = Costs()
    for _ in range(rounds):
        chromium, own, sent = await browser_seconds(browser), coordinator.usage(), load.sent
        begin = time.perf_counter()
        taken: list[float] = []
        while (left := begin + seconds - time.perf_counter()) > 0:
            await asyncio.sleep(min(left, YARDSTICK_SECONDS))
            taken.append(min(yardstick() for _ in range(YARDSTICKS)))
        later, used = await browser_seconds(browser), coordinator.usage()
        wall = time.perf_counter() - begin
        costs.renderer.append(100 * (later["renderer"] - chromium["renderer"]) / wall)
        costs.browser.append(100 * (sum(later.values()) - sum(chromium.values())) / wall)
        costs.coordinator.append(100 * used.cores_since(own))
        costs.updates.append((load.sent - sent) / wall)
        costs.yardstick.append(statistics.mean(taken))
    return costs


@contextlib.asynccontextmanager
async def opened(credentials: Credentials, where: str) -> AsyncIterator[tuple[Browser, Page]]:
    """A browser with one page open at ``where``, signed in and live."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("No Chromium is installed; run: apt-get install -y chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            await page.goto(f"{credentials.url}/#token={credentials.token}&to={where}")
            live = page.locator(".connection[data-state=live]")
            await expect(live).to_be_visible(timeout=READY_MS)
            yield browser, page
        finally:
            await browser.close()


async def run(arguments: argparse.Namespace) -> bool:
    """Measure every page and print; whether all keep to the aims."""
    scene = LoadScene()
    kept = True
    with measured_coordinator() as coordinator:
        credentials = coordinator.credentials
        async with FarmConnection(credentials) as farm:
            await scene.upload(farm)
            job = await scene.submit(farm, FRAMES)
            pages = {
                "overview": "/",
                "job": f"/jobs/{job.id}",
                "frame": f"/jobs/{job.id}/frames/1",
                "watch": f"/jobs/{job.id}/watch",
                "times": f"/jobs/{job.id}/times",
                "timeline": f"/jobs/{job.id}/timeline",
                "nodes": "/nodes",
                "logs": "/logs",
            }
            async with PacedNodes(credentials, arguments.nodes, arguments.updates) as load:
                await load.until_assigned(arguments.nodes)
                nodes = (await farm.get("/api/v1/nodes", NodePage)).nodes
                pages["node"] = f"/nodes/{nodes[0].id}"
                for name in arguments.page or PAGES:
                    async with opened(credentials, pages[name]) as (browser, _page):
                        await asyncio.sleep(SETTLE_SECONDS)
                        costs = await measure(
                            browser, coordinator, load, arguments.seconds, arguments.rounds
                        )
                    kept &= costs.show(f"{name} page, {arguments.nodes} nodes, {FRAMES:,} frames")
    return kept


def main() -> int:
    """Read the arguments and measure; 1 when an aim was missed."""
    parser = argparse.ArgumentParser(description="CPU of the status page and of its coordinator.")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--updates", type=float, default=20.0, help="a second, all nodes together")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=3, help="windows for each page")
    parser.add_argument("--page", action="append", choices=PAGES)
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
