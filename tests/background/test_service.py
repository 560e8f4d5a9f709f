"""Members that run without a terminal: real processes, started, found and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.background import launch, process, service
from rendermill.background.service import Member, ServiceError

PATIENCE_SECONDS = 120
COORDINATOR = ("--host", "127.0.0.1", "--port", "0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of this test alone; nothing runs in it afterwards."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RENDERMILL_INTERFACE", "127.0.0.1")
    yield tmp_path / "home"
    for member in Member:
        service.stop(member, PATIENCE_SECONDS)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any of this."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as running:
        yield running
        running.kill()


def wait_until(true, what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def test_it_starts_is_found_and_stops(home: Path) -> None:
    assert service.status(Member.COORDINATOR) is None
    running = service.start(Member.COORDINATOR, COORDINATOR)
    assert service.status(Member.COORDINATOR) == running
    # Nobody's child: whoever started it may end, or live on and never look at it.
    with pytest.raises(ChildProcessError):
        os.waitpid(running.pid, os.WNOHANG)
    wait_until((home / "config" / "local.json").exists, "the coordinator answers")
    assert service.start(Member.COORDINATOR, COORDINATOR) == running
    assert service.stop(Member.COORDINATOR, PATIENCE_SECONDS)
    assert process.birth(running.pid) != running.born
    assert service.status(Member.COORDINATOR) is None
    assert not service.stop(Member.COORDINATOR)
    # In good order, not by force.
    assert not (home / "config" / "local.json").exists()


def test_one_that_cannot_begin_says_why() -> None:
    with pytest.raises(ServiceError, match=r"The node ended at once\..*'many' is not a number"):
        service.start(Member.NODE, ["--threads", "many"], settle_seconds=120)
    assert service.status(Member.NODE) is None


def test_a_number_that_another_process_has_now_is_left_alone(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    folder = home / "data" / "background"
    folder.mkdir(parents=True)
    record = {
        "member": "node",
        "pid": bystander.pid,
        "born": "as of another process",
        "started": 0.0,
        "words": ["node"],
        "log": "",
    }
    (folder / "node.json").write_text(json.dumps(record))
    assert service.status(Member.NODE) is None
    assert not service.stop(Member.NODE)
    assert not process.tell(bystander.pid, "as of another process", 9)
    assert bystander.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"words": 5}'])
def test_a_damaged_record_is_no_process(home: Path, text: str) -> None:
    folder = home / "data" / "background"
    folder.mkdir(parents=True)
    (folder / "node.json").write_text(text)
    assert service.status(Member.NODE) is None


def test_it_ends_with_the_process_it_was_started_for(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    running = service.start(Member.COORDINATOR, COORDINATOR, until_process_ends=bystander.pid)
    wait_until((home / "config" / "local.json").exists, "the coordinator answers")
    assert service.status(Member.COORDINATOR) == running
    bystander.kill()
    bystander.wait()
    assert process.wait_gone(running.pid, running.born, 120)
    assert not (home / "config" / "local.json").exists()


def test_it_stops_for_the_file_that_windows_needs(home: Path) -> None:
    running = service.start(Member.COORDINATOR, COORDINATOR)
    wait_until((home / "config" / "local.json").exists, "the coordinator answers")
    (home / "data" / "background" / "coordinator.stop").write_text("stop\n")
    assert process.wait_gone(running.pid, running.born, 120)


def test_a_process_that_has_ended_and_was_not_collected_is_gone() -> None:
    running = subprocess.Popen([sys.executable, "-c", ""])
    try:
        wait_until(lambda: not process.birth(running.pid), "it counts as gone")
    finally:
        running.wait()


def test_it_runs_from_a_folder_of_any_name(tmp_path: Path) -> None:
    done = subprocess.run(
        launch.command(["--version"]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rendermill ")


def test_another_python_runs_it_with_the_libraries_it_is_shown(home: Path) -> None:
    """As Blender's own does, which has neither Rendermill nor its libraries."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    if not python.exists():
        pytest.skip(f"there is no {python}")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    running = service.start(
        Member.COORDINATOR, COORDINATOR, python=str(python), paths=libraries, settle_seconds=0
    )
    wait_until((home / "config" / "local.json").exists, "the other Python has a coordinator")
    assert service.status(Member.COORDINATOR) == running
