from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from rendermill.addon.client.sent_jobs import remember_sent
from rendermill.commands.exit_codes import ExitCode
from rendermill.commands.printing import counted
from rendermill.protocol.codec import from_plain
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobPage, JobView, NodePage
from rendermill.wire.credentials import write_local

from ..coordinator.conftest import make_scene, picture


async def send(farm, name="shot", out="/home/ada/out") -> JobView:
    scene = make_scene("1-3", name=name)
    outputs = (replace(scene.spec.outputs[0], folder=str(out)),)
    scene.spec = replace(scene.spec, outputs=outputs)
    await scene.upload(farm)
    job = await scene.submit(farm)
    # As `submit` does: into which folders its frames go is for this machine to know.
    remember_sent(job.id, (await farm.health()).farm_id, scene.spec)
    return job


def test_things_are_counted_as_people_say_it():
    assert [counted(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


async def test_an_empty_farm(coordinator, rendermill):
    assert "rendermill submit" in (await rendermill("jobs")).out
    assert "rendermill node" in (await rendermill("nodes")).out


async def test_lists_for_people_and_for_scripts(coordinator, farm, make_node, rendermill):
    job = await send(farm, "a [red]name")
    async with make_node(farm).attended():
        ran = await rendermill("jobs")
        assert ran.code == ExitCode.DONE
        assert job.id in ran.out
        assert "a [red]name" in ran.out
        assert "\x1b" not in ran.out
        ran = await rendermill("jobs", "--json")
        assert ran.out.count("\n") == 1
        assert from_plain(json.loads(ran.out), JobPage).jobs[0].id == job.id
        ran = await rendermill("nodes", "--json")
        assert from_plain(json.loads(ran.out), NodePage).nodes[0].name == "box"
        assert "4.5.15" in (await rendermill("nodes")).out
        ran = await rendermill("job", job.id, "--json")
        plain = json.loads(ran.out)
        assert plain["job"]["id"] == job.id
        assert [frame["frame"] for frame in plain["frames"]] == [1, 2, 3]
        shown = (await rendermill("job", job.id)).out
        assert "\n\nScene, CYCLES on cpu, 8x6 PNG, " in shown
        assert json.loads((await rendermill("jobs", "--state", "done", "--json")).out)["jobs"] == []


async def test_acting_on_a_job(coordinator, farm, rendermill):
    job = await send(farm)
    assert "is paused" in (await rendermill("pause", job.id)).out
    assert "is queued" in (await rendermill("resume", job.id)).out
    ran = await rendermill("cancel", job.id, "--json")
    assert from_plain(json.loads(ran.out), JobView).state is JobState.CANCELLED
    assert "0 of 3 frames" in (await rendermill("retry", job.id, "--frames", "2")).out
    assert (await rendermill("retry", job.id, "--frames", "2-")).code == ExitCode.USAGE
    assert (await rendermill("pause", "0" * 32)).code == ExitCode.USAGE


async def test_a_wrong_token_is_4(coordinator, rendermill):
    write_local(replace(coordinator.credentials, token="0" * 64))
    assert (await rendermill("jobs")).code == ExitCode.NOT_ALLOWED


async def test_fetch_and_watch(coordinator, farm, make_node, rendermill, tmp_path):
    out = tmp_path / "out"
    job = await send(farm, out=out)
    watch = asyncio.ensure_future(rendermill("watch", job.id))
    fetch = asyncio.ensure_future(rendermill("fetch", job.id, "--json"))
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        ran = await fetch
        assert ran.code == ExitCode.DONE
        plain = json.loads(ran.out)
        assert plain["state"] == "done"
        assert plain["files"] == [str(out / f"f_{n:04d}.png") for n in (1, 2, 3)]
        assert (out / "f_0002.png").read_bytes() == picture(2)
        assert (await watch).code == ExitCode.DONE
        ran = await rendermill("fetch", job.id, "--output", tmp_path / "other")
        assert "3 of 3 frames here" in ran.out
        assert "100%" in ran.err


async def test_a_cancelled_job_is_1(coordinator, farm, rendermill):
    job = await send(farm)
    await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    assert (await rendermill("fetch", job.id)).code == ExitCode.FAILED
    assert (await rendermill("watch", job.id)).code == ExitCode.FAILED


async def test_joining_by_token(coordinator, rendermill, home):
    (home / "config" / "local.json").unlink()
    assert (await rendermill("jobs")).code == ExitCode.NO_COORDINATOR
    ran = await rendermill(
        "join", coordinator.join_token, "--address", coordinator.url, "--name", "laptop"
    )
    assert ran.code == ExitCode.DONE, ran.err
    assert (await rendermill("jobs")).code == ExitCode.DONE
