"""What the farm costs over bare Blender: ratios, measured in one run.

    python scripts/bench_overhead.py [--repeat 3] [--only cube,demo,two,resubmit] [--frames N]

Runs with the environment of the tests (`.envs/dev`, made by ``scripts/test.py``). Rounds of the
bare renderer and of the farm alternate, so that a noisy machine hurts both alike. Printed: min,
median and max of each ratio over the rounds.

(a) bare      one process opens the scene and renders the range in one go
(b) one node  from the button to the last frame in the output folder: packing and delivery included
(c) two nodes of one core each, against (a) on one core. A core, not ``render.threads``: the 4.5
    wheel spins a second core even with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_farm import LocalFarm, local_farm

ROUND_TIMEOUT_SECONDS = 1800.0

# Runs inside bpy: one process that renders the range in one go, as ``blender -b FILE -a`` does.
BARE = """
import json, os, sys, time
params = json.loads(sys.argv[1])
import bpy
bpy.ops.wm.open_mainfile(filepath=params["blend"])
scene = bpy.context.scene
scene.render.filepath = params["output"]
scene.render.use_persistent_data = params["persistent"]
scene.frame_start, scene.frame_end = params["first"], params["last"]
marks = []
bpy.app.handlers.render_write.append(lambda *_: marks.append(time.monotonic()))
begin = time.monotonic()
bpy.ops.render.render(animation=True)
marks = [mark - begin for mark in marks]
print("RESULT " + json.dumps({"marks": marks}), flush=True)
os._exit(0)
"""

# Runs inside bpy: the artist's Blender. The scene is open before the clock starts.
ARTIST = """
import json, os, sys, time
params = json.loads(sys.argv[1])
import bpy
import rendermill
from rendermill.addon.ui import pump
from rendermill.addon.ui.farm_state import Link
rendermill.register()
# In a window the add-on looks for its farm when Blender starts.
pump.connect()
while pump.state().link is not Link.CONNECTED:
    pump.drain()
    time.sleep(0.01)
bpy.ops.wm.open_mainfile(filepath=params["blend"])
scene = bpy.context.scene
scene.render.filepath = params["output"]
if params.get("move"):
    scene.objects[params["move"]].location.x += 0.01
if params.get("save"):
    bpy.ops.wm.save_mainfile()
print("OPEN", flush=True)
sys.stdin.readline()
begin = time.time()
bpy.ops.rendermill.render_animation(
    "EXEC_DEFAULT", wait=True, frames=params["frames"])
print("RESULT " + json.dumps({"begin": begin, "end": time.time()}), flush=True)
os._exit(0)
"""

CUBE = """
import os, sys
import bpy
bpy.ops.wm.read_homefile(use_factory_startup=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 4
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y = 160, 90
scene.render.resolution_percentage = 100
scene.frame_end = 100
cube = scene.objects["Cube"]
cube.rotation_euler.z = 0.0
cube.keyframe_insert("rotation_euler", frame=1)
cube.rotation_euler.z = 3.0
cube.keyframe_insert("rotation_euler", frame=100)
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1], compress=False)
sys.stdout.flush()
os._exit(0)
"""


# Runs inside a new bpy: what an artist does between two submissions.
MOVE = """
import os, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
mesh = sorted((o for o in bpy.context.scene.objects if o.type == "MESH"), key=lambda o: o.name)[0]
mesh.location.x += 0.01
bpy.ops.wm.save_mainfile()
sys.stdout.flush()
os._exit(0)
"""


@dataclass
class Figures:
    """Ratios by name, one value a round; and the lines to print under them."""

    values: dict[str, list[float]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, target: str) -> None:
        """Note one round's value."""
        self.values.setdefault(name, []).append(value)
        self.targets[name] = target
        print(f"    {name}: {value:.3f}", flush=True)

    def show(self) -> None:
        """Print min, median and max of everything noted."""
        width = max(len(name) for name in self.values)
        print(f"\n{'figure'.ljust(width)}      min   median      max   target")
        for name, values in self.values.items():
            low, mid, high = min(values), statistics.median(values), max(values)
            print(f"{name.ljust(width)} {low:8.3f} {mid:8.3f} {high:8.3f}   {self.targets[name]}")


def pinned(cores: set[int] | None) -> Callable[[], None] | None:
    """Return a ``preexec_fn`` that keeps a process on some cores, or None."""
    if cores is None:
        return None
    return lambda: os.sched_setaffinity(0, cores)


