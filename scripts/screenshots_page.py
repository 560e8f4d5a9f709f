"""Pictures of the status page for the documentation, of a real farm on an ordinary day.

    python scripts/screenshots_page.py [--folder docs/images] [--keep DIR]

Starts a coordinator and two nodes on this machine and submits shots of the demo scene
(scripts/demo_scene.py, scripts/screenshots_scenes.py): one that is done, one that renders, one with
a frame that fails, one whose scouts are to be looked at, two that wait. Saves each page as
``page-NAME-light.png``, ``-dark`` (both 1280 x 800) and ``-phone`` (390 x 844 at twice the pixels),
and some as ``-wall`` (2560 x 1440, made smaller). Needs bpy, Chromium and Pillow; a picture that is
larger than `PICTURE_MAX_BYTES` is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from local_farm import LocalFarm
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

ROOT = Path(__file__).resolve().parents[1]
PICTURE_MAX_BYTES = 150_000
COLOURS = (256, 192, 128, 64)
"""Sizes of the palette, tried from the best to the smallest."""
WAIT_MS = 300_000
"""For a busy machine: a node opens Blender to look at a scene."""
JOB_SECONDS = 900.0
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
    "wall": {"viewport": {"width": 2560, "height": 1440}, "color_scheme": "dark"},
}
ON_THE_WALL = ("overview", "job")
WALL_SIZE = (1600, 900)
FRAMES = 96
DONE_FRAMES = 12
FAILING = "7-12"
SHOWN_FRAME = 8
SUBMITTED = "mln_040_easel"
NODES = ("atlas", "boreas")
ARTIST = "mara"


def quantised(data: bytes, size: tuple[int, int] | None = None) -> bytes:
    """Return a PNG, of another size, with a palette and small enough. Raises ValueError."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if size is not None:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    for colours in COLOURS:
        buffer = io.BytesIO()
        picture.quantize(colours, method=Image.Quantize.MEDIANCUT).save(
            buffer, "PNG", optimize=True
        )
        if buffer.tell() <= PICTURE_MAX_BYTES:
            return buffer.getvalue()
    raise ValueError(f"a picture has more than {PICTURE_MAX_BYTES:,} bytes in every palette")


class Farm:
    """The farm with what the pictures show."""

    def __init__(self, farm: LocalFarm, scene: Path) -> None:
        self.farm = farm
        self.scene = scene

    def submit(self, shot: str, frames: str, *words: str) -> str:
        """Submit frames of a shot and return the id of the job."""
        before = {job["id"] for job in self.jobs()}
        ran = self.farm.command(
            "submit", str(self.scene / f"{shot}.blend"), "--frames", frames, *words
        )
        if ran.returncode != 0:
            raise SystemExit(f"submit failed:\n{ran.stdout}\n{ran.stderr}")
        (new,) = [job["id"] for job in self.jobs() if job["id"] not in before]
        return new

    def jobs(self) -> list[dict[str, Any]]:
        """Return the views of all jobs."""
        found: list[dict[str, Any]] = self.farm.ask("GET", "/api/v1/jobs")["jobs"]
        return found

    def wait(self, job: str, **counts: int) -> None:
        """Wait until a job has at least so many frames in these states."""
        end = time.monotonic() + JOB_SECONDS
        while any((view := self.farm.job(job))["counts"][s] < n for s, n in counts.items()):
            if time.monotonic() > end:
                raise SystemExit(f"the job does not get on: {view}")
            time.sleep(0.2)


