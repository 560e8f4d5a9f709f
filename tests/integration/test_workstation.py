"""Machines of people, for real: a display that somebody touches, slots, settings from afar."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rendermill.node import idle_x11

from ..local_farms import local_farm
from .conftest import wait_until

LONG = 400_000
"""Samples that make a frame of the small scene take minutes."""
SHORT = 4
AWAY_MINUTES = "0.05"
NODE = """
import sys
from rendermill.node import idle
# Somebody may type in a terminal of the machine that runs this; the user here is the display's.
idle._TERMINALS = ()
from rendermill.commands import main
raise SystemExit(main(sys.argv[1:]))
"""


class User:
    """Somebody in front of a display of this test alone."""

    def __init__(self, display: str) -> None:
        self.display = display
        self._moved = 0

    def move_the_mouse(self) -> None:
        self._moved += 7
        place = str(20 + self._moved % 500)
        environment = os.environ | {"DISPLAY": self.display}
        words = ["xdotool", "mousemove", place, place]
        subprocess.run(words, env=environment, check=True, timeout=120)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A display without a desktop, and who sits there."""
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing; run: apt-get install -y xvfb xdotool")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-noreset",
            "-nolisten",
            "tcp",
            "-screen",
            "0",
            "640x480x24",
        ],
        pass_fds=[writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        assert number, "Xvfb did not start"
        monkeypatch.setenv("DISPLAY", f":{number}")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        yield User(f":{number}")
    finally:
        server.terminate()
        server.wait()


def start_workstation(farm, name: str, *words: str):
    """A node whose user is the display's, and nobody who types in a terminal."""
    log = farm.folder / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", NODE, "node", "--name", name),
                *("--data", str(farm.folder / name), *words),
            ],
            env=farm.environment,
            cwd=farm.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    farm.members[name] = type(farm.members["coordinator"])(name, process, log)
    return farm.members[name]


