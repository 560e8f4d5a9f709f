"""The coordinator as people run it: a process, killed in the midst, started again, told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rendermill.protocol.states import FrameState, JobState
from rendermill.protocol.views import FramePage, JobDetail, JobPage
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials, JoinToken, load_local
from rendermill.wire.errors import FarmError, Unreachable

START_SECONDS = 300
"""A cold start on a busy machine."""


@dataclass
class Running:
    process: asyncio.subprocess.Process
    line: dict[str, str]

    @property
    def credentials(self) -> Credentials:
        token = self.line["sign_in"].partition("#token=")[2]
        fingerprint = JoinToken.parse(self.line["join"]).fingerprint
        return Credentials(
            self.line["url"], token, fingerprint, self.line["farm"], self.line["farm_id"]
        )


@contextlib.asynccontextmanager
async def command(data: Path, home: Path, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rendermill",
        "coordinator",
        "--data",
        str(data),
        "--json",
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"RENDERMILL_HOME": str(home)},
        cwd=home.parent,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def running(data: Path, home: Path, *more: str) -> AsyncIterator[Running]:
    arguments = more or ("--host", "127.0.0.1", "--port", "0")
    async with command(data, home, *arguments) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        assert line, (await process.communicate())[1].decode()
        yield Running(process, json.loads(line))


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


async def test_killed_in_the_midst_of_commits(data, home, scene, make_node, paint):
    """Whatever was acknowledged is there after kill -9, each frame once, at every kill."""
    frames, job_id, accepted = 120, "", set()
    shot = scene(f"1-{frames}")
    rendered_again: set[int] = set()
    for incarnation in range(1, 6):
        async with running(data, home) as coordinator:
            async with FarmConnection(coordinator.credentials, patience_seconds=0) as farm:
                if not job_id:
                    await shot.upload(farm)
                    job_id = (await shot.submit(farm, "the one")).id
                done = await frames_done(farm, job_id)
                assert accepted <= done, "an acknowledged frame is gone"
                node = make_node(farm, incarnation=f"run {incarnation}")
                goal = len(done) + frames // 6

                enough = asyncio.Event()

                def never(node=node, done=done, goal=goal, enough=enough) -> bool:
                    if len(done) + len(node.accepted) >= goal:
                        enough.set()
                    return False

                async with node.connected():
                    # It goes on rendering while the blow falls: results sent, commits under way.
                    busy = asyncio.create_task(node.render(never))
                    await asyncio.wait_for(enough.wait(), 120)
                    coordinator.process.kill()
                    with contextlib.suppress(FarmError, AssertionError, ConnectionError, OSError):
                        await asyncio.wait_for(busy, 60)
                rendered_again |= done & {ref.frame for ref in node.rendered}
                accepted |= {ref.frame for ref in node.accepted}
            await coordinator.process.wait()
    async with (
        running(data, home) as coordinator,
        FarmConnection(coordinator.credentials) as farm,
    ):
        done = await frames_done(farm, job_id)
        assert accepted <= done
        node = make_node(farm, incarnation="last")
        async with node.connected():
            await node.render(lambda: len(done) + len(node.accepted) == frames)
        detail = await farm.get(f"/api/v1/jobs/{job_id}", JobDetail)
        assert detail.job.state is JobState.DONE
        assert detail.job.counts.done == frames
        assert (await shot.submit(farm, "the one")).id == job_id
        page = await farm.get(f"/api/v1/jobs/{job_id}/frames", FramePage, params={"limit": frames})
        for frame in page.frames:
            async with farm.stream("GET", f"/api/v1/blobs/{frame.files[0].sha256}") as got:
                assert await got.read() == paint(frame.frame)
    assert not rendered_again, "a finished frame was rendered again"
    for path in (data / "blobs").glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


async def frames_done(farm: FarmConnection, job: str) -> set[int]:
    page = await farm.get(
        f"/api/v1/jobs/{job}/frames", FramePage, params={"state": "done", "limit": 1000}
    )
    assert all(frame.state is FrameState.DONE for frame in page.frames)
    return {frame.frame for frame in page.frames}


async def test_killed_during_an_upload_goes_on_where_it_was(data, home, scene):
    shot = scene(content=os.urandom(3_000_000))
    async with running(data, home) as coordinator:
        async with FarmConnection(coordinator.credentials) as farm:
            await shot.upload(farm)
        coordinator.process.kill()
        await coordinator.process.wait()
    async with (
        running(data, home) as coordinator,
        FarmConnection(coordinator.credentials) as farm,
    ):
        # The process died, the system did not: nothing of the upload is lost.
        await shot.submit(farm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_clean_stop(data, home, number, monkeypatch):
    monkeypatch.setenv("RENDERMILL_HOME", str(home))
    async with running(data, home) as coordinator:
        local = load_local()
        assert local == coordinator.credentials
        assert (home / "config" / "local.json").stat().st_mode & 0o777 == 0o600
        async with FarmConnection(local) as farm:
            # A follower and a keep-alive connection must not hold it back.
            events = farm.events()
            waiting = asyncio.ensure_future(anext(events))
            await farm.get("/api/v1/jobs", JobPage)
            coordinator.process.send_signal(number)
            assert await asyncio.wait_for(coordinator.process.wait(), 60) == 0
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await events.aclose()
    assert load_local() is None


async def test_a_second_one_on_the_same_folder_is_refused(data, home):
    async with (
        running(data, home) as first,
        command(data, home, "--host", "127.0.0.1", "--port", "0") as second,
    ):
        _, errors = await asyncio.wait_for(second.communicate(), START_SECONDS)
        assert second.returncode == 2
        assert f"process {first.process.pid}" in errors.decode()
        assert "Traceback" not in errors.decode()
        async with FarmConnection(first.credentials) as farm:
            await farm.get("/api/v1/jobs", JobPage)


async def test_a_port_in_use_is_one_sentence(data, home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with command(data, home, "--host", "127.0.0.1", "--port", port) as process:
            _, errors = await asyncio.wait_for(process.communicate(), START_SECONDS)
    assert process.returncode == 2
    assert errors.decode().strip().splitlines() == [
        f"rendermill: Port {port} is in use by another program; stop it, or choose another with "
        "--port."
    ]


async def test_tls_with_the_pinned_certificate(data, home):
    """Every address but loopback is TLS; here loopback is taken for an address like any other."""
    from rendermill.coordinator import app

    local = app.is_loopback
    app.is_loopback = lambda host: False
    try:
        coordinator = await app.start_coordinator(data, announces=False, writes_local=False)
    finally:
        app.is_loopback = local
    try:
        assert coordinator.url.startswith("https://127.0.0.1:")
        assert JoinToken.parse(str(coordinator.join_token)).fingerprint == coordinator.fingerprint
        async with FarmConnection(coordinator.credentials) as farm:
            assert not (await farm.get("/api/v1/jobs", JobPage)).jobs
        from dataclasses import replace

        impostor = replace(coordinator.credentials, fingerprint="00" * 32)
        async with FarmConnection(impostor, patience_seconds=0) as farm:
            with pytest.raises(FarmError):
                await farm.get("/api/v1/jobs", JobPage)
        key = data / "identity" / "certificate.pem"
        assert key.stat().st_mode & 0o777 == 0o600
    finally:
        await coordinator.stop()


async def test_it_is_found_by_zeroconf(start):
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    coordinator = await start(announces=True, name="Atelier")
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    try:
        farm_id = coordinator.credentials.farm_id
        info = AsyncServiceInfo(
            "_rendermill._tcp.local.", f"Atelier {farm_id[:8]}._rendermill._tcp.local."
        )
        assert await info.async_request(zeroconf.zeroconf, 120_000)
        assert info.decoded_properties == {
            "v": "1",
            "id": farm_id,
            "name": "Atelier",
            "fp": "",
            "tls": "0",
        }
        assert info.port == int(coordinator.url.rpartition(":")[2])
        assert info.parsed_addresses() == ["127.0.0.1"]
    finally:
        await zeroconf.async_close()


async def test_when_the_disk_fails_it_accepts_nothing_more(start, scene):
    coordinator = await start()
    async with FarmConnection(coordinator.credentials, patience_seconds=0) as farm:
        shot = scene()
        await shot.upload(farm)
        # What a file system looks like that the kernel has made read-only.
        with coordinator.store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=1")
        with pytest.raises((Unreachable, FarmError), match="accepts nothing more"):
            await shot.submit(farm)
        assert "accepts nothing more" in await asyncio.wait_for(coordinator.failed, 60)
        with pytest.raises(FarmError, match="accepts nothing more"):
            await shot.submit(farm)


async def test_blobs_of_deleted_jobs_are_collected(start, scene, make_node, data):
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        kept, gone = scene("1", content=b"kept"), scene("1", content=b"gone")
        jobs = []
        for shot in (kept, gone):
            await shot.upload(farm)
            jobs.append(await shot.submit(farm))
        node = make_node(farm)
        async with node.connected():
            await node.render(lambda: len(node.accepted) == 2)
        path = f"/api/v1/jobs/{jobs[1].id}"
        await farm.delete(path)
        # Within the grace period nothing goes; after it only what nobody needs.
        assert (await coordinator.collector.collect(3600.0)).blobs == 0
        collected = await coordinator.collector.collect(-3600.0)
        lost = set(gone.chunks) - set(kept.chunks) | {hashlib.sha256(gone.manifest).hexdigest()}
        assert collected.blobs == len(lost)
        blobs = coordinator.store.blobs
        assert set(blobs.missing(lost)) == lost
        assert blobs.missing([*kept.chunks, hashlib.sha256(kept.manifest).hexdigest()]) == []
        assert await frames_done(farm, jobs[0].id) == {1}