class Photographer:
    """Takes every page in every look."""

    def __init__(self, browser: Browser, farm: Farm, folder: Path) -> None:
        self.browser = browser
        self.farm = farm
        self.folder = folder

    async def take(self, name: str, where: str, shown: str, before: Any = None) -> None:
        """Save the page at ``where`` once ``shown`` is there; ``before(page)`` prepares it."""
        for look, options in LOOKS.items():
            if look == "wall" and name not in ON_THE_WALL:
                continue
            context = await self.browser.new_context(**options)
            try:
                page = await context.new_page()
                page.set_default_timeout(WAIT_MS)
                credentials = f"token={self.farm.farm.token}"
                await page.goto(f"{self.farm.farm.url}/#{credentials}&to={where}")
                live = page.locator(".connection[data-state=live]")
                await expect(live).to_be_visible(timeout=WAIT_MS)
                if before is not None:
                    await before(page)
                await expect(page.locator(shown).first).to_be_visible(timeout=WAIT_MS)
                # Pictures that came meanwhile are decoded before they are painted.
                await page.evaluate(
                    "() => Promise.all([...document.images].filter((image) => image.src &&"
                    " image.getClientRects().length)"
                    ".map((image) => image.decode().catch(() => {})))"
                )
                # A form that scrolled to where it is filled shows its beginning.
                await page.evaluate("scrollTo(0, 0)")
                data = quantised(
                    await page.screenshot(animations="disabled"),
                    WALL_SIZE if look == "wall" else None,
                )
            finally:
                await context.close()
            path = self.folder / f"page-{name}-{look}.png"
            path.write_bytes(data)
            print(f"{path.name}: {len(data):,} bytes", flush=True)


async def photograph_jobs(farm: Farm, camera: Photographer) -> None:
    """Make the jobs and save the pictures of all pages that show some; the jobs end up paused."""
    done = farm.submit("mln_010_establishing", f"1-{DONE_FRAMES}")
    farm.wait(done, done=DONE_FRAMES)
    failing = farm.submit("mln_060_fog", FAILING, "--trust-scripts")
    farm.wait(failing, done=5, failed=1)
    scouts = farm.submit("mln_020_sails", "1-24", "--scouts")
    farm.wait(scouts, done=3)
    rendering = farm.submit("mln_030_dusk", f"1-{FRAMES}", "--priority", "80")
    farm.submit("mln_050_night", "1-48", "--tag", "workshop")
    farm.submit("mln_040_easel", "1-24:2")
    farm.wait(rendering, done=4)
    node = farm.farm.node(NODES[0])["id"]
    await camera.take("overview", "/", ".job-card img")
    await camera.take("job", f"/jobs/{rendering}", ".strip-cell img")
    await camera.take("nodes", "/nodes", ".node-card")
    await camera.take("node", f"/nodes/{node}", ".history tbody tr")
    await camera.take("logs", "/logs", ".log-line")
    await camera.take("frame", f"/jobs/{done}/frames/{SHOWN_FRAME}", ".frame-panel img")
    # A node that renders looks at a scene only between two frames.
    for job in farm.jobs():
        if job["state"] in ("queued", "rendering"):
            farm.farm.ask("POST", f"/api/v1/jobs/{job['id']}/pause")


async def photograph(farm: Farm, folder: Path, has_jobs: bool) -> None:
    """Save the pictures; that of the submit page alone when there shall be no jobs."""

    async def choose_scene(page: Page) -> None:
        await page.locator("#blend-folder").set_input_files(farm.scene)
        await page.get_by_label("Which .blend is the scene?").select_option(f"{SUBMITTED}.blend")
        await page.get_by_role("button", name="Use it").click()
        await expect(page.get_by_role("region", name="What to render")).to_be_visible(
            timeout=WAIT_MS
        )

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("No Chromium is installed; run: apt-get install -y chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            camera = Photographer(browser, farm, folder)
            if has_jobs:
                await photograph_jobs(farm, camera)
            await camera.take("submit", "/submit", "#draft-frames", choose_scene)
        finally:
            await browser.close()


def main() -> None:
    """Start the farm, take the pictures, stop the farm."""
    parser = argparse.ArgumentParser(description="Pictures of the status page.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--keep", type=Path, help="make the farm here, and leave it there")
    parser.add_argument("--submit", action="store_true", help="only the pictures of that page")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="rendermill-pages-"))
    scene = folder / "mill"
    try:
        subprocess.run(
            [sys.executable, ROOT / "scripts" / "demo_scene.py", scene, "--frames", str(FRAMES)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(
            [sys.executable, ROOT / "scripts" / "screenshots_scenes.py", scene],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with LocalFarm(folder / "farm") as farm:
            os.environ["LOGNAME"] = ARTIST
            farm.start_coordinator("--name", "Mill Lane Studio")
            for name in NODES:
                farm.start_node(name, "--threads", "1", "--grace", "0")
            farm.wait_ready(NODES)
            asyncio.run(photograph(Farm(farm, scene), options.folder, not options.submit))
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
