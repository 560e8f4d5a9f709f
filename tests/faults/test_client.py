"""The artist's client killed while it sends and while it fetches, and then run once more."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, wait_until


def start(farm: FarmUnderFault, *words: str) -> subprocess.Popen[bytes]:
    """Start a command of the artist."""
    return subprocess.Popen(
        [sys.executable, "-m", "rendermill", *words],
        env=farm.farm.environment,
        cwd=farm.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def copies(farm: FarmUnderFault) -> list[Path]:
    """Copies of scenes that are on their way, or were."""
    return list((farm.home / "cache" / "snapshots").glob("*"))


def blenders_of(copies: list[Path]) -> list[int]:
    """Processes that work in one of these folders, as their command lines tell."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(copy) in word for copy in copies for word in process.info["cmdline"] or ())
    ]


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".rendermill-*.part"))


def test_a_submission_killed_on_its_way_is_simply_sent_again(
    farm: FarmUnderFault, blend: Path, seen: dict[int, bytes]
) -> None:
    farm.start("one")
    # On a busy machine a submission may be over before it is killed: then there is another.
    while not copies(farm):
        with start(farm, "submit", str(blend), "--frames", "1-2") as killed:
            wait_until(
                lambda killed=killed: bool(copies(farm)) or killed.poll() is not None,
                "the scene is being packed",
            )
            killed.kill()
    # Its Blender writes the copy, and may live a moment longer than its client.
    wait_until(lambda: not blenders_of(copies(farm)), "who wrote the copy has ended")
    done = farm.farm.command("submit", str(blend), "--frames", "1-2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert copies(farm) == []
    job = farm.follow(json.loads(done.stdout.splitlines()[-1])["id"], "1-2", (48, 32))
    farm.wait_done(job)
    farm.check(seen=seen)


def test_a_delivery_killed_again_and_again_brings_each_frame_once(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes], tmp_path: Path
) -> None:
    farm.start("one")
    job = farm.submit(scene, "1-5")
    output = tmp_path / "home"
    output.mkdir()
    # As a process that was killed in the middle of a file leaves it; its id is nobody's any more.
    with start(farm, "--version") as dead:
        dead.wait()
    from rendermill.addon.client.artist import process_mark

    machine = process_mark().rpartition("-")[0]
    (output / f".rendermill-{machine}-{dead.pid}-00ff.part").write_bytes(b"half a frame")
    for wanted in (1, 3):
        with start(farm, "fetch", job.id, "--output", str(output)) as killed:
            wait_until(
                lambda wanted=wanted, killed=killed: (
                    len(list(output.glob("*.png"))) >= wanted or killed.poll() is not None
                ),
                "frames come home",
            )
            killed.kill()
    farm.wait_done(job)
    before = {file.name: file.stat().st_mtime_ns for file in output.glob("*.png")}
    time.sleep(0.01)
    done = farm.farm.command("fetch", job.id, "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    after = {file.name: file.stat().st_mtime_ns for file in output.glob("*.png")}
    assert {name: after[name] for name in before} == before, "what was there is left alone"
    assert len(after) == 5
    assert parts(output) == []
    stored = farm.check(seen=seen).frames(job.id)
    names = {file["path"]: file["sha256"] for frame in stored.values() for file in frame.files}
    for file in output.glob("*.png"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == names[file.name]
