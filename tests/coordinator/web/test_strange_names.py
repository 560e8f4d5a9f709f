"""Names full of HTML and emoji are text everywhere, on every page and in every state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, expect
from rendermill.protocol.job import OutputRoot, Requirements
from rendermill.protocol.machine import BlenderInfo, Machine
from rendermill.protocol.messages import (
    Assign,
    Availability,
    FailureKind,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobScript,
    LogLines,
)
from rendermill.protocol.views import FrameDetail

from .browser import NEEDS_CHROMIUM, opened, refused, until
from .conftest import PATIENT

pytestmark = NEEDS_CHROMIUM

TAG = '<img/src=x/onerror="window.hacked=1"><x-hostile>🎬'.replace('"', "'")
"""One word, as tags are."""

WATCH = """
window.strangers = [];
new MutationObserver((changes) => {
  for (const change of changes) {
    for (const node of change.addedNodes) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      for (const one of [node, ...node.querySelectorAll("*")]) {
        const isMade = one.localName === "x-hostile" || one.getAttribute("src") === "x";
        const isOurs = one.getAttribute("src")?.startsWith("/static/");
        if (isMade || (one.localName === "script" && !isOurs) || one.hasAttribute("onerror")) {
          window.strangers.push(one.outerHTML);
        }
      }
    }
    if (change.type === "attributes" && /^on/.test(change.attributeName)) {
      window.strangers.push(change.attributeName);
    }
  }
}).observe(document, { childList: true, subtree: true, attributes: true });
"""


def strange(what: str) -> str:
    """A name that would be an element where it is taken for HTML, and says what it names."""
    return f'{what} <img src=x onerror="window.hacked=1"><x-hostile>&amp; ${{1}} 🎬'


async def see(page: Page, where: str, *texts: str) -> None:
    """Go to a page and find these texts there, letter by letter."""
    await page.evaluate("where => { location.hash = where }", f"#{where}")
    for text in texts:
        await expect(page.locator("main")).to_contain_text(text)


@pytest.fixture
async def coordinator(start: Any) -> Any:
    """A running coordinator of a farm with a name of the same kind."""
    return await start(config=PATIENT, name=strange("farm"))


async def test_whatever_is_named_is_shown_as_text(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene(
        "1-3",
        name=strange("job"),
        submitter=strange("submitter"),
        scene=strange("scene"),
        camera=strange("camera"),
        view_layers=(strange("layer"),),
        client=strange("client"),
        requires=Requirements(blender=(4, 5, 15), engine="CYCLES"),
        outputs=(
            OutputRoot(
                id="main", label=strange("output"), folder=f"/home/{strange('folder')}", name="f_#"
            ),
        ),
    )
    shot = type(shot)(shot.spec, {**shot.files, "scene/&amp; ${1} 🎬 'file'.png": b"wood"})
    await shot.upload(farm)
    job = await shot.submit(farm)
    blender = BlenderInfo(
        version=(4, 5, 15),
        path=strange("path"),
        is_module=False,
        engines=("CYCLES",),
        problems=(strange("limitation"),),
    )
    machine = Machine(
        hostname=strange("host"),
        system=strange("system"),
        cpu=strange("cpu"),
        cores=4,
        memory_bytes=8 << 30,
        blenders=(blender,),
        tags=(TAG,),
        sandbox=strange("sandbox"),
    )
    node = make_node(farm)
    async with node.connected(name=strange("node"), machine=machine):
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=ref))
        await node.send(JobScript(job=job.id, script=strange("script")))
        await node.send(LogLines(lines=(strange("line"),), frame=ref))
        failed = FrameFailed(frame=ref, kind=FailureKind.SCENE, reason=strange("reason"))
        await node.send(failed)

        async def is_failed() -> bool:
            where = f"/api/v1/jobs/{job.id}/frames/{ref.frame}"
            return (await farm.get(where, FrameDetail)).frame.failures == 1

        await until(is_failed)
        other = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=other))
        done = await node.done(other, path="&amp; ${1} 🎬 'picture'.png")
        await node.send(replace(done, warnings=(strange("warning"),), log=(strange("last"),)))
        third = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=third))
        await node.send(FrameProgress(frame=third, fraction=0.3, text=strange("progress")))
        async with opened() as seat:
            seat.expected.append(refused(404))
            await seat.context.add_init_script(WATCH)
            page = seat.page
            await page.goto(f"{coordinator.url}/#token={coordinator.token}&to=/")
            await expect(page.locator(".connection[data-state=live]")).to_be_visible()
            await expect(page.locator(".farm-name")).to_have_text(strange("farm"))
            await expect(page.locator(".account-name")).to_be_visible()
            await see(page, "/", strange("job"), strange("submitter"), strange("node"))
            here = f"/jobs/{job.id}"
            await see(page, here, strange("job"), strange("submitter"))
            await see(page, f"{here}/frames/{ref.frame}", strange("reason"), strange("node"))
            await see(
                page,
                f"{here}/frames/{other.frame}",
                strange("warning"),
                "&amp; ${1} 🎬 'picture'.png",
            )
            await page.locator(".frame-panel").get_by_text("Log", exact=True).click()
            await see(page, f"{here}/frames/{other.frame}", strange("last"))
            await see(page, f"{here}/frames/{third.frame}", strange("progress"))
            await page.get_by_role("button", name="Close frame").click()
            for tab, texts in (
                ("watch", ()),
                ("times", (strange("node"),)),
                ("timeline", (strange("node"),)),
                ("log", (strange("line"), strange("node"))),
                ("nodes", (strange("node"),)),
                ("files", ("&amp; ${1} 🎬 'file'.png",)),
                ("script", (strange("script"),)),
                (
                    "settings",
                    tuple(map(strange, ("scene", "camera", "layer", "output", "client"))),
                ),
            ):
                await see(page, f"{here}/{tab}", *texts)
            await see(page, "/nodes", strange("node"), strange("cpu"), TAG)
            await see(
                page,
                f"/nodes/{node.node}",
                strange("node"),
                strange("system"),
                strange("limitation"),
                strange("sandbox"),
                strange("reason"),
            )
            await node.send(Availability(available=False, reason=strange("away")))
            await see(page, f"/nodes/{node.node}", strange("away"))
            await see(page, "/logs", strange("line"), strange("job"), strange("node"))
            await page.get_by_label("Search the log").fill("<x-hostile>")
            await expect(page.locator(".log-line mark").first).to_have_text("<x-hostile>")
            # A question and a notice.
            await see(page, here, strange("job"))
            await page.get_by_role("button", name="Cancel").click()
            await expect(page.get_by_role("dialog")).to_contain_text(strange("job"))
            await page.get_by_role("button", name="Keep it").click()
            assert await page.evaluate("window.strangers") == []
            assert await page.evaluate("window.hacked") is None
            # What watches does see such an element.
            await page.evaluate("document.body.append(document.createElement('x-hostile'))")
            assert len(await page.evaluate("window.strangers")) == 1
        assert seat.unexpected == []
