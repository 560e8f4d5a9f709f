"""The page in a real browser, over views that the real encoder wrote.

Debian's Chromium runs headless; every test ends by asking that no script failed and that the
content security policy was not violated once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, expect
from rendermill.protocol.states import FrameState, JobState, NodeState

from .browser import NEEDS_CHROMIUM, Seat, opened, refused, seated, until
from .served_farm import HOSTILE, TOKEN, ServedFarm, large_farm

pytestmark = NEEDS_CHROMIUM


@asynccontextmanager
async def visit(farm: ServedFarm, *, where: str = "", width: int = 1280) -> AsyncIterator[Seat]:
    """A signed-in page on ``where`` ("#/nodes"), and no complaint of the browser at the end."""
    viewport = {"width": width, "height": 800}
    async with farm.serve() as url, seated(url, TOKEN, viewport=viewport) as seat:
        if where:
            await seat.page.evaluate("where => { location.hash = where }", where)
        yield seat
        assert await seat.page.evaluate("window.hacked") is None


def small_farm() -> ServedFarm:
    farm = ServedFarm()
    node = farm.add_node("atlas", state=NodeState.RENDERING)
    farm.add_job("Shot 1", [FrameState.DONE] * 3 + [FrameState.WAITING] * 3, pictures=True)
    farm.nodes[node] = farm.nodes[node]
    return farm


async def test_the_token_of_the_link_signs_in_and_leaves_the_address():
    async with visit(small_farm()) as seen:
        assert "token" not in seen.page.url
        await expect(seen.page.get_by_role("heading", name="Shot 1")).to_be_visible()
        cookies = await seen.context.cookies()
        assert [cookie.get("httpOnly") for cookie in cookies] == [True]


async def test_a_visitor_without_a_token_gets_the_form_and_a_wrong_token_a_sentence():
    farm = small_farm()
    async with farm.serve() as url, opened() as seat:
        page = seat.page
        await page.goto(url)
        await expect(page.get_by_role("heading", name="Sign in to the farm")).to_be_visible()
        await expect(page.get_by_role("navigation")).to_be_hidden()
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text(
            "This token is not valid here. Copy it again."
        )
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_label("Token").press("Enter")
        await expect(page.get_by_role("heading", name="Shot 1")).to_be_visible()


async def test_the_whole_link_may_be_typed_for_the_token():
    async with small_farm().serve() as url, opened() as seat:
        page = seat.page
        await page.goto(url)
        await page.get_by_label("Token").fill(f" {url}/#token={TOKEN}&to=/nodes ")
        await page.get_by_label("Token").press("Enter")
        await expect(page.get_by_role("heading", name="Shot 1")).to_be_visible()


async def test_names_full_of_html_are_shown_as_they_are_written():
    async with visit(large_farm()) as seen:
        page = seen.page
        await expect(page.locator(".job-title a").first).to_have_text(f"Shot 042 {HOSTILE}")
        for where in ("#/nodes", "#/jobs/job0001/frames/30", "#/jobs/job0001"):
            await page.evaluate("where => { location.hash = where }", where)
            await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        for tab, text in (("Files", HOSTILE), ("Script", "<b>not bold</b>")):
            await page.get_by_role("tab", name=tab).click()
            await expect(page.get_by_role("tabpanel")).to_contain_text(text)
        assert await page.locator("main b").count() == 0


async def test_frames_arrive_without_reloading():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        await expect(page.locator(".tile")).to_have_count(3)
        farm.set_frame("job0000", 4, FrameState.DONE, pictures=True)
        await expect(page.locator(".tile")).to_have_count(4)
        await expect(page.locator(".job-head .bar")).to_have_attribute("aria-valuenow", "4")
        await page.evaluate("location.hash = '#/'")
        await expect(page.locator(".job-picture img")).to_have_attribute(
            "src", re.compile("/frames/4/thumbnail")
        )


async def test_the_stream_resumes_after_the_last_event_and_misses_nothing():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        farm.set_frame("job0000", 4, FrameState.LEASED)
        await expect(page.locator(".state-filter")).to_contain_text("1 rendering")
        farm.drop_streams()
        # Told while nobody listens: only a stream that resumes can know of it.
        farm.set_frame("job0000", 4, FrameState.DONE)
        farm.set_frame("job0000", 5, FrameState.FAILED)
        await expect(page.locator(".state-filter")).to_contain_text("1 failed")
        await expect(page.locator(".connection[data-state=live]")).to_be_visible()
        pages = [path for _, path in farm.requests if path.endswith("/frames")]
        assert len(pages) == 1


async def test_a_reset_fetches_everything_again():
    farm = small_farm()
    async with visit(farm) as seen:
        farm.set_job("job0000", name="Renamed in silence")
        await expect(seen.page.get_by_role("heading", name="Renamed in silence")).to_be_visible()
        farm.add_job("Came while away", [FrameState.WAITING] * 2, state=JobState.QUEUED)
        farm.sequence += 5
        farm.forget_events()
        farm.drop_streams()
        await expect(seen.page.get_by_role("heading", name="Came while away")).to_be_visible()


async def test_pause_cancel_and_a_refusal():
    farm = small_farm()
    async with visit(farm) as seen:
        page = seen.page
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert farm.jobs["job0000"].paused
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Keep it").click()
        assert farm.jobs["job0000"].state is JobState.RENDERING
        farm.set_frame("job0000", 5, FrameState.FAILED)
        await page.get_by_role("button", name="Retry 1", exact=True).click()
        await expect(page.locator(".notice")).to_contain_text("nothing failed")
        seen.expected.append(refused(409))
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_role("heading", name="Ended 1")).to_be_visible()
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("button", name="Remove the job").click()
        await expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
        assert farm.jobs == {}


async def test_an_answer_that_comes_late_does_not_take_back_what_was_told_since():
    farm = small_farm()
    async with visit(farm) as seen:
        page = seen.page
        farm.answering.clear()
        pause = page.get_by_role("button", name="Pause")
        await pause.click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        farm.set_job("job0000", paused=False)
        await expect(pause).to_be_visible()
        # It waits for its answer, and stands there as one that cannot be pressed.
        await expect(pause).to_be_disabled()
        farm.answering.set()
        await expect(pause).to_be_enabled()
        await expect(page.get_by_role("button", name="Resume")).to_be_hidden()


async def test_the_keyboard_keeps_its_place_when_a_button_did_its_work():
    farm = small_farm()
    async with visit(farm) as seen:
        page = seen.page
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Resume")).to_be_focused()
        await page.get_by_role("button", name="Cancel").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Cancel the job").focus()
        await page.keyboard.press("Enter")
        # The card moved to another part of the page.
        await expect(page.get_by_role("heading", name="Ended 1")).to_be_visible()
        await expect(page.get_by_role("link", name="Shot 1", exact=True)).to_be_focused()


async def test_nothing_is_chosen_before_the_frames_are_there():
    farm = small_farm()
    farm.listing.clear()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        field = page.get_by_role("slider", name="Frames")
        await expect(field).to_be_disabled()
        await field.focus()
        await page.keyboard.press("ArrowRight")
        await page.get_by_role("tab", name="Watch").click()
        scrub = page.get_by_role("slider", name="Frame", exact=True)
        await expect(scrub).to_be_disabled()
        farm.listing.set()
        await expect(scrub).to_be_enabled()
        await page.get_by_role("tab", name="Frames").click()
        await expect(field).to_be_enabled()
        await expect(field).to_have_attribute("aria-valuetext", "No frame chosen")


async def test_a_typed_priority_stays_until_it_is_set():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        await expect(page.get_by_label("Priority")).to_have_value("50")
        await page.get_by_label("Priority").fill("80")
        await page.get_by_role("button", name="Set").focus()
        farm.set_job("job0000", priority=60, name="Told meanwhile")
        await expect(page.get_by_role("heading", name="Told meanwhile")).to_be_visible()
        await expect(page.get_by_label("Priority")).to_have_value("80")
        await page.get_by_role("button", name="Set").click()
        await expect(page.get_by_role("button", name="Set")).to_be_enabled()
        assert farm.jobs["job0000"].priority == 80
        farm.set_job("job0000", priority=30)
        await expect(page.get_by_label("Priority")).to_have_value("30")


async def test_priority_is_set_from_the_job_page():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        await seen.page.get_by_label("Priority").fill("80")
        await seen.page.get_by_label("Priority").press("Enter")
        await expect(seen.page.get_by_role("button", name="Set")).to_be_enabled()
        await seen.page.evaluate("location.hash = '#/'")
        await expect(seen.page.locator(".job-card")).to_contain_text("priority 80")
        assert farm.jobs["job0000"].priority == 80


async def test_ten_thousand_frames_by_keyboard_and_by_mouse():
    farm = large_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        page = seen.page
        field = page.get_by_role("slider", name="Frames")
        await expect(field).to_have_attribute("aria-valuemax", "10000")
        await field.focus()
        await page.keyboard.press("Home")
        await page.keyboard.press("ArrowRight")
        await expect(field).to_have_attribute("aria-valuetext", "Frame 2: done")
        await page.keyboard.press("f")
        failed = min(
            number
            for number, frame in farm.frames["job0000"].items()
            if frame.state is FrameState.FAILED and number > 2
        )
        await expect(page.locator(".frame-panel h2")).to_have_text(f"Frame {failed}")
        await expect(page.locator(".attempt")).to_have_count(4)
        assert page.url.endswith(f"/frames/{failed}")
        await page.keyboard.press("End")
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 10000")
        await field.click(position={"x": 2, "y": 2})
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 1")
        await page.get_by_role("button", name="Close frame").click()
        await expect(page.locator(".frame-panel")).to_be_hidden()


async def test_a_changed_frame_changes_its_cell():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000") as seen:
        await expect(seen.page.locator(".tile")).to_have_count(3)
        before = await cell_colour(seen.page, 5)
        assert before == await cell_colour(seen.page, 4)
        farm.set_frame("job0000", 6, FrameState.FAILED)
        await expect(seen.page.locator(".state-filter")).to_contain_text("1 failed")

        async def is_painted() -> bool:
            return await cell_colour(seen.page, 5) != before

        await until(is_painted)
        assert await cell_colour(seen.page, 4) == before


async def cell_colour(page: Page, index: int) -> list[int]:
    """RGBA of a point near the corner of a cell of the first row."""
    return await page.evaluate(
        """index => {
            const canvas = document.querySelector(".field");
            const size = 40 * devicePixelRatio;
            return [...canvas.getContext("2d").getImageData(index * size + 4, 4, 1, 1).data];
        }""",
        index,
    )


async def test_a_frame_shows_its_picture_files_attempts_and_is_rendered_again():
    farm = small_farm()
    async with visit(farm, where="#/jobs/job0000/frames/2") as seen:
        panel = seen.page.locator(".frame-panel")
        await expect(panel.get_by_role("img")).to_have_js_property("naturalWidth", 320)
        await expect(panel.get_by_role("link", name="shot_0002.png")).to_be_visible()
        await expect(panel.locator(".attempt")).to_contain_text("atlas")
        await panel.get_by_role("button", name="Render this frame again").click()
        await expect(seen.page.locator(".notice")).to_be_visible()
        seen.expected.append(refused(409))
        assert farm.bodies == [{"frames": "2"}]


async def test_nodes_are_filtered():
    async with visit(large_farm(), where="#/nodes") as seen:
        page = seen.page
        await expect(page.locator(".node-card")).to_have_count(200)
        await page.get_by_label("Filter nodes").fill("node-004 optix")
        await expect(page.locator(".node-card")).to_have_count(1)
        await expect(page.locator(".node-card")).to_contain_text("Feature film, reel 3")


async def test_a_node_out_of_sight_is_brought_up_to_date_when_it_is_scrolled_to():
    farm = large_farm()
    ids = list(farm.nodes)
    async with visit(farm, where="#/nodes") as seen:
        page = seen.page
        near = page.locator(f".node-card:has(a[href='#/nodes/{ids[1]}'])")
        far = page.locator(f".node-card:has(a[href='#/nodes/{ids[139]}'])")
        await expect(near).to_contain_text("frame 6002")
        farm.set_node(ids[139], frame=7777)
        farm.set_node(ids[1], frame=6999)
        await expect(near).to_contain_text("frame 6999")
        # Told before, and not drawn: nobody sees it.
        assert "frame 7777" not in (await far.text_content() or "")
        await far.scroll_into_view_if_needed()
        await expect(far).to_contain_text("frame 7777")
        # From now on it is in sight, and live.
        farm.set_node(ids[139], frame=8888)
        await expect(far).to_contain_text("frame 8888")


async def test_nodes_that_need_a_look_come_first_and_states_are_counted_and_chosen():
    farm = large_farm()
    async with visit(farm, where="#/nodes") as seen:
        page = seen.page
        titles = page.locator(".nodes-title")
        await expect(titles).to_have_text(["Need a look 1", "At work or ready 198", "Not in use 1"])
        await expect(page.locator(".node-card").first).to_contain_text("node-199")
        states = page.get_by_role("group", name="Show nodes by state")
        disabled = states.get_by_role("button", name="1 disabled")
        await disabled.click()
        await expect(page.locator(".node-card")).to_have_count(1)
        await expect(page.locator(".node-card .why")).to_contain_text("Its cache disk is full")
        await expect(page.locator(".node-map .dot")).to_have_count(0)
        await disabled.click()
        await expect(page.locator(".node-card")).to_have_count(200)
        await expect(page.locator(".node-map .dot")).to_have_count(200)


async def test_many_nodes_that_went_away_are_one_line_and_a_long_list_is_cut():
    farm = small_farm()
    for number in range(5):
        farm.add_node(f"box-{number}", state=NodeState.OFFLINE, left_job="job0000", left_frame=1)
    for number in range(7):
        farm.add_job(f"Broken {number}", [FrameState.FAILED] * 50)
    async with visit(farm) as seen:
        lines = seen.page.locator(".attention-list li")
        await expect(lines).to_have_count(4)
        await seen.page.get_by_role("button", name="Show 4 more").click()
        await expect(lines).to_have_count(8)
        await expect(lines.last).to_contain_text(
            "5 nodes went away while they rendered: box-0, box-1, box-2 and 2 more."
        )
        await seen.page.get_by_role("button", name="Show fewer").click()
        await expect(lines).to_have_count(4)


async def test_a_job_that_is_not_there_is_said_to_be_missing():
    async with visit(small_farm(), where="#/jobs/nothing") as seen:
        await expect(seen.page.get_by_role("alert")).to_have_text("There is no such job.")
        seen.expected.append(refused(404))


@pytest.mark.parametrize("width", [390, 1280])
async def test_nothing_stands_beyond_the_edge(width: int):
    async with visit(large_farm(), width=width) as seen:
        for where, ready in (
            ("#/", ".load-picture"),
            ("#/nodes", ".node-card"),
            ("#/jobs/job0000", ".field"),
            ("#/jobs/job0001/frames/3", ".tile"),
            ("#/jobs/job0001/watch", ".player-picture"),
            ("#/jobs/job0001/times", ".chart-table td"),
            ("#/jobs/job0001/timeline", ".times .chart"),
        ):
            await seen.page.evaluate("where => { location.hash = where }", where)
            await expect(seen.page.locator(ready).first).to_be_visible()
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width


async def test_every_control_has_a_name():
    async with visit(large_farm()) as seen:
        for where in ("#/", "#/nodes", "#/jobs/job0001/frames/3"):
            await seen.page.evaluate("where => { location.hash = where }", where)
            await expect(seen.page.locator("main .card:visible").first).to_be_visible()
            tree = await seen.page.locator("body").aria_snapshot()
            nameless = [
                line
                for line in tree.splitlines()
                if re.fullmatch(r"\s*- (button|link|textbox|searchbox|slider|tab)", line)
            ]
            assert nameless == []