def run_script(script: str, params: dict[str, Any] | str, cores: set[int] | None = None) -> Any:
    """Run a script in a new bpy process and return what it printed as its result, if anything."""
    text = params if isinstance(params, str) else json.dumps(params)
    done = subprocess.run(
        [sys.executable, "-c", script, text],
        capture_output=True,
        text=True,
        timeout=ROUND_TIMEOUT_SECONDS,
        check=False,
        preexec_fn=pinned(cores),
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    if done.returncode:
        raise SystemExit(f"Blender failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return None


def bare(
    blend: Path,
    output: Path,
    first: int,
    last: int,
    cores: set[int] | None = None,
    *,
    persistent: bool = False,
) -> dict[str, Any]:
    """Render the range in one bare process. ``wall`` is the whole process, ``marks`` each frame."""
    output.mkdir(parents=True)
    begin = time.monotonic()
    result = run_script(
        BARE,
        {
            "blend": str(blend),
            "output": f"{output}/f_####",
            "first": first,
            "last": last,
            "persistent": persistent,
        },
        cores,
    )
    result["wall"] = time.monotonic() - begin
    count = len(list(output.glob("f_*")))
    if count != last - first + 1:
        raise SystemExit(f"bare Blender made {count} frames of {last - first + 1}")
    return result


def press_button(
    running: LocalFarm, blend: Path, output: Path, first: int, last: int, **more: Any
) -> dict[str, float]:
    """Press the button in an open Blender; return seconds to the first and the last frame here."""
    output.mkdir(parents=True)
    params = {"blend": str(blend), "output": f"{output}/f_####", "frames": f"{first}-{last}"} | more
    artist = subprocess.Popen(
        [sys.executable, "-c", ARTIST, json.dumps(params)],
        env=running.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert artist.stdin is not None
    assert artist.stdout is not None
    log: list[str] = []
    for line in artist.stdout:
        log.append(line)
        if line.startswith("OPEN"):
            artist.stdin.write("go\n")
            artist.stdin.flush()
        if line.startswith("RESULT "):
            result = json.loads(line[7:])
            break
    else:
        raise SystemExit("the artist's Blender failed:\n" + "".join(log[-40:]))
    artist.wait(60)
    files = sorted(file.stat().st_mtime for file in output.glob("f_*"))
    if len(files) != last - first + 1:
        raise SystemExit(f"{len(files)} frames came of {last - first + 1}:\n" + "".join(log[-40:]))
    return {
        "begin": result["begin"],
        "first": files[0] - result["begin"],
        "wall": result["end"] - result["begin"],
    }


def bench_scene(
    name: str, blend: Path, first: int, last: int, repeat: int, work: Path, figures: Figures
) -> None:
    """Ratios (b)/(a) for one scene, bare and farm in turn."""
    frames = last - first + 1
    with local_farm(work / f"farm-{name}") as running:
        for turn in range(repeat):
            print(f"  {name}, round {turn + 1} of {repeat}", flush=True)
            alone = bare(blend, work / f"{name}-bare-{turn}", first, last)
            ours = press_button(running, blend, work / f"{name}-farm-{turn}", first, last)
            figures.add(
                f"{name}: farm of one / bare, both from start to last file",
                ours["wall"] / alone["wall"],
                "<= 1.15 (demo), < 1.00 persistent",
            )
            if name == "cube":
                kept = bare(blend, work / f"{name}-kept-{turn}", first, last, persistent=True)
                marks = kept["marks"]
                loop = (marks[-1] - marks[0]) / (len(marks) - 1)
                figures.add(
                    "cube: ms a frame over the warm loop",
                    1000 * (ours["wall"] / frames - loop),
                    "<= 50",
                )
                # The first round starts the node's Blender; the others find it warm.
                if turn:
                    figures.add(
                        "cube: seconds from the button to the first frame here, warm node",
                        ours["first"],
                        "< 1",
                    )


def bench_two(
    name: str, blend: Path, first: int, last: int, repeat: int, work: Path, figures: Figures
) -> None:
    """Speed of two one-core nodes over one core of bare Blender."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("two nodes need two cores")
    with LocalFarm(work / "farm-two") as running:
        running.start_coordinator()
        for core in cores:
            running.start_node(f"core{core}", "--threads", "1", cores={core})
        running.wait_ready([f"core{core}" for core in cores])
        for turn in range(repeat):
            print(f"  two nodes, round {turn + 1} of {repeat}", flush=True)
            alone = bare(blend, work / f"two-bare-{turn}", first, last, {cores[0]})
            ours = press_button(running, blend, work / f"two-farm-{turn}", first, last)
            figures.add(
                f"{name}: two nodes of one core, times the speed of one core",
                alone["wall"] / ours["wall"],
                ">= 1.8",
            )


def bench_resubmit(blend: Path, repeat: int, work: Path, figures: Figures) -> None:
    """Bytes of a second submission, one object moved in a new Blender, over the first."""
    for turn in range(repeat):
        copy = work / f"resubmit-{turn}"
        shutil.copytree(blend.parent, copy)
        with local_farm(work / f"farm-resubmit-{turn}", nodes=0) as running:
            first = submitted_bytes(running, copy / blend.name)
            run_script(MOVE, str(copy / blend.name))
            second = submitted_bytes(running, copy / blend.name)
        figures.add("second submission / first, bytes on the wire (%)", 100 * second / first, "< 3")


def submitted_bytes(running: LocalFarm, blend: Path) -> int:
    """Submit one frame and return the bytes that went over the wire for it."""
    done = running.command("submit", str(blend), "--frames", "1", "--json")
    if done.returncode:
        raise SystemExit(f"submit failed:\n{done.stdout}\n{done.stderr}")
    return int(json.loads(done.stdout.splitlines()[-1])["sent_bytes"])


def make_demo_scene(folder: Path) -> Path:
    """Write the demo scene and return its .blend."""
    script = Path(__file__).with_name("demo_scene.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False
    )
    blend = folder / "mill.blend"
    if not blend.exists():
        raise SystemExit(f"the demo scene was not made:\n{done.stdout}\n{done.stderr}")
    return blend


def main() -> int:
    """Run what was asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=3, help="rounds of each (default 3)")
    parser.add_argument("--only", default="cube,demo,two,resubmit")
    parser.add_argument("--frames", type=int, default=0, help="fewer frames, for a quick look")
    options = parser.parse_args()
    only = set(options.only.split(","))
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="rendermill-bench-") as name:
        work = Path(name)
        demo = make_demo_scene(work / "demo")
        if "cube" in only:
            cube = work / "cube" / "cube.blend"
            cube.parent.mkdir()
            run_script(CUBE, str(cube))
            bench_scene("cube", cube, 1, options.frames or 100, options.repeat, work, figures)
        if "demo" in only:
            bench_scene("demo", demo, 1, options.frames or 40, options.repeat, work, figures)
        if "two" in only:
            bench_two("demo", demo, 1, options.frames or 40, options.repeat, work, figures)
        if "resubmit" in only:
            bench_resubmit(demo, options.repeat, work, figures)
    figures.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
