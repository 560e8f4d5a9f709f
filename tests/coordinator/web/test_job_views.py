"""The views of a job of ten thousand frames: strip, player, viewer, times, timeline."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from playwright.async_api import Page, expect
from rendermill.protocol.states import FrameState
from rendermill.protocol.views import AttemptSpan

from .browser import NEEDS_CHROMIUM, WAIT_MS, until
from .served_farm import ServedFarm, large_farm, render_history
from .test_page import small_farm, visit

pytestmark = NEEDS_CHROMIUM


async def wait_for(page: Page, script: str, argument: Any = None) -> None:
    await page.wait_for_function(script, arg=argument, timeout=WAIT_MS)


def film_of(frames: int, missing: tuple[int, ...] = ()) -> ServedFarm:
    """A job whose frames are all done but some that are missing."""
    farm = ServedFarm()
    farm.add_node("atlas")
    states = [
        FrameState.WAITING if number in missing else FrameState.DONE
        for number in range(1, frames + 1)
    ]
    farm.add_job("Film", states, pictures=True)
    return farm


async def test_only_tiles_in_sight_are_elements():
    farm = film_of(10_000)
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        await expect(page.locator(".tile").first).to_be_visible()
        assert await page.locator(".tile").count() < 40
        await page.evaluate("location.hash = '#/jobs/job0000/frames/7003'")
        chosen = page.locator(".tile a[aria-current]")
        await expect(chosen).to_have_attribute("aria-label", "Frame 7003, done")
        await expect(chosen.locator("..")).to_have_attribute("aria-posinset", "7003")
        assert await page.locator(".tile").count() < 40
        await page.locator(".tile", has_text="7004").click()
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 7004")


async def test_a_state_leaves_its_frames_bright_and_arrows_walk_over_them():
    farm = large_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        failed = [n for n, f in farm.frames["job0000"].items() if f.state is FrameState.FAILED]
        filters = page.get_by_role("group", name="Show frames by state")
        button = filters.get_by_role("button", name=re.compile("failed"))
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "true")
        field = page.get_by_role("slider", name="Frames")
        # Keys have nothing to move over before the frames are here.
        await expect(field).to_be_enabled()
        await field.focus()
        await page.keyboard.press("Home")
        await page.keyboard.press("ArrowRight")
        first = next(number for number in failed if number > 1)
        await expect(page.locator(".frame-panel h2")).to_have_text(f"Frame {first}")
        await page.keyboard.press("ArrowRight")
        second = next(number for number in failed if number > first)
        await expect(page.locator(".frame-panel h2")).to_have_text(f"Frame {second}")
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "false")


async def test_what_changed_behind_another_tab_is_there_when_it_is_opened():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        await expect(page.locator(".tile")).to_have_count(3)
        await page.get_by_role("tab", name="Watch").click()
        await expect(page.get_by_role("slider", name="Frame", exact=True)).to_be_enabled()
        farm.set_frame("job0000", 4, FrameState.DONE, pictures=True)
        await expect(page.locator(".job-head .bar")).to_have_attribute("aria-valuenow", "4")
        await page.get_by_role("tab", name="Frames").click()
        await expect(page.locator(".tile")).to_have_count(4)


async def test_the_timeline_asks_again_for_what_happened_behind_another_tab():
    farm = small_farm()
    (node,) = farm.nodes
    render_history(farm, "job0000", [node])
    async with visit(farm, where="#/jobs/job0000/timeline") as seen:
        page = seen.page
        tries = len(farm.attempts["job0000"])
        await expect(page.get_by_text(f"{tries} tries on 1 node")).to_be_visible()
        await page.get_by_role("tab", name="Frames").click()
        await expect(page.get_by_role("slider", name="Frames")).to_be_visible()
        span = AttemptSpan(
            frame=4, generation=1, epoch=77, node=0, started=farm.now, ended=farm.now + 1,
            outcome="done",
        )  # fmt: skip
        farm.attempts["job0000"].append(span)
        farm.set_frame("job0000", 4, FrameState.DONE)
        await expect(page.locator(".job-head .bar")).to_have_attribute("aria-valuenow", "4")
        await page.get_by_role("tab", name="Timeline").click()
        await expect(page.get_by_text(f"{tries + 1} tries on 1 node")).to_be_visible()


async def test_a_frame_that_changed_is_painted_on_the_track_of_the_film():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000/watch") as seen:
        page = seen.page
        await expect(page.get_by_role("slider", name="Frame", exact=True)).to_be_enabled()

        async def colour(place: int) -> list[int]:
            return await page.evaluate(
                """place => {
                    const track = document.querySelector(".player-track");
                    const x = Math.round(track.width * (place + 0.5) / 6);
                    return [...track.getContext("2d").getImageData(x, track.height - 2, 1, 1).data];
                }""",
                place,
            )

        empty = await colour(4)
        done = await colour(0)
        assert empty != done
        farm.set_frame("job0000", 5, FrameState.DONE)

        async def is_painted() -> bool:
            return await colour(4) == done

        await until(is_painted)
        assert await colour(5) == empty
        farm.set_frame("job0000", 5, FrameState.WAITING)

        async def is_gone() -> bool:
            return await colour(4) == empty

        await until(is_gone)


async def test_times_go_on_while_frames_are_finished():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000/times") as seen:
        page = seen.page
        cells = page.locator(".chart-table").first.locator("tbody td")
        await expect(cells.first).to_have_text("3")
        farm.set_frame("job0000", 4, FrameState.DONE)
        await expect(cells.first).to_have_text("4")
        await expect(page.get_by_text("4 frames: half of them within")).to_be_visible()


async def test_the_player_keeps_the_rate_of_the_scene_and_shows_gaps():
    farm = film_of(48, missing=(3,))
    farm.specs["job0000"] = dataclasses.replace(farm.specs["job0000"], fps=25.0)
    async with visit(farm, where="#/jobs/job0000/watch") as seen:
        page = seen.page
        stage = page.get_by_role("group", name="Player")
        await expect(page.get_by_text("25 frames a second")).to_be_visible()
        await stage.focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.locator(".player-where")).to_have_text("Frame 2")
        await page.keyboard.press("ArrowRight")
        await expect(stage.get_by_text("Frame 3 is waiting")).to_be_visible()
        # What is missing comes live.
        farm.set_frame("job0000", 3, FrameState.DONE, pictures=True)
        await expect(stage.get_by_text("Frame 3 is waiting")).to_be_hidden()
        await expect(stage.get_by_role("img", name="Frame 3")).to_be_visible()
        await page.keyboard.press("Home")
        await page.get_by_label("Loop").uncheck()
        await stage.focus()
        # Time is the page's own here, so that a slow machine plays no other film.
        await page.evaluate(STEPPED_CLOCK)
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        assert await page.evaluate("stepTo(0), stepTo(999)") is None
        await expect(page.locator(".player-where")).to_have_text("Frame 25")
        # Half of the steps in between were never painted: it says so and keeps the time.
        await expect(page.locator(".player-facts")).to_contain_text("left out to keep time")
        await page.evaluate("stepTo(5000)")
        await expect(page.get_by_role("button", name="Play")).to_be_visible()
        await expect(page.locator(".player-where")).to_have_text("Frame 48")


STEPPED_CLOCK = """() => {
    const waiting = new Map();
    let next = 1;
    window.requestAnimationFrame = (act) => { waiting.set(next, act); return next++; };
    window.cancelAnimationFrame = (handle) => waiting.delete(handle);
    window.stepTo = (ms) => {
        const due = [...waiting.values()];
        waiting.clear();
        for (const act of due) act(ms);
    };
}"""


async def test_the_player_scrubs_changes_speed_and_opens_the_full_size():
    farm = film_of(200)
    async with visit(farm, where="#/jobs/job0000/watch") as seen:
        page = seen.page
        await page.get_by_role("slider", name="Frame", exact=True).fill("99")
        await expect(page.locator(".player-where")).to_have_text("Frame 100")
        await page.get_by_label("Speed").select_option("0.5")
        await page.get_by_label("Quality").select_option("full")
        await wait_for(page, "document.querySelector('.player-picture').width >= 320")

        async def is_asked_for() -> bool:
            return any(path.endswith("/100/preview") for _, path in farm.requests)

        await until(is_asked_for)
        await page.get_by_role("group", name="Player").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("img", name="Frame 100 at full size")).to_be_visible()


async def test_the_viewer_zooms_pans_and_compares():
    farm = film_of(5, missing=(3,))
    async with visit(farm, where="#/jobs/job0000/frames/2/full") as seen:
        page = seen.page
        picture = page.get_by_role("img", name="Frame 2 at full size")
        await expect(picture).to_have_js_property("naturalWidth", 960)
        await page.keyboard.press("1")
        await expect(page.locator(".viewer-bar .number")).to_have_text("100 %")
        await page.keyboard.press("+")
        await expect(page.locator(".viewer-bar .number")).to_have_text("125 %")
        before = await picture.evaluate("image => image.style.transform")
        await page.keyboard.press("ArrowDown")
        assert await picture.evaluate("image => image.style.transform") != before
        await page.keyboard.press("c")
        other = page.locator(".viewer-other")
        await expect(other).to_have_attribute("src", re.compile("/frames/1/preview"))
        await page.keyboard.press("c")
        await expect(other).to_have_css("mix-blend-mode", "difference")
        await page.keyboard.press("c")
        await expect(other).to_be_hidden()
        # Frame 3 has no picture: the next one is 4.
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("img", name="Frame 4 at full size")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 4")
        await expect(page.locator(".viewer")).to_be_hidden()


async def test_frame_times_lead_to_their_frames_and_stand_in_a_table():
    farm = small_farm()
    render_history(farm, "job0000", list(farm.nodes))
    async with visit(farm, where="#/jobs/job0000/times") as seen:
        page = seen.page
        chart = page.get_by_role("slider", name="Render time by frame")
        await expect(page.get_by_role("table", name="By node")).to_contain_text("atlas")
        await expect(chart).to_have_attribute("aria-valuemax", "6")
        await chart.focus()
        await page.keyboard.press("Home")
        await page.keyboard.press("ArrowRight")
        await expect(chart).to_have_attribute("aria-valuetext", re.compile("Frame 2: .* on atlas"))
        box = await chart.bounding_box()
        assert box is not None
        await chart.click(position={"x": 90, "y": box["height"] - 30})
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 1")
        farm.set_frame("job0000", 4, FrameState.DONE)
        await expect(page.get_by_role("tabpanel")).to_contain_text("4 frames:")


async def test_the_timeline_holds_every_try_of_a_large_job():
    farm = large_farm()
    tries = len(farm.attempts["job0000"])
    async with visit(farm, where="#/jobs/job0000/timeline") as seen:
        page = seen.page
        panel = page.get_by_role("tabpanel")
        await expect(panel).to_contain_text(f"{tries:,} tries on 150 nodes")
        await expect(panel).to_contain_text("second cop")
        chart = page.get_by_role("img", name="Timeline of nodes and frames")
        await chart.focus()
        await page.keyboard.press("n")
        first = min(farm.attempts["job0000"], key=lambda one: (one.started, one.epoch))
        name = next(n.name for i, n in enumerate(farm.nodes.values()) if i == first.node)
        await expect(page.locator("#timeline-now")).to_contain_text(
            f"Frame {first.frame} on {name}"
        )
        await page.keyboard.press("+")
        await page.keyboard.press("Enter")
        await expect(page.locator(".frame-panel h2")).to_have_text(f"Frame {first.frame}")
        await page.get_by_text("As a table").click()
        rows = page.get_by_role("table", name="All tries, newest first").locator("tbody tr")
        await expect(rows).to_have_count(200)
        await page.get_by_role("button", name="Show more tries").click()
        await expect(rows).to_have_count(400)


async def test_the_chart_of_the_load_reads_as_a_table():
    async with visit(large_farm()) as seen:
        page = seen.page
        await expect(page.get_by_role("img", name="Load of the farm")).to_be_visible()
        await page.get_by_text("As a table").click()
        rows = page.get_by_role("table", name="Every 5 minutes").locator("tbody tr")
        await expect(rows).to_have_count(12)


async def test_files_are_searched():
    async with visit(large_farm(), where="#/jobs/job0001/files") as seen:
        page = seen.page
        await expect(page.get_by_role("tabpanel")).to_contain_text("2 files")
        await page.get_by_label("Search files").fill("SHOT blend")
        await expect(page.get_by_role("tabpanel")).to_contain_text("1 file,")
        await expect(page.locator("td.path")).to_have_text("scene/shot.blend")


async def test_what_needs_a_person_stands_first_with_what_mends_it():
    async with visit(large_farm()) as seen:
        items = seen.page.locator(".attention-list li")
        await expect(items).to_have_count(4)
        choose = items.last.get_by_role("link", name="Choose nodes")
        await expect(choose).to_be_visible()
        retry = items.filter(has_text="Feature film").get_by_role("button")
        await expect(retry).to_have_text("Retry 30")
        await expect(items.nth(2)).to_contain_text("went away while it rendered frame 6003")
        await choose.click()
        await expect(seen.page.get_by_role("tab", name="Nodes")).to_have_attribute(
            "aria-selected", "true"
        )
