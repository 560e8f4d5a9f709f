"""Commands that are ended from outside: nothing they started stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

WRAPPER = """
import signal, sys
# A shell that starts its tests in the background lets them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from rendermill.commands.demo import run_to_its_end
sys.exit(run_to_its_end([sys.executable, "-c", sys.argv[1]]))
"""

CHILD = """
import signal, sys, time
from pathlib import Path
def end(number, frame):
    raise KeyboardInterrupt
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
try:
    Path({ready!r}).write_text("")
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1.0)  # Longer than the quarter of a second that `subprocess.run` would give.
    Path({cleaned!r}).write_text("")
    sys.exit(130)
"""

SLOW_PACKING = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from rendermill.commands import session
from rendermill.commands.packing import _run
async def work():
    await _run(["sleep", "600"], Path(sys.argv[1]))
from rendermill.commands import main
from rendermill.commands import jobs
jobs.run = lambda args: session.run_async(work())
sys.exit(main(["jobs"]))
"""


def wait_for(is_so) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; in a container nobody may ever collect the exit code of one that ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_begun(process: psutil.Process) -> bool:
    """Whether it is the program that was wanted, and no more the one that started it."""
    try:
        return process.name() == "sleep"
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_may_clean_up(tmp_path: Path, number: signal.Signals) -> None:
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    child = CHILD.format(ready=str(ready), cleaned=str(cleaned))
    command = [sys.executable, "-c", WRAPPER, child]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            wait_for(ready.exists)
            if number is signal.SIGINT:
                os.killpg(process.pid, number)  # As a terminal does.
            else:
                process.send_signal(number)
            assert process.wait(120) == 130
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert cleaned.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_blender_is_left_behind_by_a_packing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SLOW_PACKING, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            tree = psutil.Process(process.pid)
            wait_for(lambda: any(map(has_begun, tree.children())))
            children = tree.children()
            process.send_signal(number)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.decode().strip() == "rendermill: Interrupted."
    wait_for(lambda: not [child for child in children if is_alive(child)])
