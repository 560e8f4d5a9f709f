"""What a machine says of its user: the answers of each system, and who is believed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from rendermill.node import idle, idle_x11

SESSIONS = """User={uid}
Type=wayland
Class=user
State=active
IdleHint=no
IdleSinceHint=0

User=990
Type=x11
Class=greeter
State=active
IdleHint=no
IdleSinceHint=0

User=4711
Type=x11
Class=user
State=online
IdleHint=yes
IdleSinceHint=1700000000000000
"""


def program(folder: Path, name: str, text: str, code: int = 0) -> None:
    """A program of that name that prints what the real one prints."""
    answer = folder / f"{name}.answer"
    answer.write_text(text)
    path = folder / name
    path.write_text(f'#!/bin/sh\ncat "{answer}"\nexit {code}\n')
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without displays, desktops and terminals; the folder takes its programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "x11").mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    for name in ("busctl", "gdbus", "loginctl"):
        program(programs, name, "", 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(idle, "ANSWER_SECONDS", 120.0)  # However slow this machine is.
    monkeypatch.setattr(idle_x11, "SOCKETS", tmp_path / "x11")
    monkeypatch.setattr(idle, "_TERMINALS", ((str(tmp_path / "pts"), r"\d+"),))
    return programs


def test_a_machine_with_nothing_to_watch_cannot_tell(machine: Path) -> None:
    found = idle.IdleSensor().look()
    assert found.seconds is None
    assert "neither a display nor a terminal" in found.trouble


def test_a_terminal_in_which_nobody_types_grows_idle(machine: Path, tmp_path: Path) -> None:
    terminal = tmp_path / "pts" / "0"
    terminal.parent.mkdir()
    terminal.touch()
    os.utime(terminal, (time.time() - 1000, time.time()))
    sensor = idle.IdleSensor()
    found = sensor.look()
    assert found.sources == ("terminals",)
    assert found.seconds == pytest.approx(1000, abs=120)
    os.utime(terminal)
    after = sensor.look().seconds
    assert after is not None
    assert after < 500


def test_a_clock_that_jumps_sends_nobody_away(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = tmp_path / "pts" / "0"
    terminal.parent.mkdir()
    terminal.touch()
    os.utime(terminal)
    sensor = idle.IdleSensor()
    sensor.look()
    later = time.time() + 86_400
    monkeypatch.setattr(idle.time, "time", lambda: later)
    found = sensor.look().seconds
    assert found is not None
    assert found < 3600


def test_a_display_that_lets_nobody_in_cannot_tell(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    found = idle.IdleSensor().look()
    assert found.seconds is None
    assert "The display :4711 does not answer" in found.trouble


def test_under_wayland_gnome_is_asked(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    program(machine, "busctl", "t 61500\n")
    found = idle.IdleSensor().look()
    assert (found.seconds, found.sources) == (61.5, ("GNOME",))


def test_a_wayland_desktop_that_tells_nobody_cannot_tell(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    # The display that X programs have there sees only their input: it must not be believed.
    monkeypatch.setenv("DISPLAY", ":0")
    found = idle.IdleSensor().look()
    assert found.seconds is None
    assert "Wayland" in found.trouble


def test_a_wayland_session_is_found_by_its_socket(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "wayland-0").touch()
    assert "Wayland" in idle.IdleSensor().look().trouble


def test_a_desktop_that_says_it_to_logind_only(machine: Path) -> None:
    program(machine, "loginctl", SESSIONS.format(uid=os.getuid()))
    found = idle.IdleSensor().look()
    assert found.sources == ("desktop (through logind)",)
    assert found.seconds == 0.0


def test_the_sessions_of_people_are_read_from_loginctl() -> None:
    sessions = idle.parse_sessions(SESSIONS.format(uid=1000))
    assert sessions == [
        idle.Session(user=1000, kind="wayland", is_active=True, idle_since=None),
        idle.Session(user=4711, kind="x11", is_active=False, idle_since=1.7e9),
    ]
    assert idle.parse_sessions("") == []


@pytest.mark.parametrize(
    ("said", "number"),
    [("t 1234\n", 1234), ("(uint64 1234,)\n", 1234), ("u 7", 7), ("", None), ('s "x"', None)],
)
def test_numbers_of_the_bus(said: str, number: int | None) -> None:
    assert idle.parse_number(said) == number


def test_what_ioreg_says() -> None:
    said = '  | |   "HIDIdleTime" = 61500000000\n  | |   "HIDPointerAcceleration" = 45056\n'
    assert idle.parse_ioreg(said) == 61.5
    assert idle.parse_ioreg("") is None


def test_the_counter_of_windows_begins_anew_after_49_days() -> None:
    assert idle.idle_ticks(5_000, 2_000) == 3.0
    assert idle.idle_ticks(1_000, 0xFFFFFFFF - 999) == 2.0


@pytest.mark.parametrize(
    ("name", "number"), [(":0", 0), (":10.1", 10), ("unix:3", 3), ("host:0", None), ("", None)]
)
def test_displays_of_this_machine(name: str, number: int | None) -> None:
    assert idle_x11.local_display(name) == number
