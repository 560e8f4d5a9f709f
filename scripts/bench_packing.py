"""What it costs to pack and send a large scene: speed, memory, and the main thread.

    python scripts/bench_packing.py [--scene files|heavy] [--repeat 3] [--files 2000] [--bytes 1e9]

Runs with the environment of the tests (`.envs/dev`, made by ``scripts/test.py``). A scene is sent
from one Blender to a coordinator on loopback that has never seen it. Every round starts with a farm
and a chunk cache that know nothing. Printed: min, median and max over the rounds.

scene    ``files`` uses 2,000 files of 1 GB in all, half of them noise and half of them gradients;
         ``heavy`` is a .blend of 500 MB with 20,000 objects and 3,000 materials (`packing_scenes`).
speed    bytes of the scene over the seconds from the button to the job being durable, over what
         ``sha256sum`` reaches on the same files in the same round. Network, disk, Blender's save of
         the copy and the coordinator's own check of every hash are included.
memory   highest resident size of Blender while it packs and sends, less its size before. Of
         ``heavy``, Blender's own save is a part of that.
steps    longest step of packing in Blender's main thread, Blender's own save apart, in processor
         time, which does not depend on what else runs; and the longest turn of them, after which
         Blender draws, by the wall less the time in which no processor was free.
late     the longest that the main thread, asking for 2 ms of sleep, was kept from waking up while
         the scene was sent, over the moments in which no thread of Blender wanted for a processor:
         the coordinator works on the same machine here. See `packing_artist`.
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

HERE = Path(__file__).resolve().parent
AIM_SPEED, AIM_MEMORY_MB, AIM_STEP_MS = 0.5, 300.0, 30.0
ROUND_TIMEOUT_SECONDS = 1800.0


def make_files(folder: Path, files: int, total: int) -> None:
    """Write ``files`` files of ``total`` bytes in all."""
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


def run_bpy(script: str, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a script of this folder in a new Blender and return what it printed as RESULT."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *words],
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


def one_round(folder: Path, blend: Path, files: list[Path]) -> dict[str, float]:
    """Measure once, with a farm and an artist that know nothing of the scene."""
    shutil.rmtree(folder, ignore_errors=True)
    with LocalFarm(folder) as farm:
        farm.start_coordinator()
        told = run_bpy("packing_artist.py", str(blend), env=farm.environment)
    plain, total = sum_of(files), told["bytes"]
    late, clean = told["late"], told["clean"]
    turn_free, turn, turn_processor = (1000 * seconds for seconds in told["turn"])
    print(
        f"  sent in {told['seconds']:.1f} s ({total / told['seconds'] / 1e6:.0f} MB/s), "
        f"sha256sum {plain:.1f} s ({total / plain / 1e6:.0f} MB/s); before sending "
        f"{told['packed']:.2f} s, of them Blender's save {told['saving']:.2f} s; load "
        f"{os.getloadavg()[0]:.1f}"
    )
    print(
        f"  {told['number']} steps; longest turn {turn:.1f} ms, {turn_free:.1f} ms of them with a "
        f"processor free ({turn_processor:.1f} ms of its time); longest step by label:"
    )
    for processor, wall, starved, label in told["steps"]:
        print(
            f"    {1000 * processor:6.1f} ms of a processor, {1000 * wall:6.1f} ms by the wall, "
            f"{1000 * starved:6.1f} ms of them without a processor: {label}"
        )
    print(
        f"  while sending late by {shares(late)}; in the moments with processors free "
        f"({len(clean)} of {len(late)}) by {shares(clean)}; events {1000 * told['drained'][0]:.1f} "
        f"ms, longest garbage collection {1000 * told['collected']:.1f} ms"
    )
    return {
        "speed": plain / told["seconds"],
        "memory": told["memory"] / 1e6,
        "step": max(told["steps"])[0] * 1000,
        "turn": turn_free,
        "late": clean[-1] * 1000 if clean else float("nan"),
    }


def shares(seconds: list[float]) -> str:
    """Return median, 99th percentile and longest of sorted times, in milliseconds."""
    if not seconds:
        return "nothing"
    places = (len(seconds) // 2, len(seconds) * 99 // 100, len(seconds) - 1)
    middle, most, longest = (1000 * seconds[place] for place in places)
    return f"{middle:.1f} / {most:.1f} / {longest:.1f} ms (median, 99 %, longest)"


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scene", choices=("files", "heavy"), default="files")
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
        if options.scene == "files":
            make_files(textures, options.files, int(options.bytes))
        clean = {key: value for key, value in os.environ.items() if "RENDERMILL" not in key}
        run_bpy("packing_scenes.py", options.scene, str(blend), str(textures), env=clean)
        files = [blend, *sorted(textures.glob("*"))]
        total = sum(path.stat().st_size for path in files)
        print(f"{len(files)} files, {total / 1e6:.0f} MB")
        sum_of(files)  # Into the page cache, as whoever rendered with them a moment ago has them.
        rounds = [one_round(folder / "farm", blend, files) for _ in range(max(1, options.repeat))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    def show(name: str, key: str, unit: str, aim: str, digits: int) -> None:
        values = [each[key] for each in rounds]
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name}: {low:.{digits}f} / {middle:.{digits}f} / {high:.{digits}f}{unit} ({aim})")

    print("min / median / max:")
    show("speed over sha256sum", "speed", "", f"aim: at least {AIM_SPEED}", 2)
    show("memory beyond Blender's own", "memory", " MB", f"aim: below {AIM_MEMORY_MB:.0f}", 0)
    aim = f"aim: below {AIM_STEP_MS:.0f}"
    show("longest step of packing, processor time", "step", " ms", aim, 1)
    show("longest turn of packing, a processor free", "turn", " ms", aim, 1)
    show("main thread late while sending, processors free", "late", " ms", aim, 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
