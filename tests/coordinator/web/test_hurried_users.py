"""What people do who do not wait: other tabs, other links, restarts in between, double clicks."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect
from rendermill.coordinator.identity.roles import Role
from rendermill.protocol.messages import Assign, FrameStarted, LogLines
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobDetail, JobPage
from rendermill.wire.connection import FarmConnection

from .browser import NEEDS_CHROMIUM, opened, refused, seated
from .conftest import PATIENT

pytestmark = NEEDS_CHROMIUM

NO_ANSWER = "Failed to load resource: net::ERR_"


async def test_the_link_works_where_the_page_is_open_already(coordinator: Any, scene: Any) -> None:
    looker = await coordinator.tokens.issue("a wall", Role.VIEW)
    async with opened() as seat:
        seat.expected.append(refused(401))
        page = seat.page
        await page.goto(coordinator.url)
        await expect(page.get_by_label("Token")).to_be_visible()

        async def follow(token: str) -> None:
            await page.evaluate("where => { location.hash = where }", f"#token={token}&to=/nodes")

        await follow("wrong")
        await expect(page.get_by_role("alert")).to_contain_text("not known here")
        assert "wrong" not in page.url
        await follow(looker)
        await expect(page.locator(".account-name")).to_have_text("a wall")
        await expect(page.get_by_role("heading", name="Nodes", exact=True)).to_be_visible()
        # And another person's over it: what is on the page is what that one may do.
        await expect(page.get_by_role("link", name="Submit", exact=True)).to_be_hidden()
        await follow(coordinator.token)
        await expect(page.get_by_role("link", name="Submit", exact=True)).to_be_visible()
        await expect(page.locator(".connection[data-state=live]")).to_be_visible()
        assert coordinator.token not in page.url
        assert seat.unexpected == []


async def test_a_log_that_was_narrowed_is_whole_again_by_its_link(
    coordinator: Any, farm: Any, make_node: Any
) -> None:
    one, two = make_node(farm, 1), make_node(farm, 2)
    async with one.connected(name="one"), two.connected(name="two"):
        await one.send(LogLines(lines=("of one",)))
        await two.send(LogLines(lines=("of two",)))
        async with seated(coordinator.url, coordinator.token, where="/logs") as seat:
            page = seat.page
            lines = page.locator(".log-line .log-text")
            choice = page.get_by_label("Node", exact=True)
            await expect(lines).to_have_count(2)
            await choice.select_option(one.node)
            await expect(lines).to_have_text(["of one"])
            await page.get_by_role("link", name="Logs", exact=True).click()
            await expect(lines).to_have_count(2)
            await expect(choice).to_have_value("")
            # Back to what was looked at before, and it is what the address says.
            await page.go_back()
            await expect(lines).to_have_text(["of one"])
            await expect(choice).to_have_value(one.node)


async def test_what_was_opened_while_nobody_answered_comes_when_somebody_does(
    start: Any, scene: Any, make_node: Any
) -> None:
    first = await start(config=PATIENT)
    port = int(first.credentials.url.rsplit(":", 1)[1])
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-9")
        await shot.upload(farm)
        job = await shot.submit(farm)
        async with make_node(farm).connected() as node:
            await node.send(LogLines(lines=("before",)))
            await node.render(lambda: len(node.accepted) == 2)
        done = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job.counts.done
    async with seated(first.url, first.token, expected=(NO_ANSWER,)) as seat:
        page = seat.page
        await expect(page.locator(".job-card")).to_be_visible()
        await first.stop()
        await expect(page.locator(".connection[data-state=lost]")).to_be_visible()
        await page.get_by_role("link", name="shot", exact=True).click()
        problem = page.get_by_role("alert").filter(has_text="does not answer")
        await expect(problem.first).to_be_visible()
        await start(port=port, config=PATIENT)
        await expect(page.locator(".tile")).to_have_count(done)
        await expect(problem).to_have_count(0)
        await expect(page.locator(".state-filter")).to_contain_text(f"{done} done")
        assert page.url.endswith(job.id)


async def test_a_log_opened_while_nobody_answered_comes_when_somebody_does(
    start: Any, make_node: Any
) -> None:
    first = await start(config=PATIENT)
    port = int(first.credentials.url.rsplit(":", 1)[1])
    async with FarmConnection(first.credentials) as farm, make_node(farm).connected() as node:
        await node.send(LogLines(lines=("before",)))
        async with seated(first.url, first.token, where="/logs") as seat:
            await expect(seat.page.locator(".log-line")).to_have_count(1)
    async with seated(first.url, first.token, expected=(NO_ANSWER,)) as seat:
        page = seat.page
        await first.stop()
        await expect(page.locator(".connection[data-state=lost]")).to_be_visible()
        await page.get_by_role("link", name="Logs", exact=True).click()
        await expect(page.locator(".log-panel")).to_contain_text("does not answer")
        await start(port=port, config=PATIENT)
        await expect(page.locator(".log-line")).to_contain_text(["before"])


async def test_a_job_removed_in_another_tab_says_so_and_leads_back(
    coordinator: Any, farm: Any, scene: Any
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    where = f"/jobs/{job.id}"
    async with seated(coordinator.url, coordinator.token, where=f"{where}/frames/2") as seat:
        page = seat.page
        await expect(page.locator(".frame-panel h2")).to_have_text("Frame 2")
        other = await seat.context.new_page()
        await other.goto(f"{coordinator.url}/#{where}")
        await other.get_by_role("button", name="Cancel").click()
        await other.get_by_role("button", name="Cancel the job").click()
        # The first tab asks about the same job, which goes while the question stands there.
        await page.get_by_role("button", name="Remove").click()
        await other.get_by_role("button", name="Remove").click()
        await other.get_by_role("button", name="Remove the job").click()
        await expect(other.get_by_role("heading", name="No jobs yet")).to_be_visible()
        await expect(page.locator(".frame-panel")).to_be_hidden()
        await page.get_by_role("button", name="Remove the job").click()
        await expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
        # Back to its address: it is not there, and nothing else of it.
        await page.evaluate("where => { location.hash = where }", f"#{where}")
        await expect(page.get_by_role("alert").first).to_contain_text("There is no job")
        await expect(page.get_by_role("tab").first).to_be_hidden()
        await page.get_by_role("link", name="All jobs").click()
        await expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
        seat.expected.append(refused(404))


async def test_what_is_clicked_twice_happens_once(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        async with seated(
            coordinator.url, coordinator.token, where=f"/jobs/{job.id}/frames/2"
        ) as seat:
            page = seat.page
            # A line on which every answer takes its time.
            line = await seat.context.new_cdp_session(page)
            await line.send(
                "Network.emulateNetworkConditions",
                {
                    "offline": False,
                    "latency": 300,
                    "downloadThroughput": 50_000,
                    "uploadThroughput": 50_000,
                },
            )
            await page.get_by_role("button", name="Render this frame again").dblclick()
            ref = (await node.receive_a(Assign)).frames[0]
            assert (ref.frame, ref.generation) == (2, 2)
            await node.send(FrameStarted(frame=ref))
            await expect(page.locator(".state-filter")).to_contain_text("1 rendering")
            await page.get_by_role("button", name="Cancel").dblclick()
            await expect(page.get_by_role("dialog")).to_have_count(1)
            await page.get_by_role("button", name="Cancel the job").dblclick()
            await expect(page.locator(".job-head .pill")).to_have_text("Cancelled")
            view = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
            # The picture that was there before is kept.
            assert (view.state, view.counts.done) == (JobState.CANCELLED, 3)
            await expect(page.get_by_role("alert").filter(has_text="already")).to_have_count(0)
    assert len((await farm.get("/api/v1/jobs", JobPage)).jobs) == 1


async def test_a_token_revoked_in_the_middle_of_a_question_ends_at_the_sign_in(
    coordinator: Any, farm: Any, scene: Any
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    token = await coordinator.tokens.issue("a laptop", Role.ADMIN)
    member = coordinator.tokens.check(token)
    async with seated(
        coordinator.url, token, where=f"/jobs/{job.id}", expected=(refused(401),)
    ) as seat:
        page = seat.page
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await coordinator.tokens.revoke(member.id)
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_role("heading", name="Sign in to the farm")).to_be_visible()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        # Whoever comes in again is where they were.
        await page.get_by_label("Token").fill(coordinator.token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".job-head .pill")).to_have_text("Queued")


@pytest.mark.parametrize("where", ["/jobs/%E0%A4%A", "/nodes/nobody", "/nonsense/7", "/logs/job"])
async def test_an_address_that_names_nothing_is_a_page_all_the_same(
    coordinator: Any, where: str
) -> None:
    async with seated(
        coordinator.url, coordinator.token, where=where, expected=(refused(404),)
    ) as seat:
        await expect(seat.page.locator("main")).not_to_be_empty()
        await seat.page.get_by_role("link", name="Jobs", exact=True).click()
        await expect(seat.page.get_by_role("heading", name="No jobs yet")).to_be_visible()


async def test_whoever_may_only_look_finds_nothing_to_press(
    coordinator: Any, farm: Any, scene: Any, make_node: Any
) -> None:
    shot = scene("1-3")
    await shot.upload(farm)
    job = await shot.submit(farm)
    token = await coordinator.tokens.issue("a wall", Role.VIEW)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        async with seated(coordinator.url, token, where=f"/jobs/{job.id}/nodes") as seat:
            page = seat.page
            panel = page.get_by_role("tabpanel")
            await expect(panel.get_by_label("Only these")).to_be_disabled()
            await expect(panel.get_by_label("Tags a node must have")).to_be_disabled()
            await expect(panel.get_by_role("button")).to_have_count(0)
            await page.evaluate("() => { location.hash = '#/submit' }")
            await expect(page.locator("main")).to_contain_text("not submit to it")
            await expect(page.locator(".drop")).to_be_hidden()
            await expect(page.locator("main").get_by_role("button")).to_have_count(0)
            # What the page does not offer is refused to whoever asks without it.
            answers = await page.evaluate(
                """async ([job, node]) => {
                  const asked = [];
                  const ask = async (method, path, body) => {
                    const headers = { "Content-Type": "application/json" };
                    const options = { method, headers, body: JSON.stringify(body ?? {}) };
                    asked.push((await fetch(`/api/v1${path}`, options)).status);
                  };
                  for (const verb of ["pause", "resume", "cancel", "retry", "approve", "reject"]) {
                    await ask("POST", `/jobs/${job}/${verb}`);
                  }
                  await ask("PATCH", `/jobs/${job}`, { priority: 90 });
                  await ask("DELETE", `/jobs/${job}`);
                  for (const verb of ["drain", "disable", "enable", "forgive"]) {
                    await ask("POST", `/nodes/${node}/${verb}`);
                  }
                  await ask("PATCH", `/nodes/${node}`, { tags: ["mine"] });
                  await ask("POST", "/drafts", { files: [], blend: "" });
                  await ask("POST", "/blobs/missing", { blobs: [] });
                  await ask("POST", "/jobs");
                  return asked;
                }""",
                [job.id, node.node],
            )
            assert answers == [403] * 16
            seat.expected.append(refused(403))
