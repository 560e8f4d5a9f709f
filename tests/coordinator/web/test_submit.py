"""From a dropped folder to a job: a real page, coordinator, node and Blender."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from .browser import NEEDS_CHROMIUM, Seat, refused, seated

axe = pytest.importorskip(
    "axe_playwright_python.async_playwright",
    reason="axe-core is not installed; run: python scripts/environment.py dev",
)

pytestmark = NEEDS_CHROMIUM
LOOKED_MS = 240_000
"""A node starts a Blender to look at a scene."""


@pytest.fixture
def folder(tmp_path: Path, saved_blend: Callable[[bool], Path]) -> Path:
    """A folder as an artist has it: the scene, a texture, and what systems leave behind."""
    made = tmp_path / "Shot <i>7</i>"
    (made / "textures").mkdir(parents=True)
    shutil.copy(saved_blend(True), made / "shot.blend")
    (made / "textures" / "wood.png").write_bytes(b"wood" * 400_000)
    (made / ".DS_Store").write_bytes(b"junk")
    return made


async def choose(page: Page, path: Path) -> None:
    await page.locator("#blend-folder").set_input_files(path)


async def ready(seat: Seat) -> None:
    await expect(seat.page.get_by_role("region", name="What to render")).to_be_visible(
        timeout=LOOKED_MS
    )


async def test_a_folder_becomes_a_job_and_its_frames(served: Any, folder: Path) -> None:
    async with seated(served.url, served.token, where="/submit") as seat:
        page = seat.page
        await choose(page, folder)
        await ready(seat)
        form = page.get_by_role("region", name="What to render")
        await expect(form.get_by_label("Scene", exact=True)).to_have_value("Shot <b>🎬</b>")
        await expect(form.get_by_label("Frames")).to_have_value("2-12:5")
        await expect(form).to_contain_text(
            "Cycles on CPU, 32 \N{MULTIPLICATION SIGN} 24 PNG, 29.97 fps, 1 sample"
        )
        findings = form.locator(".findings li[data-severity=error]")
        outside = findings.filter(has_text="/home/ada/far away.png")
        await expect(outside).to_contain_text("1 file of the scene is outside of what you dropped")
        await expect(outside).to_contain_text("Pack Resources")
        lost = findings.filter(has_text="textures/lost.png")
        await expect(lost).to_contain_text("1 file of the scene is not among those you dropped")
        await expect(lost).to_contain_text("Drop the folder that holds the .blend")
        await expect(form).not_to_contain_text("Find Missing Files")
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = await axe.Axe().run(page)
            assert [
                one["help"]
                for one in result.response["violations"]
                if one["impact"] in ("serious", "critical")
            ] == []
        await form.get_by_label("Frames").fill("nonsense")
        await form.get_by_role("button", name="Submit", exact=True).click()
        await expect(form.get_by_role("alert")).not_to_be_empty()
        await form.get_by_label("Frames").fill("2,7")
        await form.get_by_role("button", name="Submit", exact=True).click()
        await expect(form.get_by_role("alert")).to_contain_text("/home/ada/far away.png")
        await form.get_by_label("Submit although something is wrong").check()
        await form.get_by_label("Name of the job").fill("from the <browser>")
        await form.get_by_label("Priority").fill("70")
        await form.get_by_role("button", name="Submit", exact=True).click()
        await expect(page.get_by_role("heading", name="from the <browser>")).to_be_visible()
        await expect(page.locator(".job-head .pill")).to_have_text("Done", timeout=LOOKED_MS)
        jobs = served.ask("GET", "/api/v1/jobs")["jobs"]
        (job,) = [one for one in jobs if one["name"] == "from the <browser>"]
        assert (job["counts"]["done"], job["priority"], job["frames"]) == (2, 70, "2, 7")
        files = served.ask("GET", f"/api/v1/jobs/{job['id']}/manifest")
        assert sorted(file["path"] for file in files) == [
            "scene/shot.blend",
            "scene/textures/wood.png",
        ]
        spec = served.ask("GET", f"/api/v1/jobs/{job['id']}")["spec"]
        assert spec["outputs"][0]["folder"] == ""
        seat.expected.append(refused(422))


async def test_what_is_clicked_happens_on_a_node_that_renders(served: Any, folder: Path) -> None:
    async with seated(served.url, served.token, where="/submit") as seat:
        page = seat.page
        await choose(page, folder)
        await ready(seat)
        form = page.get_by_role("region", name="What to render")
        await form.get_by_label("Frames").fill("7")
        await form.get_by_label("Name of the job").fill("clicked")
        await form.get_by_label("Submit although something is wrong").check()
        await form.get_by_role("button", name="Submit", exact=True).click()
        pill = page.locator(".job-head .pill")
        await expect(pill).to_have_text("Done", timeout=LOOKED_MS)
        job = page.url.rpartition("/")[2]
        # Its picture, as the node's Blender made it, small and at full size.
        await page.locator(".tile", has_text="7").click()
        panel = page.locator(".frame-panel")
        await expect(panel.get_by_role("link", name="0007.png")).to_be_visible()
        await expect(panel.locator(".facts")).to_contain_text("Memory")
        await panel.locator(".frame-link").click()
        picture = page.get_by_role("img", name="Frame 7 at full size")
        await expect(picture).to_have_js_property("naturalWidth", 32)
        await page.keyboard.press("Escape")
        for tab, text in (("Log", "Saved:"), ("Script", "import bpy"), ("Timeline", "1 try on")):
            await page.get_by_role("tab", name=tab).click()
            await expect(page.get_by_role("tabpanel")).to_contain_text(text)
        # A drained node lets the frame wait; one that is resumed renders it.
        await page.get_by_role("link", name="Nodes", exact=True).click()
        card = page.get_by_role("article", name="Node atlas")
        await card.get_by_role("button", name="Drain").click()
        await expect(card.locator(".pill")).to_have_text("Draining")
        await page.evaluate("where => { location.hash = where }", f"#/jobs/{job}/frames/7")
        await panel.get_by_role("button", name="Render this frame again").click()
        await expect(page.locator(".job-head .why")).to_contain_text("drained")
        assert served.job(job)["counts"]["waiting"] == 1
        await page.get_by_role("button", name="Pause").click()
        await expect(pill).to_have_text("Paused")
        assert served.job(job)["paused"]
        await page.evaluate("where => { location.hash = where }", "#/nodes")
        await card.get_by_role("button", name="Resume").click()
        await expect(card.locator(".pill")).to_have_text("Idle")
        await page.evaluate("where => { location.hash = where }", f"#/jobs/{job}")
        await page.get_by_role("button", name="Resume").click()
        await expect(pill).to_have_text("Done", timeout=LOOKED_MS)
        await page.get_by_role("tab", name="Timeline").click()
        await expect(page.get_by_role("tabpanel")).to_contain_text("2 tries on")
        assert served.job(job)["counts"]["done"] == 1


async def test_what_was_sent_is_not_sent_again(served: Any, folder: Path) -> None:
    (folder / "new.bin").write_bytes(b"new" * 100)
    async with seated(served.url, served.token, where="/submit") as seat:
        sent: list[int] = []
        seat.page.on(
            "request",
            lambda request: (
                sent.append(len(request.post_data_buffer or b""))
                if request.url.endswith("/api/v1/blobs")
                else None
            ),
        )
        await choose(seat.page, folder)
        await ready(seat)
        await seat.page.reload()
        await choose(seat.page, folder)
        await ready(seat)
    # At most the new file and what the first test has not left here; the second time nothing.
    assert len(sent) <= 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("shot.blend", b"<html>hello</html>" * 9, "is no .blend"),
        ("shot.blend", b"BLENDER-v405" + b"\xff" * 500, "cannot be read as a .blend"),
        ("notes.txt", b"no scene", "There is no .blend"),
    ],
)
async def test_what_is_no_scene_gets_a_sentence(
    served: Any, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / name).write_bytes(content)
    async with seated(served.url, served.token, where="/submit") as seat:
        await choose(seat.page, folder)
        await expect(seat.page.get_by_role("alert")).to_contain_text(sentence)
        await expect(seat.page.get_by_role("button", name="Choose a file …")).to_be_visible()


async def test_a_drop_walks_folders(served: Any) -> None:
    """Through the entries a browser gives for a drop, folders and links to nowhere included."""
    async with seated(served.url, served.token, where="/submit") as seat:
        found = await seat.page.evaluate(
            """async () => {
              const { gatherDrop } = await import("/static/upload.js");
              const made = (name) => (good) => good(new File(["x"], name));
              const leaf = (name) => ({ name, isFile: true, file: made(name) });
              const dir = (name, children) => ({
                name, isDirectory: true,
                createReader: () => {
                  const left = [children.slice(0, 1), children.slice(1), []];
                  return { readEntries: (good) => good(left.shift() ?? []) };
                },
              });
              const drop = (entry) => ({ items: [{ webkitGetAsEntry: () => entry }] });
              const inner = dir("t", [leaf("b.png")]);
              const files = await gatherDrop(drop(dir("top", [leaf("a.blend"), inner])));
              const fail = (good, bad) => bad(new Error("no"));
              const broken = { name: "gone", isFile: true, file: fail };
              let problem = "";
              try {
                await gatherDrop(drop(dir("top", [broken])));
              } catch (error) {
                problem = error.message;
              }
              return { paths: files.map((one) => one.path), problem };
            }"""
        )
    assert found["paths"] == ["a.blend", "t/b.png"]
    assert "top/gone cannot be read" in found["problem"]
