"""Pictures of the add-on for the documentation, in a real Blender with a real farm.

    python scripts/screenshots_blender.py [--folder docs/images] [--keep DIR] [--blender PROGRAM]

Builds and installs the extension in a fresh Blender with windows (`real_blender`), starts a
coordinator and two nodes on this machine, makes the demo scene, and lets `screenshots_steps` press
the buttons inside. Saves each picture as ``blender-NAME.png`` with a palette. Needs the development
environment, Xvfb and ImageMagick; a picture larger than `PICTURE_MAX_BYTES` is an error.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import blender_window
import environment
import real_blender
from environment import ROOT, SetupError
from local_farm import LocalFarm, environment_of
from PIL import Image

PICTURE_MAX_BYTES = 300_000
COLOURS = 256
FARM = "Mill Lane Studio"
NODES = ("atlas", "boreas")
FRAMES = 48
SECONDS_MAX = 1200.0
TALL, WIDE = (760, 980), (1280, 720)
"""Sizes of the window, pixels: for panels, and for all of Blender."""
ACTS = (("menu", WIDE), ("panel", TALL), ("check", TALL), ("alone", TALL))
"""What `screenshots_steps` does, each in a Blender of its own; ``alone`` has no farm."""


def prepare(blender: Path, folder: Path) -> None:
    """Write the demo scene, and build the extension for this Blender's Python."""
    # By the oldest Blender: any other opens it without a word.
    python = environment.ensure(environment.BPY_42)
    script = ROOT / "scripts" / "demo_scene.py"
    _call([python, script, folder / "mill", "--frames", str(FRAMES)])
    told = _call([blender, "-b", "--python-expr", "import sys; print(sys.version_info[:2])"])
    version = re.search(r"^\((\d+), (\d+)\)$", told, re.MULTILINE)
    if version is None:
        raise SystemExit(f"{blender} does not say which Python it has:\n{told}")
    builder = ROOT / "scripts" / "build_extension.py"
    command = [sys.executable, builder, "--platform", "linux-x64", "--output", folder / "dist"]
    _call([*command, "--python", f"{version[1]}.{version[2]}"])


def photograph(blender: Path, folder: Path) -> None:
    """Start the farm and go through the acts."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "resources").mkdir(exist_ok=True)
    (archive,) = (folder / "dist").glob("*.zip")
    with LocalFarm(folder / "farm") as farm:
        farm.start_coordinator("--name", FARM)
        for name in NODES:
            farm.start_node(name, "--blender", str(blender), "--threads", "1", "--grace", "0")
        farm.wait_ready(NODES)
        for act, size in ACTS:
            home = farm.folder / "home" if act != "alone" else folder / "alone"
            print(f"{act} ...", flush=True)
            with blender_window.screen(*size) as display:
                ended = blender_window.run(
                    blender,
                    ROOT / "scripts" / "screenshots_steps.py",
                    [act, archive, folder],
                    display=display,
                    environment=environment_of(home)
                    | {"BLENDER_USER_RESOURCES": str(folder / "resources")},
                    seconds_max=SECONDS_MAX,
                    size=size,
                )
            notes = folder / f"{act}.json"
            if not notes.is_file() or "finished" not in notes.read_text("utf-8"):
                raise SystemExit(f"{act} did not come to its end:\n{ended.said}")


def save(picture: Path, target: Path) -> None:
    """Save a picture with a palette, as small as that gets. Raises SystemExit when too large."""
    with Image.open(picture) as opened:
        reduced = opened.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
        reduced.save(target, "PNG", optimize=True)
    size = target.stat().st_size
    if size > PICTURE_MAX_BYTES:
        raise SystemExit(f"{target.name} has {size:,} bytes, more than {PICTURE_MAX_BYTES:,}")
    print(f"{target.name}: {size:,} bytes", flush=True)


def _call(words: list[str | Path]) -> str:
    answer = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise SystemExit(f"{words[0]} failed:\n{answer.stdout}{answer.stderr}")
    return answer.stdout


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Pictures of the add-on in Blender.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--keep", type=Path, help="work here, and leave everything there")
    parser.add_argument("--blender", type=Path, help="default: that of real_blender.py")
    options = parser.parse_args()
    missing = blender_window.missing_program()
    if missing:
        raise SystemExit(missing)
    work = (options.keep or Path(tempfile.mkdtemp(prefix="rendermill-pictures-"))).absolute()
    try:
        blender = options.blender or real_blender.ensure()
        prepare(blender, work)
        photograph(blender, work)
        for picture in sorted((work / "pictures").glob("*.png")):
            save(picture, options.folder / f"blender-{picture.name}")
    except SetupError as error:
        raise SystemExit(str(error)) from error
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
