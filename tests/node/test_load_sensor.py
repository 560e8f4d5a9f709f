"""What the processors of this machine do for others, and what for the node itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
from rendermill.node import attendance
from rendermill.node.attendance import LOAD_SECONDS, LoadSensor

BURNED_SECONDS = 0.5
PATIENCE_SECONDS = 300.0
BURN = "while True: pass"
IDLE = "import sys; sys.stdin.read()"


@pytest.fixture
def start() -> Iterator[object]:
    """Start a Python that runs a line, gone after the test."""
    running: list[subprocess.Popen[bytes]] = []

    def run(line: str) -> psutil.Process:
        process = subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE)
        running.append(process)
        return psutil.Process(process.pid)

    yield run
    for process in running:
        process.kill()
        process.communicate()


def wait_until_burned(process: psutil.Process, seconds: float) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while sum(process.cpu_times()[:2]) < seconds:
        assert time.monotonic() < end, "a process that does nothing but work gets no processor"
        time.sleep(0.01)


def test_what_the_own_tree_uses_is_not_the_load_of_others(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both look at one and the same moment, whatever else this machine does.
    moment = [0.0]
    monkeypatch.setattr(attendance, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    frozen = [attendance._processor_seconds()]
    measure = attendance._processor_seconds
    monkeypatch.setattr(attendance, "_processor_seconds", lambda: frozen[0])
    burner, stranger = start(BURN), start(IDLE)
    node, beside = LoadSensor(), LoadSensor(stranger.pid)
    assert node.look() is None
    assert beside.look() is None
    begun = sum(burner.cpu_times()[:2])

    monkeypatch.undo()
    wait_until_burned(burner, begun + BURNED_SECONDS)
    frozen[0] = measure()
    monkeypatch.setattr(attendance, "_processor_seconds", lambda: frozen[0])
    moment[0] = LOAD_SECONDS
    monkeypatch.setattr(attendance, "time", SimpleNamespace(monotonic=lambda: moment[0]))

    of_others, of_all = node.look(), beside.look()
    assert of_others is not None
    assert of_all is not None
    assert 0.0 <= of_others < of_all <= 1.0


def test_between_two_looks_the_mean_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    moment, processors = [0.0], [(100.0, 10.0)]
    monkeypatch.setattr(attendance, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    monkeypatch.setattr(attendance, "_processor_seconds", lambda: processors[0])
    monkeypatch.setattr(LoadSensor, "_own_seconds", lambda _: 2.0)
    sensor = LoadSensor()
    assert sensor.look() is None
    moment[0], processors[0] = LOAD_SECONDS, (110.0, 17.0)
    first = sensor.look()
    # Seven of ten seconds were worked, two of them for the node.
    assert first == pytest.approx(0.5)
    moment[0], processors[0] = LOAD_SECONDS + 0.1, (111.0, 18.0)
    assert sensor.look() == first