def submit(farm, blend: Path, *words: str) -> str:
    done = farm.command("submit", str(blend), "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])["id"]


def blenders(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def priorities(process: subprocess.Popen[bytes]) -> set[int]:
    found: set[int] = set()
    for child in blenders(process):
        with contextlib.suppress(psutil.Error):
            found.add(child.nice())
    return found


def test_the_display_says_how_long_nobody_has_touched_it(user: User) -> None:
    number = int(user.display[1:])
    assert idle_x11.local_display(user.display) == number
    assert number in idle_x11.listening_displays()
    before = time.monotonic()
    user.move_the_mouse()
    wait_until(lambda: idle_x11.idle_seconds(number) > 1.0, "a second without input is seen")
    asked = time.monotonic()
    assert idle_x11.idle_seconds(number) <= time.monotonic() - before
    assert time.monotonic() >= asked
    first = idle_x11.idle_seconds(number)
    user.move_the_mouse()
    assert idle_x11.idle_seconds(number) < first + (time.monotonic() - asked)


def test_a_display_that_is_not_there_is_unknown() -> None:
    with pytest.raises(idle_x11.DisplayUnknown, match="does not answer"):
        idle_x11.idle_seconds(60_000)


def test_a_user_who_touches_the_mouse_gets_the_machine_back(
    farm, user: User, scenes: Callable[[int, int], Path]
) -> None:
    blend = scenes(LONG, 3)
    farm.start_coordinator()
    words = ("--when-idle", AWAY_MINUTES, "--when-user-returns", "hand-back")
    member = start_workstation(farm, "desk", *words)
    wait_until(lambda: farm.node("desk").get("state") == "idle", "its user has gone")
    job = submit(farm, blend)

    def is_rendering() -> bool:
        # At the lowest priority, on a busy machine, its first progress may take minutes.
        is_busy = farm.node("desk").get("state") == "rendering"
        return is_busy and 19 in priorities(member.process)

    wait_until(is_rendering, "it renders, behind everything else")
    back = time.monotonic()

    def blender_is_gone() -> bool:
        # Who works moves the mouse again and again.
        user.move_the_mouse()
        return not blenders(member.process)

    wait_until(blender_is_gone, "Blender has gone")
    print(f"Blender was gone {time.monotonic() - back:.2f} s after the mouse moved")

    def is_said() -> bool:
        user.move_the_mouse()
        return "Its user is there" in farm.node("desk").get("reason", "")

    wait_until(is_said, "the farm knows why")

    def it_is_back() -> bool:
        told = farm.ask("GET", f"/api/v1/jobs/{job}/frames/1")
        # One that Blender had not begun goes back without having been tried.
        tried = [one["outcome"] for one in told["attempts"]]
        return "returned" in tried or told["frame"]["state"] == "waiting"

    wait_until(it_is_back, "the frame came back")
    frame = farm.ask("GET", f"/api/v1/jobs/{job}/frames/1")["frame"]
    assert (frame["failures"], frame["problem"]) == (0, "")

    wait_until(is_rendering, "it renders again once its user has gone")
    assert "Watching whether its user is away by: display" in member.log.read_text()
    farm.ask("POST", f"/api/v1/jobs/{job}/cancel")


def test_settings_from_afar_hold_at_once_and_for_the_next_start(farm) -> None:
    farm.start_coordinator()
    farm.start_node("desk", "--tag", "slow")
    farm.wait_ready(["desk"])
    assert farm.node("desk")["settings"]["tags"] == ["slow"]
    done = farm.command("nodes", "set", "desk", "--tag", "fast", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["machine"]["tags"] == ["fast"]

    # Hours that are not now: a window of one minute, half a day from now.
    then = time.localtime(time.time() + 12 * 3600)
    hours = f"{then.tm_hour:02}:30-{then.tm_hour:02}:31"
    done = farm.command("nodes", "set", "desk", "--schedule", hours)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: farm.node("desk")["state"] == "unavailable", "it is outside its hours")
    assert f"Outside its hours ({hours}); it renders again from" in farm.node("desk")["reason"]
    assert farm.node("desk")["changes_at"] > time.time()

    # Both remember.
    farm.members["desk"].stop()
    farm.members["coordinator"].stop()
    farm.start_coordinator()
    node = farm.node("desk")
    assert node["farm_settings"]["schedule"] == hours
    farm.start_node("desk", "--tag", "slow")
    wait_until(lambda: farm.node("desk")["state"] == "unavailable", "it holds to its hours")
    assert farm.node("desk")["settings"]["tags"] == ["fast"]

    done = farm.command("nodes", "set", "desk", "--reset", "schedule", "--reset", "tags")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: farm.node("desk")["state"] == "idle", "it always renders")
    assert farm.node("desk")["machine"]["tags"] == ["slow"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("set", "nobody", "--tag", "a"), "There is no node 'nobody'"),
        (("set", "desk", "--schedule", "nightly"), "no window of days and times"),
        (("set", "desk"), "Say what to set"),
        (("set",), "Name the node"),
        (("--tag", "a"), "rendermill nodes set"),
    ],
)
def test_what_cannot_be_set_gets_one_sentence(one_node, words: tuple[str, ...], sentence: str):
    done = one_node.command("nodes", *words)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory, known_blenders: Path):
    """A farm with a node that has joined and gone."""
    folder = tmp_path_factory.mktemp("farm")
    with local_farm.LocalFarm(folder, answers=known_blenders) as farm:
        farm.start_coordinator()
        farm.start_node("desk")
        farm.wait_ready(["desk"])
        farm.members["desk"].stop()
        yield farm


def test_two_slots_of_one_machine_render_one_job(farm, scenes: Callable[[int, int], Path]) -> None:
    blend = scenes(SHORT, 8)
    farm.start_coordinator()
    member = farm.start_node("box", "--slots", "cpu,gpu:0", "--json")
    wait_until(lambda: bool(farm.node("box/cpu")) and bool(farm.node("box/gpu0")), "both joined")
    gpu = farm.node("box/gpu0")["machine"]
    has_gpu = any(blender["gpus"] for blender in gpu["blenders"])
    assert gpu["gpu_only"]
    assert farm.node("box/cpu")["machine"]["gpu_only"] is False
    job = submit(farm, blend)
    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done")
    # A frame for the processors is none for the GPU's slot.
    assert farm.node("box/cpu")["frames_done"] == 8
    assert farm.node("box/gpu0")["frames_done"] == 0
    said = [json.loads(line) for line in member.log.read_text().splitlines() if line[:1] == "{"]
    if not has_gpu:
        assert any("gpu0 sees no GPU" in line["text"] for line in said if line.get("slot"))
    processes = [psutil.Process(member.process.pid), *blenders(member.process)]
    member.stop()
    assert member.process.returncode == 0
    # In a container nobody may ever collect the exit code of what bubblewrap leaves.
    assert not [one for one in processes if one.is_running() and one.status() != "zombie"]
