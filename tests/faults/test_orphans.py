"""What a node that is killed leaves behind: no process, and no file once it has started again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, wait_until


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; in a container nobody may collect its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_gone(processes: list[psutil.Process]) -> None:
    wait_until(
        lambda: all(map(is_gone, processes)),
        lambda: f"gone: {[p for p in processes if not is_gone(p)]}",
    )


def test_a_node_killed_in_a_render_takes_its_blender_along(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    farm.start("one")
    job = farm.submit(scene, "1-4")
    wait_until(
        lambda: any(frame["progress"] > 0 for frame in farm.frames(job)), "a frame makes progress"
    )
    left = farm.blenders("one")
    assert left
    farm.kill("one")
    wait_gone(left)
    # Half-made pictures, trees of scenes and bytes under way: gone with the next start.
    farm.start_node("one")
    farm.wait_ready("one")
    farm.wait_done(job)
    farm.check(seen=seen)
    scratch = farm.folder / "one" / "scratch"
    assert [entry.name for entry in (scratch / "blender" / "frames").glob("*")] == []
    cache = farm.home / "cache" / "scenes"
    for folder in ("trees", "uses", "incoming"):
        assert [entry.name for entry in (cache / folder).iterdir()] == [], folder


PROBING = """
import asyncio, sys
from pathlib import Path
from rendermill.node.blender import throwaway
from rendermill.node.blender.probe import examine
from rendermill.node.blender.find import candidate_at

async def main():
    await examine(candidate_at(Path(sys.argv[1])), Path(sys.argv[2]))

asyncio.run(main())
"""


def test_a_node_killed_in_a_probe_takes_the_probe_along(tmp_path: Path) -> None:
    probes: list[psutil.Process] = []
    # On a busy machine a probe may be over before it is seen: then there is another.
    while not probes:
        node = subprocess.Popen(
            [sys.executable, "-c", PROBING, sys.executable, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

        def probes_run(node: subprocess.Popen[bytes] = node) -> bool:
            # Not yet waited for, it still has its number, whether it runs or not.
            probes[:] = psutil.Process(node.pid).children(recursive=True)
            return bool(probes) or node.poll() is not None

        with node:
            wait_until(probes_run, "a probe runs")
            node.kill()
    wait_gone(probes)


WAITS_FOR_EVER = "def main(params):\n    import time\n    time.sleep(3600)\n    return 0\n"

ONE_TASK = """
import asyncio, sys
from pathlib import Path
from rendermill.node.blender import script, throwaway

script.module_source = lambda name: sys.argv[3]
if sys.argv[4] == "without the kernel":
    import os
    os.getpid = lambda: 0

async def main():
    folder = throwaway.make_folder(Path(sys.argv[2]), "task-")
    await throwaway.run_once(
        Path(sys.argv[1]), is_module=True, modules=("waits",), parameters={}, folder=folder,
        scratch=folder.parent, seconds=3600,
    )

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["with the kernel", "without the kernel"])
def test_a_task_that_would_go_on_for_ever_ends_with_its_node(tmp_path: Path, how: str) -> None:
    """On Linux the kernel sees to it; elsewhere, and where it cannot, the end of its input."""
    if how == "with the kernel" and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has died")
    node = subprocess.Popen(
        [sys.executable, "-c", ONE_TASK, sys.executable, str(tmp_path), WAITS_FOR_EVER, how],
        stdin=subprocess.DEVNULL,
    )
    with node:
        tasks: list[psutil.Process] = []

        def task_waits() -> bool:
            assert node.poll() is None
            # What helps to start it comes and goes.
            with contextlib.suppress(psutil.NoSuchProcess):
                tasks[:] = psutil.Process(node.pid).children(recursive=True)
                return any("script.py" in " ".join(task.cmdline()) for task in tasks)
            return False

        wait_until(task_waits, "the task runs")
        if how == "with the kernel":
            # Stopped, it can do nothing itself: only the kernel can end it.
            wait_until(lambda: all(has_asked_kernel(task) for task in tasks), "it is prepared")
            for task in tasks:
                task.suspend()
        node.kill()
    wait_gone(tasks)


def has_asked_kernel(task: psutil.Process) -> bool:
    """Whether the script runs its main part: it then has the thread that waits for the input."""
    return task.num_threads() > 1
