"""What it costs to pack and send a scene of many files: speed, memory, and the main thread.

    python scripts/bench_packing.py [--repeat 3] [--files 2000] [--bytes 1e9]

Runs with the environment of the tests (`.envs/dev`, made by ``scripts/test.py``). A scene that
uses 2,000 files of 1 GB in all, half of them noise and half of them gradients, is sent from one
Blender to a coordinator on loopback that has never seen it. Every round starts with a farm and a
chunk cache that know nothing. Printed: min, median and max over the rounds.

speed    bytes of the scene over the seconds from the button to the job being durable, over what
         ``sha256sum`` reaches on the same files in the same round. Network, disk and the
         coordinator's own check of every hash are included.
memory   highest resident size of Blender while it packs and sends, less its size before.
steps    longest time that packing holds Blender's main thread at once, Blender's own save apart;
         and the longest that the main thread, asking for 2 ms of sleep, was kept from waking up
         while the scene was sent. Of both the time is taken off in which no processor was free
         (/proc/thread-self/schedstat): the coordinator works on the same machine here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from local_farm import LocalFarm

AIM_SPEED, AIM_MEMORY_MB, AIM_STEP_MS = 0.5, 300.0, 30.0
ROUND_TIMEOUT_SECONDS = 1800.0

# Runs inside bpy: a scene that uses every file of a folder. Pixels are never read.
SCENE = """
import os, sys
from pathlib import Path
import bpy
blend, textures = Path(sys.argv[1]), Path(sys.argv[2])
bpy.ops.wm.read_homefile(use_factory_startup=True)
bpy.context.scene.render.engine = "CYCLES"
for path in sorted(textures.iterdir()):
    image = bpy.data.images.new(path.stem, 1, 1)
    image.source = "FILE"
    image.filepath = str(path)
    image.use_fake_user = True
bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=False, relative_remap=True)
sys.stdout.flush()
os._exit(0)
"""

# Runs inside bpy: the artist's Blender, with the scene open before the clock starts.
ARTIST = """
import gc, json, os, sys, time
params = json.loads(sys.argv[1])
import bpy
import rendermill
from rendermill.addon.client import artist
from rendermill.addon.client.following import Submit
from rendermill.addon.ui import pump
from rendermill.addon.ui.farm_state import Link, Submission
from rendermill.addon.ui.packing import Packing
from rendermill.protocol.job import JobKind
rendermill.register()
pump.connect()
while pump.state().link is not Link.CONNECTED:
    pump.drain()
    time.sleep(0.01)
bpy.ops.wm.open_mainfile(filepath=params["blend"])

