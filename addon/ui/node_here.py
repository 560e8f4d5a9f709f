"""This computer as a node, and as a coordinator where there is none: started, watched, stopped.

What runs is a process of its own (`background.service`), with Blender's own Python and the code of
this very add-on. Everything here that takes time is done as an errand; `here` says how it is. No
panel waits for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import bpy

from ...protocol.node_settings import NodeSettings, SettingsError, check
from . import errands

if TYPE_CHECKING:
    from ...background.service import Running
    from .preferences import Preferences

LOOK_SECONDS = 5.0
"""Pause between two looks at what runs here, while the add-on is on."""
YOUNG_SECONDS = 60.0
YOUNG_LOOK_SECONDS = 1.0
"""One that cannot go on mostly ends in its first minute: it is looked at more often then."""


class Doing(Enum):
    """What the node on this computer does."""

    UNKNOWN = "unknown"
    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    """It could not be started or stopped, or it ended by itself; `Here.sentence` says why."""


@dataclass(slots=True)
class Here:
    """What runs on this computer in the background."""

    doing: Doing = Doing.UNKNOWN
    sentence: str = ""
    node: Running | None = None
    coordinator: Running | None = None
    is_starting_farm: bool = False
    farm_sentence: str = ""
    """Why no coordinator could be started here."""
    words: tuple[str, ...] = ()
    """What the node was started with from here."""
    looked: float = 0.0
    started: float = 0.0
    """When anything was started from here last, on the same clock."""


here = Here()


def node_words(wanted: Preferences) -> tuple[str, ...]:
    """Return the options of the node as the preferences have it.

    Raises `SettingsError` for hours that cannot be read.
    """
    when = wanted.node_when
    idle = float(wanted.node_idle_minutes) if when == "IDLE" else 0.0
    hours = wanted.node_schedule.strip() if when == "HOURS" else ""
    if when == "HOURS" and not hours:
        raise SettingsError('Say when the node may render, like "mon-fri 19:00-07:30".')
    check(NodeSettings(idle_minutes=idle, schedule=hours))
    # Somebody works at this computer: their own programs go first, always.
    words = ["--priority", "low", "--cache-size", str(wanted.node_cache_gb)]
    if idle:
        words += ["--when-idle", f"{idle:g}"]
    if hours:
        words += ["--schedule", hours]
    if wanted.node_hands_back:
        words += ["--when-user-returns", "hand-back"]
    if wanted.coordinator_url:
        words += ["--coordinator", wanted.coordinator_url]
    return tuple(words)


def this_blender() -> str:
    """Return the program that renders as this Blender does."""
    return bpy.app.binary_path or sys.executable


def start(wanted: Preferences, then: Callable[[], None] = lambda: None) -> None:
    """Start the node as the preferences have it."""
    from ...background import service

    try:
        words = node_words(wanted)
    except SettingsError as error:
        here.doing, here.sentence = Doing.FAILED, str(error)
        return
    here.doing, here.sentence = Doing.STARTING, ""
    blender = this_blender()
    # As long as this process lives, whatever becomes of it: a crash must not leave a node behind.
    until = None if wanted.node_stays else os.getpid()

    def work() -> Running:
        return service.start(service.Member.NODE, words, blender=blender, until_process_ends=until)

    def done(running: Running) -> None:
        here.doing, here.node, here.words = Doing.RUNNING, running, words
        here.started = time.monotonic()
        then()

    errands.begin(work, done, _failed)


def stop(then: Callable[[], None] = lambda: None) -> None:
    """Stop the node; the frame in progress may be finished first, within seconds."""
    from ...background import service

    here.doing, here.sentence = Doing.STOPPING, ""

    def done(_: bool) -> None:
        here.doing, here.node = Doing.OFF, None
        then()

    errands.begin(lambda: service.stop(service.Member.NODE), done, _failed)


def restart(wanted: Preferences) -> None:
    """Stop the node and start it with what the preferences say now."""
    stop(then=lambda: start(wanted))


def start_farm(name: str, then: Callable[[], None], more_words: tuple[str, ...] = ()) -> None:
    """Start a coordinator on this computer; it goes on when Blender is closed.

    ``more_words``: options of its subcommand besides the name.
    """
    from ...background import service

    here.is_starting_farm, here.farm_sentence = True, ""
    words = (*(("--name", name) if name else ()), *more_words)

    def done(running: Running) -> None:
        here.is_starting_farm, here.coordinator = False, running
        here.started = time.monotonic()
        then()

    def failed(error: Exception) -> None:
        here.is_starting_farm, here.farm_sentence = False, str(error)

    errands.begin(lambda: service.start(service.Member.COORDINATOR, words), done, failed)


def stop_farm() -> None:
    """Stop the coordinator that was started on this computer. Its jobs stay in its data folder."""
    from ...background import service

    def done(_: bool) -> None:
        here.coordinator, here.farm_sentence = None, ""

    def failed(error: Exception) -> None:
        here.farm_sentence = str(error)

    errands.begin(lambda: service.stop(service.Member.COORDINATOR), done, failed)


def look(then: Callable[[], None] = lambda: None) -> None:
    """See what runs here now."""
    from ...background import service

    here.looked = time.monotonic()
    had_node, had_coordinator = here.node, here.coordinator

    def work() -> tuple[Running | None, str, Running | None, str]:
        node = service.status(service.Member.NODE)
        coordinator = service.status(service.Member.COORDINATOR)
        words = [
            service.last_words(member) if before is not None and now is None else ""
            for member, before, now in (
                (service.Member.NODE, had_node, node),
                (service.Member.COORDINATOR, had_coordinator, coordinator),
            )
        ]
        return node, words[0], coordinator, words[1]

    def done(found: tuple[Running | None, str, Running | None, str]) -> None:
        node, node_said, coordinator, coordinator_said = found
        if here.coordinator is had_coordinator and not here.is_starting_farm:
            here.coordinator = coordinator
            if had_coordinator is not None and coordinator is None:
                here.farm_sentence = f"The coordinator has ended. {coordinator_said}"
        # What was started or stopped meanwhile is newer than this look.
        if here.node is had_node and here.doing not in (Doing.STARTING, Doing.STOPPING):
            _take_over(node, node_said)
        then()

    def failed(error: Exception) -> None:
        here.sentence = str(error)

    errands.begin(work, done, failed)


def _take_over(node: Running | None, words: str) -> None:
    before, here.node = here.node, node
    if node is not None:
        here.doing, here.sentence = Doing.RUNNING, ""
    elif before is not None:
        here.doing, here.sentence = Doing.FAILED, f"The node has ended. {words}"
    elif here.doing is not Doing.FAILED:
        here.doing = Doing.OFF


def is_time_to_look() -> bool:
    """Whether the last look is some time ago."""
    now = time.monotonic()
    pause = YOUNG_LOOK_SECONDS if now - here.started < YOUNG_SECONDS else LOOK_SECONDS
    return now - here.looked >= pause and here.doing is not Doing.UNKNOWN


def _failed(error: Exception) -> None:
    here.doing, here.sentence = Doing.FAILED, str(error)


def forget() -> None:
    """Know nothing; what runs goes on, or ends with this process, as it was started."""
    fresh = Here()
    for name in Here.__slots__:
        value: Any = getattr(fresh, name)
        setattr(here, name, value)
