"""The artist's Blender of `bench_packing`: packs and sends a scene, with clocks around all of it.

Runs inside bpy: ``python packing_artist.py BLEND``, with the environment of a farm's user. Prints a
line ``RESULT`` and JSON. Linux only: memory and waiting are read from /proc.

What a clock on the wall shows is mostly what else runs on the machine. So each step is also
measured in processor time of its thread; and from the wall's time is taken what the thread was
ready to run in and no processor was free (``/proc/thread-self/schedstat``). While the scene is sent
the main thread also waits for others of this process, which hold the interpreter; for that, moments
count only in which none of them wanted for a processor.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import bpy
import rendermill
from rendermill.addon.client import artist
from rendermill.addon.client.following import Submit
from rendermill.addon.ui import pump
from rendermill.addon.ui.farm_state import Link, Submission
from rendermill.addon.ui.packing import Packing
from rendermill.addon.ui.render_operators import STEP_SECONDS
from rendermill.protocol.job import JobKind

TURN_PAUSE_SECONDS = 0.01
"""Between two turns of packing, in which Blender itself would draw."""
SLEEP_SECONDS = 0.002
"""The main thread asks for so much sleep, again and again, while the scene is sent."""
STARVED_SECONDS = 0.001
"""A thread that waited longer for a processor spoils the moment."""


class Clock:
    """Three clocks of the main thread: of the wall, of its processor time, of its waiting."""

    def __init__(self) -> None:
        self._stat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self.begin()

    def _now(self) -> tuple[float, float, float]:
        starved = int(os.pread(self._stat, 100, 0).split()[1]) / 1e9
        return time.perf_counter(), time.thread_time(), starved

    def begin(self) -> None:
        """Start all of them."""
        self._at = self._now()

    def taken(self) -> tuple[float, float, float]:
        """Return wall, processor and waiting seconds since `begin`."""
        wall, processor, starved = (
            now - then for now, then in zip(self._now(), self._at, strict=True)
        )
        return wall, processor, starved


def starved_threads() -> dict[str, int]:
    """Return how long each thread of this process has waited for a processor, nanoseconds."""
    waits: dict[str, int] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            waits[task.name] = int((task / "schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            continue
    return waits


def resident(key: str) -> int:
    """Return bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def pack(packing: Packing) -> dict[str, Any]:
    """Pack as the operator does in a window, and return what held the main thread."""
    step_clock, turn_clock = Clock(), Clock()
    # Processor, wall and waiting seconds, and label: the longest of each kind of label.
    longest: dict[str, tuple[float, float, float, str]] = {}
    turn, saving, number, label = (0.0, 0.0, 0.0), 0.0, 0, "the first"
    iterator = packing.steps()
    is_over = False
    while not is_over:
        turn_clock.begin()
        end = time.perf_counter() + STEP_SECONDS
        saved = False
        while time.perf_counter() < end:
            step_clock.begin()
            step = next(iterator, None)
            wall, processor, starved = step_clock.taken()
            number += 1
            if label.startswith("Saving"):
                saving, saved = wall, True
            else:
                kind, taken = label.partition(":")[0], (processor, wall, starved, label)
                longest[kind] = max(longest.get(kind, taken), taken)
            if step is None:
                is_over = True
                break
            label = step.label
            if step.rests:
                break
        wall, processor, starved = turn_clock.taken()
        if not saved:
            turn = max(turn, (wall - starved, wall, processor))
        time.sleep(TURN_PAUSE_SECONDS)
    return {
        "steps": sorted(longest.values(), reverse=True),
        "turn": turn,
        "saving": saving,
        "number": number,
    }


def wait(submission: Submission) -> dict[str, Any]:
    """Stay until the farm has the job, and return how late the main thread woke up meanwhile."""
    clean: list[float] = []
    every: list[float] = []
    drained = (0.0, 0.0)
    clock = Clock()
    while submission.is_sending:
        before = starved_threads()
        clock.begin()
        time.sleep(SLEEP_SECONDS)
        wall, _, starved = clock.taken()
        after = starved_threads()
        every.append(wall - SLEEP_SECONDS - starved)
        waited = max((after[task] - before.get(task, after[task]) for task in after), default=0)
        if waited < STARVED_SECONDS * 1e9:
            clean.append(wall - SLEEP_SECONDS)
        clock.begin()
        pump.drain()
        wall, processor, _ = clock.taken()
        drained = max(drained, (processor, wall))
    return {"late": sorted(every), "clean": sorted(clean), "drained": drained}


def main() -> None:
    """Do it and print the result."""
    rendermill.register()
    pump.connect()
    while pump.state().link is not Link.CONNECTED:
        pump.drain()
        time.sleep(0.01)
    bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
    # Begins the count of the highest resident size anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS:")
    collections, began = [0.0], 0.0

    def note_collection(phase: str, _: dict[str, int]) -> None:
        # In processor time: however busy the machine is, so long nobody else could run.
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            collections.append(time.thread_time() - began)

    gc.callbacks.append(note_collection)
    begin = time.perf_counter()
    packing = Packing(
        scene=bpy.context.scene,
        kind=JobKind.ANIMATION,
        options={"submitter": artist.submitter()},
        send_anyway=True,
        snapshots=artist.snapshots_dir(),
    )
    told = pack(packing)
    captured = packing.captured
    assert captured is not None
    packed = time.perf_counter() - begin
    request = pump.send(Submit(captured, send_anyway=True, deliver=False))
    submission = Submission(request, captured.spec.name, deliver=False)
    pump.state().begin(submission)
    told |= wait(submission)
    assert submission.submitted is not None, submission.text
    told |= {
        "seconds": time.perf_counter() - begin,
        "packed": packed,
        "bytes": submission.submitted.scene_bytes,
        "collected": max(collections),
        "memory": resident("VmHWM:") - before,
    }
    sys.stdout.write("RESULT " + json.dumps(told) + "\n")
    sys.stdout.flush()
    os._exit(0)


main()
