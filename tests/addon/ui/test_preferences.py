"""The preferences at work: a trial of the connection, caches, and this computer as a node."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest
from rendermill.addon.client import following
from rendermill.addon.ui import node_here, preferences, pump, upkeep
from rendermill.background import process, service
from rendermill.background.service import Member
from rendermill.protocol.node_settings import SettingsError

from ...local_farms import local_farm

pytestmark = pytest.mark.bpy

# Blender's stubs know nothing of what an add-on adds.
context: Any = bpy.context
ops: Any = bpy.ops

PATIENCE_SECONDS = 240.0
"""A node asks its Blender first, in processes of its own; on a busy machine that takes a while."""


@pytest.fixture
def own(addon: Any) -> Iterator[Any]:
    """The add-on's preferences, as where it is switched on in Blender."""
    entry = context.preferences.addons.new()
    entry.module = preferences.PACKAGE
    yield preferences.stored()
    context.preferences.addons.remove(entry)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of this test alone; nothing runs in it afterwards."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    for member in (Member.NODE, Member.COORDINATOR):
        service.stop(member)


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def test_a_trial_says_who_answers_and_as_whom(own: Any, at_home: Any):
    # A node whose machine stands still for a while is away until it speaks again.
    at_home.wait_ready(["node1"])
    with contextlib.suppress(RuntimeError):
        ops.rendermill.try_connection()
    tried = pump.state().tried
    if tried is not None and "can render now" in tried.sentence:
        at_home.wait_ready(["node1"])
        ops.rendermill.try_connection()
        tried = pump.state().tried
    assert tried is not None
    assert tried.is_good
    assert at_home.url in tried.sentence
    assert "you are signed in as" in tried.sentence
    assert "1 node is ready" in tried.sentence


def test_a_trial_says_what_is_wrong(own: Any, home: Path):
    with pytest.raises(RuntimeError, match="No farm was found"):
        ops.rendermill.try_connection()
    own.coordinator_url = "http://127.0.0.1:1"
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1"):
        ops.rendermill.try_connection()
    own.coordinator_url = "ftp://studio-pc"
    with pytest.raises(RuntimeError, match="is not the address of a coordinator"):
        ops.rendermill.try_connection()


def test_caches_are_measured_and_cleared(own: Any, home: Path):
    pictures = home / "cache" / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "job.1.jpg").write_bytes(b"x" * 1000)
    assert ops.rendermill.measure_caches() == {"FINISHED"}
    assert upkeep.sizes == {"scenes": 0, "chunks": 0, "pictures": 1000, "copies": 0}
    assert ops.rendermill.clear_cache(cache="pictures") == {"FINISHED"}
    assert upkeep.sizes["pictures"] == 0
    assert list(pictures.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"node_when": "ALWAYS"}, ()),
        ({"node_when": "IDLE", "node_idle_minutes": 7}, ("--when-idle", "7")),
        ({"node_when": "HOURS", "node_schedule": "sat 10:00-12:00"}, ("--schedule",)),
        ({"node_hands_back": True}, ("--when-user-returns", "hand-back")),
        ({"coordinator_url": " studio-pc:7878 "}, ("--coordinator", "studio-pc:7878")),
        ({"node_cache_gb": 3}, ("--cache-size", "3")),
    ],
)
def test_the_node_is_told_what_the_preferences_say(
    own: Any, changes: dict[str, Any], words: tuple[str, ...]
):
    for name, value in changes.items():
        setattr(own, name, value)
    told = node_here.node_words(preferences.get())
    # The artist's own programs go first, whatever else is chosen.
    assert told[:2] == ("--priority", "low")
    assert " ".join(words) in " ".join(told)
    if changes.get("node_when") == "ALWAYS":
        assert not {"--when-idle", "--schedule"} & set(told)


