"""What goes wrong is said in one sentence, blamed on the right thing, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rendermill.node.blender import sandbox
from rendermill.node.blender import session as session_module
from rendermill.node.blender.attempt import AttemptAborted, AttemptFailed
from rendermill.protocol.job import Device, FrameImage, Limits, OutputRoot, Requirements
from rendermill.protocol.messages import FailureKind

LARGE = FrameImage(width=256, height=256, file_format="PNG")
PATIENCE = 120.0
"""Seconds after which a test gives up on something that must happen."""


class Rendering:
    """A frame being rendered that will not end by itself."""

    def __init__(self, session, scratch: Path) -> None:
        self.started = asyncio.Event()
        self.task = asyncio.create_task(
            session.render(1, scratch / "endless", lambda *_: self.started.set())
        )

    async def failure(self) -> AttemptFailed:
        with pytest.raises(AttemptFailed) as caught:
            await asyncio.wait_for(self.task, PATIENCE)
        return caught.value


async def begin(session, studio, tmp_path: Path, **changes: object) -> Rendering:
    await session.start(studio.info)
    spec = studio.spec("endless", image=LARGE, **changes)
    await session.open(spec, studio.workspace("endless", tmp_path))
    rendering = Rendering(session, tmp_path / "scratch")
    await asyncio.wait_for(rendering.started.wait(), PATIENCE)
    return rendering


async def spy_on(session, studio, tmp_path: Path, frame: int):
    """Render a frame of the scene whose trusted script looks around and starts a process."""
    await session.start(studio.info)
    spec = studio.spec("spy", trust_scripts=True)
    workspace = studio.workspace("spy", tmp_path)
    await session.open(spec, workspace)
    return await session.render(frame, tmp_path / "scratch" / f"spy-{frame}")


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; in a container nobody may ever collect its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def seen(tmp_path: Path) -> dict[str, object]:
    return json.loads((tmp_path / "scratch" / "tmp" / "seen.json").read_text())


# --- the scene ---------------------------------------------------------------------------------


async def test_blocked_driver_and_missing_texture_are_said(any_studio, make_session, tmp_path):
    session = make_session()
    await session.start(any_studio.info)
    spec = any_studio.spec("troubled")
    report = await session.open(spec, any_studio.workspace("troubled", tmp_path))
    assert any("gone.png" in warning and "magenta" in warning for warning in report.warnings)
    rendered = await session.render(1, tmp_path / "scratch" / "1")
    assert any("gone.png" in warning for warning in rendered.warnings)
    assert any("__import__" in warning and "not run" in warning for warning in rendered.warnings)


async def test_a_scene_that_does_not_render(any_studio, make_session, tmp_path):
    session = make_session()
    await session.start(any_studio.info)
    await session.open(any_studio.spec("blind"), any_studio.workspace("blind", tmp_path))
    with pytest.raises(AttemptFailed, match="camera") as caught:
        await session.render(1, tmp_path / "scratch" / "1")
    assert caught.value.kind is FailureKind.SCENE
    # The Blender is as good as before.
    await session.open(any_studio.spec("plain"), any_studio.workspace("plain", tmp_path))
    assert (await session.render(1, tmp_path / "scratch" / "2")).files


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"scene": "Other"}, FailureKind.SCENE, 'no scene "Other"'),
        ({"blend": "scene/none.blend"}, FailureKind.NODE, "none.blend"),
        ({"blend": "../../etc/passwd"}, FailureKind.SCENE, "etc/passwd"),
        (
            {"requires": Requirements(blender=(4, 5, 15), engine="BLENDER_WORKBENCH")},
            FailureKind.SCENE,
            "BLENDER_WORKBENCH",
        ),
        (
            {"outputs": (OutputRoot(id="main", label="x", folder="/", name="../../x"),)},
            FailureKind.SCENE,
            "leads out",
        ),
        (
            {"outputs": (OutputRoot(id="out1", label="x", folder="/", node="Gone"),)},
            FailureKind.SCENE,
            '"Gone"',
        ),
    ],
)
async def test_a_job_that_cannot_be(studio, make_session, tmp_path, changes, kind, words):
    session = make_session()
    await session.start(studio.info)
    with pytest.raises(AttemptFailed) as caught:
        await session.open(studio.spec("plain", **changes), studio.workspace("plain", tmp_path))
    assert caught.value.kind is kind
    assert words in caught.value.reason
    assert session.alive


async def test_an_unreadable_blend(any_studio, make_session, tmp_path):
    session = make_session()
    await session.start(any_studio.info)
    workspace = any_studio.workspace("plain", tmp_path)
    (workspace / "scene" / "plain.blend").write_bytes(b"BLENDER-v405 and then nothing")
    with pytest.raises(AttemptFailed, match=r"cannot open plain\.blend") as caught:
        await session.open(any_studio.spec("plain"), workspace)
    assert caught.value.kind is FailureKind.SCENE


async def test_a_gpu_that_is_not_there(studio, make_session, tmp_path):
    session = make_session()
    await session.start(studio.info)
    requires = Requirements(blender=(4, 5, 15), engine="CYCLES", device=Device.GPU)
    with pytest.raises(AttemptFailed, match="GPU") as caught:
        await session.open(
            studio.spec("plain", requires=requires), studio.workspace("plain", tmp_path)
        )
    assert caught.value.kind is FailureKind.NODE


async def test_a_picture_of_another_size(studio, make_session, tmp_path):
    session = make_session()
    await session.start(studio.info)
    image = FrameImage(width=64, height=64, file_format="PNG")
    await session.open(studio.spec("plain", image=image), studio.workspace("plain", tmp_path))
    with pytest.raises(AttemptFailed, match="32 x 18 pixels instead of 64 x 64") as caught:
        await session.render(1, tmp_path / "scratch" / "1")
    assert caught.value.kind is FailureKind.OUTPUT


# --- the process -------------------------------------------------------------------------------


async def test_killed_from_outside(studio, make_session, tmp_path):
    session = make_session()
    rendering = await begin(session, studio, tmp_path)
    os.kill(session.pid, signal.SIGKILL)
    failure = await rendering.failure()
    assert failure.kind is FailureKind.CRASH
    assert "SIGKILL" in failure.reason
    assert not session.alive
    # A new Blender takes over.
    await session.start(studio.info)
    await session.open(studio.spec("plain"), studio.workspace("plain", tmp_path))
    assert (await session.render(1, tmp_path / "scratch" / "1")).files


async def test_a_crash_inside_blender(any_studio, make_session, tmp_path):
    with pytest.raises(AttemptFailed, match="SIGABRT") as caught:
        await spy_on(make_session(), any_studio, tmp_path, frame=99)
    assert caught.value.kind is FailureKind.CRASH


async def test_a_blender_that_stands_still(studio, make_session, tmp_path):
    session = make_session()
    rendering = await begin(session, studio, tmp_path, limits=Limits(silent_seconds=2.0))
    os.kill(session.pid, signal.SIGSTOP)
    failure = await rendering.failure()
    assert failure.kind is FailureKind.HANG
    assert "no sign of life for 2 s" in failure.reason
    assert not session.alive


async def test_a_frame_that_takes_too_long(studio, make_session, tmp_path):
    session = make_session()
    rendering = await begin(session, studio, tmp_path, limits=Limits(frame_seconds=1.0))
    failure = await rendering.failure()
    assert failure.kind is FailureKind.TOO_LONG


async def test_a_memory_limit(studio, make_session, tmp_path):
    session = make_session(memory_bytes=64 << 20)
    await session.start(studio.info)
    spec = studio.spec("endless", image=LARGE)
    workspace = studio.workspace("endless", tmp_path)

    async def open_and_render() -> None:
        await session.open(spec, workspace)
        await session.render(1, tmp_path / "scratch" / "endless")

    with pytest.raises(AttemptFailed, match="64 MiB") as caught:
        await open_and_render()
    assert caught.value.kind is FailureKind.MEMORY
    assert not session.alive


async def test_an_abort_ends_the_whole_tree(studio, make_session, tmp_path):
    session = make_session()
    await spy_on(session, studio, tmp_path, frame=1)
    grandchild = psutil.Process(seen(tmp_path)["child"])
    blender = psutil.Process(session.pid)
    await session.abort()
    assert not session.alive
    assert is_gone(grandchild)
    assert is_gone(blender)


async def test_an_abort_is_told_to_who_waits(studio, make_session, tmp_path):
    session = make_session()
    rendering = await begin(session, studio, tmp_path)
    await session.abort()
    with pytest.raises(AttemptAborted):
        await asyncio.wait_for(rendering.task, PATIENCE)


async def test_a_cancelled_render_ends_blender(studio, make_session, tmp_path):
    session = make_session()
    rendering = await begin(session, studio, tmp_path)
    blender = psutil.Process(session.pid)
    rendering.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering.task
    assert not session.alive
    assert not blender.is_running()


async def test_a_blender_that_does_not_leave(studio, make_session, monkeypatch):
    monkeypatch.setattr(session_module, "CLOSE_SECONDS", 0.2)
    session = make_session()
    await session.start(studio.info)
    blender = psutil.Process(session.pid)
    blender.suspend()
    await session.close()
    assert not session.alive
    assert not blender.is_running()


async def test_an_idle_session_closes_itself(studio, make_session):
    session = make_session(idle_seconds=0.5)
    await session.start(studio.info)
    blender = psutil.Process(session.pid)
    await asyncio.to_thread(blender.wait, PATIENCE)
    # The process is gone a moment before the session has heard of it.
    async with asyncio.timeout(PATIENCE):
        while session.alive:  # noqa: ASYNC110 - a property has no event
            await asyncio.sleep(0.01)


async def test_a_trusted_scene_is_followed_by_a_new_blender(studio, make_session, tmp_path):
    session = make_session()
    await spy_on(session, studio, tmp_path, frame=1)
    before = session.pid
    await session.open(studio.spec("plain"), studio.workspace("plain", tmp_path))
    assert session.pid != before


async def test_a_grown_session_is_restarted(studio, make_session, tmp_path, monkeypatch):
    session = make_session(growth_bytes=4 << 30)
    await session.start(studio.info)
    before = session.pid
    monkeypatch.setattr(session, "_opened_bytes", 1)
    monkeypatch.setattr(type(session), "memory_bytes", property(lambda _: 5 << 30))
    await session.start(studio.info)
    assert session.pid != before


async def test_blender_ends_with_its_node(studio, tmp_path):
    """The node is killed with no chance to clean up; its Blender notices by itself."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from rendermill.node.blender.session import BlenderSession\n"
        "from rendermill.protocol.machine import BlenderInfo\n"
        "async def main():\n"
        "    session = BlenderSession(Path(sys.argv[1]), on_log=lambda lines: None)\n"
        "    info = BlenderInfo(version=(4, 5, 15), path=sys.argv[2], is_module=True)\n"
        "    await session.start(info)\n"
        "    print(session.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    node = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", program, str(tmp_path / "scratch"), studio.info.path],
        stdout=subprocess.PIPE,
        text=True,
    )
    with node:
        line = await asyncio.to_thread(node.stdout.readline)
        blender = psutil.Process(int(line))
        node.kill()
    async with asyncio.timeout(PATIENCE):
        while not is_gone(blender):  # noqa: ASYNC110 - nobody's child any more
            await asyncio.sleep(0.05)