def resident(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

def starved():
    # Seconds that this thread could have run and no processor was free: not ours to mend.
    with open("/proc/thread-self/schedstat") as stat:
        return int(stat.read().split()[1]) / 1e9

# Begins the count of the highest resident size anew.
with open("/proc/self/clear_refs", "w") as clear:
    clear.write("5")
before = resident("VmRSS:")
begin = time.perf_counter()

# As the operator does it in a window, with a clock around each step.
packing = Packing(scene=bpy.context.scene, kind=JobKind.ANIMATION,
    options={"submitter": artist.submitter()}, send_anyway=False,
    snapshots=artist.snapshots_dir())
steps, saving, label = [], 0.0, "first"
iterator = packing.steps()
while True:
    at, waited = time.perf_counter(), starved()
    following = next(iterator, None)
    took = time.perf_counter() - at - (starved() - waited)
    if label.startswith("Saving"):
        saving = took
    else:
        steps.append((took, label))
    if following is None:
        break
    label = following
packed = time.perf_counter() - begin
request = pump.send(Submit(packing.captured, send_anyway=False, deliver=False))
pump.state().begin(Submission(request, packing.captured.spec.name, False))
submission = pump.state().submissions[request]
collections, began = [0.0], 0.0

def note_collection(phase, info):
    # In processor time: however busy the machine is, so long nobody else could run.
    global began
    if phase == "start":
        began = time.thread_time()
    else:
        collections.append(time.thread_time() - began)

gc.callbacks.append(note_collection)
late = stuck = 0.0
drained = 0.0
while submission.is_sending:
    at, waited = time.perf_counter(), starved()
    time.sleep(0.002)
    more = time.perf_counter() - at - 0.002
    late = max(late, more)
    stuck = max(stuck, more - (starved() - waited))
    at, waited = time.perf_counter(), starved()
    pump.drain()
    drained = max(drained, time.perf_counter() - at - (starved() - waited))
seconds = time.perf_counter() - begin
assert submission.job, submission.text
print("RESULT " + json.dumps({
    "seconds": seconds, "packed": packed, "saving": saving, "step": max(steps),
    "late": late, "stuck": stuck, "drained": drained,
    "collected": max(collections), "files": len(packing.captured.files),
    "memory": resident("VmHWM:") - before}), flush=True)
os._exit(0)
"""


def make_files(folder: Path, files: int, total: int) -> int:
    """Write ``files`` files of ``total`` bytes in all; returns the bytes written."""
    folder.mkdir()
    noise = random.Random(1)
    each = total // files
    for number in range(files):
        if number % 2:
            data = noise.randbytes(each)
        else:
            row = array("f", (number + column / 4096 for column in range(4096))).tobytes()
            data = (row * (each // len(row) + 1))[:each]
            data = number.to_bytes(8, "little") + data[8:]
        (folder / f"texture_{number:04}.exr").write_bytes(data)
    return each * files


def run_bpy(script: str, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a script in a new Blender and return what it printed as RESULT."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=ROUND_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"Blender ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(lines[-1][7:]) if lines else {}


def sum_of(files: list[Path]) -> float:
    """Seconds that ``sha256sum`` takes for these files."""
    begin = time.perf_counter()
    subprocess.run(["sha256sum", *map(str, files)], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def one_round(folder: Path, blend: Path, files: list[Path], total: int) -> dict[str, float]:
    """Measure once, with a farm and an artist that know nothing of the scene."""
    shutil.rmtree(folder, ignore_errors=True)
    with LocalFarm(folder) as farm:
        farm.start_coordinator()
        told = run_bpy(ARTIST, json.dumps({"blend": str(blend)}), env=farm.environment)
    plain = sum_of(files)
    print(
        f"  sent in {told['seconds']:.1f} s ({total / told['seconds'] / 1e6:.0f} MB/s), "
        f"sha256sum {plain:.1f} s ({total / plain / 1e6:.0f} MB/s); before sending "
        f"{told['packed']:.2f} s, of them Blender's save {told['saving']:.2f} s; "
        f"longest step {told['step'][0] * 1000:.0f} ms ({told['step'][1]}), "
        f"late {told['late'] * 1000:.0f} ms, {told['stuck'] * 1000:.0f} ms of them with a "
        f"processor free, events {told['drained'] * 1000:.1f} ms, longest garbage collection "
        f"{told['collected'] * 1000:.1f} ms"
    )
    return {
        "speed": plain / told["seconds"],
        "memory": told["memory"] / 1e6,
        "step": told["step"][0] * 1000,
        "late": max(told["stuck"], told["drained"]) * 1000,
    }


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds; default 3")
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="default 2000")
    parser.add_argument("--bytes", type=float, default=1e9, metavar="N", help="in all; default 1e9")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        raise SystemExit("Memory is read from /proc: this benchmark runs on Linux.")
    folder = Path(tempfile.mkdtemp(prefix="rendermill-bench-"))
    try:
        textures, blend = folder / "shot" / "textures", folder / "shot" / "shot.blend"
        textures.parent.mkdir()
        total = make_files(textures, options.files, int(options.bytes))
        clean = {key: value for key, value in os.environ.items() if "RENDERMILL" not in key}
        run_bpy(SCENE, str(blend), str(textures), env=clean)
        files = sorted(textures.iterdir())
        print(f"{len(files)} files, {total / 1e6:.0f} MB, and {blend.stat().st_size} bytes .blend")
        sum_of(files)  # Into the page cache, as whoever rendered with them a moment ago has them.
        rounds = [
            one_round(folder / "farm", blend, files, total) for _ in range(max(1, options.repeat))
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    def show(name: str, key: str, unit: str, aim: str, digits: int) -> None:
        values = [each[key] for each in rounds]
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name}: {low:.{digits}f} / {middle:.{digits}f} / {high:.{digits}f}{unit} ({aim})")

    print("min / median / max:")
    show("speed over sha256sum", "speed", "", f"aim: at least {AIM_SPEED}", 2)
    show("memory beyond Blender's own", "memory", " MB", f"aim: below {AIM_MEMORY_MB:.0f}", 0)
    show("longest step of packing", "step", " ms", f"aim: below {AIM_STEP_MS:.0f}", 1)
    show("main thread kept waiting while sending", "late", " ms", f"aim: {AIM_STEP_MS:.0f}", 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