def test_a_farm_is_followed_as_soon_as_it_is_joined(
    addon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in a window, where nothing waits for the joining: before, the farm lets nobody in."""
    with local_farm.LocalFarm(tmp_path / "farm") as farm:
        log = farm.start_coordinator("--name", "Cellar", "--json").log
        end = time.monotonic() + PATIENCE_SECONDS
        while "\n" not in log.read_text("utf-8") and time.monotonic() < end:
            time.sleep(0.01)
        token = json.loads(log.read_text("utf-8").splitlines()[0])["join"]
        monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "artist"))
        current = pump.state()
        request = pump.join(farm.url, f"{token[:-4]}0000")
        while current.outcome(request) is None and time.monotonic() < end:
            pump.work()
        assert "not this farm's" in current.notice
        assert current.farm is None
        pump.join(farm.url, token)
        while current.farm is None and time.monotonic() < end:
            pump.work()
        assert current.farm is not None
        assert (current.farm.farm, current.notice) == ("Cellar", "")
        pump.unregister()


def test_who_joins_again_gets_the_frames_that_came_meanwhile(
    addon: Any, monkeypatch: pytest.MonkeyPatch
):
    """A delivery ends with an error when the token is revoked, and nothing else begins it anew."""
    sent: list[Any] = []

    def send(command: Any) -> int:
        sent.append(command)
        return len(sent)

    monkeypatch.setattr(pump, "send", send)
    monkeypatch.setattr(pump, "bpy", SimpleNamespace(app=SimpleNamespace(background=False)))
    pump.connect("studio:7878")
    sent.clear()
    request = pump.join("studio:7878", "rm1.x")
    pump.connect_if_joined()
    assert [type(each) for each in sent] == [following.Join]
    pump.state().apply(following.Finished(request))
    pump.connect_if_joined()
    pump.connect_if_joined()
    kinds = [following.Join, following.Connect, following.ResumeDeliveries]
    assert [type(each) for each in sent] == kinds


@pytest.mark.parametrize("hours", ["", "whenever"])
def test_hours_that_cannot_be_read_start_nothing(own: Any, home: Path, hours: str):
    own.node_when, own.node_schedule = "HOURS", hours
    with pytest.raises(SettingsError):
        node_here.node_words(preferences.get())
    with pytest.raises(RuntimeError):
        ops.rendermill.node_here()
    assert service.status(Member.NODE) is None


def test_one_checkbox_makes_this_computer_a_node(own: Any, home: Path):
    node_here.start_farm(
        "Attic", then=lambda: None, more_words=("--host", "127.0.0.1", "--port", "0")
    )
    wait_until((home / "config" / "local.json").exists, "the coordinator answers")
    own.node_when = "ALWAYS"
    assert ops.rendermill.node_here() == {"FINISHED"}
    assert own.node_here
    running = service.status(Member.NODE)
    assert running is not None
    # It ends with Blender unless the artist wants it to go on.
    assert running.words[-2:] == ("--with-process", str(os.getpid()))
    assert running.words[running.words.index("--blender") + 1] == node_here.this_blender()
    pump.connect()
    current = pump.state()
    end = time.monotonic() + PATIENCE_SECONDS
    pump.wait_for(lambda: current.nodes_ready() == 1 or time.monotonic() > end, lambda: None)
    assert current.nodes_ready() == 1, Path(running.log).read_text("utf-8", "replace")[-3000:]
    assert current.farm is not None
    assert current.farm.farm == "Attic"

    own.node_stays = True
    assert ops.rendermill.restart_node() == {"FINISHED"}
    again = service.status(Member.NODE)
    assert again is not None
    assert (again.pid, again.born) != (running.pid, running.born)
    assert "--with-process" not in again.words

    assert ops.rendermill.node_here() == {"FINISHED"}
    assert not own.node_here
    assert service.status(Member.NODE) is None
    assert node_here.here.doing is node_here.Doing.OFF
    assert ops.rendermill.stop_farm() == {"FINISHED"}
    assert service.status(Member.COORDINATOR) is None


def test_one_that_ends_by_itself_is_noticed_with_its_last_words(own: Any, home: Path):
    from rendermill.addon.ui import errands

    # No coordinator serves from a folder that is a file.
    (home / "config").mkdir(parents=True)
    taken = home / "taken"
    taken.write_text("")
    node_here.start_farm(
        "Attic", lambda: None, ("--host", "127.0.0.1", "--port", "0", "--data", str(taken))
    )
    errands.wait()
    end = time.monotonic() + PATIENCE_SECONDS
    while not node_here.here.farm_sentence and time.monotonic() < end:
        node_here.look()
        errands.wait()
    assert "ended" in node_here.here.farm_sentence
    assert str(taken) in node_here.here.farm_sentence


# Runs in a Blender of its own: switches the node on, and is closed.
CLOSED = """
import os, sys
import bpy, rendermill
rendermill.register()
from rendermill.addon.ui import preferences
entry = bpy.context.preferences.addons.new()
entry.module = preferences.PACKAGE
own = preferences.stored()
own.node_stays = sys.argv[-1] == "stays"
own.node_when = "ALWAYS"
assert bpy.ops.rendermill.node_here() == {"FINISHED"}
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("choice", ["stays", "ends"])
def test_it_survives_blender_if_the_artist_says_so(home: Path, choice: str):
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, choice],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    running = service.status(Member.NODE)
    if choice == "ends":
        # It may have gone already.
        if running is not None:
            assert process.wait_gone(running.pid, running.born, PATIENCE_SECONDS)
        assert service.status(Member.NODE) is None
        return
    assert running is not None
    # It goes on looking for a farm; a node that is to end with Blender looks once a second.
    assert "--with-process" not in running.words
    assert not process.wait_gone(running.pid, running.born, 3.0)