# --- the sandbox -------------------------------------------------------------------------------


async def test_inside_bubblewrap(studio, make_session, tmp_path):
    trial = sandbox.try_levels(Path(studio.info.path), tmp_path / "trial")
    if trial.level != sandbox.BUBBLEWRAP:
        pytest.skip(trial.reason)
    session = make_session(sandbox=trial.level)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (studio.folder / "spy" / "port").write_text(str(server.getsockname()[1]))
        rendered = await spy_on(session, studio, tmp_path, frame=1)
    assert rendered.files
    found = seen(tmp_path)
    assert found["network"] is False
    assert found["passwd"] is False
    assert found["workspace_writable"] is False
    assert not [name for name in found["environment"] if name.startswith("RENDERMILL")]
    children = psutil.Process(session.pid).children(recursive=True)
    await session.abort()
    assert [child for child in children if not is_gone(child)] == []


async def test_without_a_sandbox_the_spy_does_see(studio, make_session, tmp_path):
    """The counter-check: what the sandbox test looks for is really there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (studio.folder / "spy" / "port").write_text(str(server.getsockname()[1]))
        await spy_on(make_session(), studio, tmp_path, frame=1)
    found = seen(tmp_path)
    assert found["network"] is True
    assert found["passwd"] is True
    assert found["workspace_writable"] is True


async def test_rlimits_are_set(studio, make_session):
    if sys.platform != "linux":
        pytest.skip("Limits of another process can only be set on Linux.")
    session = make_session(sandbox=sandbox.RLIMITS)
    await session.start(studio.info)
    limit = psutil.Process(session.pid).rlimit(psutil.RLIMIT_FSIZE)
    assert limit == (sandbox.FILE_MAX_BYTES, sandbox.FILE_MAX_BYTES)
