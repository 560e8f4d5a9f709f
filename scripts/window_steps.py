"""Steps through Blender's interface, from inside: what a hand would do, one after the other.

Runs in a Blender that `blender_window` started. A script is a generator of steps: it yields to let
Blender draw and handle events, and waits for what it wants to see, never for time. Keys come by
Blender's own event simulation, so no step depends on where a window manager puts the focus.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy

TICK_SECONDS = 0.1
PATIENCE_SECONDS = 240.0
"""For a machine that stalls, or renders ten times slower than usual."""
ROUNDS = 3
"""Rounds of Blender's main loop after which a key that was pressed has been dealt with."""

Steps = Generator[None, None, None]

context: Any = bpy.context
ops: Any = bpy.ops

drawn: collections.Counter[str] = collections.Counter()
"""How often each class that `watch` watches has been drawn."""


def window() -> Any:
    """Return the window."""
    return context.window_manager.windows[0]


def rounds(count: int = ROUNDS) -> Steps:
    """Let Blender's main loop go round: events are handled, and what they change is drawn."""
    for _ in range(count):
        yield


def until(is_true: Callable[[], bool], what: str) -> Steps:
    """Wait until something is so. Raises TimeoutError, which says what it was."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s for: {what}")
        yield


def press(key: str, **modifiers: bool) -> Steps:
    """Press a key and let it go, and let Blender deal with it."""
    middle = {"x": window().width // 2, "y": window().height // 2}
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type=key, value=value, **middle, **modifiers)
    yield from rounds()


def write(text: str) -> Steps:
    """Type letters and spaces."""
    middle = {"x": window().width // 2, "y": window().height // 2}
    for letter in text:
        key = "SPACE" if letter == " " else letter.upper()
        window().event_simulate(type=key, value="PRESS", unicode=letter, **middle)
        window().event_simulate(type=key, value="RELEASE", **middle)
        yield
    yield from rounds()


def largest_area() -> Any:
    """Return the largest area of the window."""
    return max(window().screen.areas, key=lambda area: area.width * area.height)


def over(area: Any, act: Callable[[], Any]) -> Any:
    """Do something with the mouse over the middle of an area; returns what it returns."""
    region = next(region for region in area.regions if region.type == "WINDOW")
    with context.temp_override(window=window(), area=area, region=region):
        return act()


def show_output_properties(area: Any) -> Steps:
    """Make an area the Properties editor with its *Output* tab."""
    area.type = "PROPERTIES"
    yield from rounds()
    area.spaces.active.context = "OUTPUT"
    yield from rounds()


def scroll(area: Any, distance: int) -> None:
    """Scroll an area up (positive) or down, by pixels or as far as it goes."""
    scroll_one = ops.view2d.scroll_up if distance > 0 else ops.view2d.scroll_down
    step = 200 if distance > 0 else -200
    over(area, lambda: [scroll_one(deltay=step) for _ in range(abs(distance) // 200)])


def watch(classes: list[Any]) -> None:
    """Count in `drawn` how often panels, dialogs or preferences are drawn to their end."""
    for one in classes:
        if "draw" in vars(one):
            one.draw = _counted(one.draw, one.__name__)


def _counted(draw: Callable[[Any, Any], None], name: str) -> Callable[[Any, Any], None]:
    # Names are bound here, not by defaults: Blender crashes in a function that has any.
    def counted(self: Any, context: Any) -> None:
        draw(self, context)
        drawn[name] += 1

    return counted


def photograph(path: Path) -> None:
    """Draw everything and save a picture of the screen."""
    ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=2)
    subprocess.run(["import", "-window", "root", str(path)], check=True)


def run(steps: Generator[None, None, None], notes: dict[str, Any], notes_file: Path) -> None:
    """Take the steps while Blender runs, then write the notes and leave.

    ``notes["finished"]`` tells whether the steps came to their end; what went wrong is printed.
    The steps leave by themselves when their last one closes Blender.
    """

    def tick() -> float:
        try:
            next(steps)
        except StopIteration:
            notes["finished"] = True
        except BaseException:  # noqa: BLE001 - whatever it is, Blender must end and it must be told
            traceback.print_exc()
        else:
            return TICK_SECONDS
        write_notes(notes, notes_file)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    context.preferences.view.show_splash = False
    bpy.app.timers.register(tick, first_interval=TICK_SECONDS, persistent=True)


def close_blender(notes: dict[str, Any], notes_file: Path) -> None:
    """Close Blender as *File > Quit* does, without asking whether to save."""
    notes["finished"] = True
    write_notes(notes, notes_file)
    sys.stdout.flush()
    sys.stderr.flush()
    with context.temp_override(window=window()):
        ops.wm.quit_blender("EXEC_DEFAULT")


def write_notes(notes: dict[str, Any], notes_file: Path) -> None:
    """Write the notes so that they are there as a whole or not at all."""
    partial = notes_file.with_suffix(".partial")
    partial.write_text(json.dumps(notes), encoding="utf-8")
    partial.replace(notes_file)
