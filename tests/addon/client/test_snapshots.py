"""Copies of scenes on their way, and what becomes of those a crash has left."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from rendermill.addon.client import artist
from rendermill.addon.client.following import FarmThread


@pytest.fixture
def dead_pid() -> int:
    """Id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_left_is_swept(dead_pid):
    own = artist.new_snapshot_folder(artist.snapshots_dir())
    snapshots = own.parent
    (own / "scene.blend").write_bytes(b"on its way")
    machine, pid, _ = own.name.removeprefix("scene-").split("-", 2)
    assert int(pid) == os.getpid()
    left = snapshots / f"scene-{machine}-{dead_pid}-x"
    elsewhere = snapshots / f"scene-{'0' * 8}-{dead_pid}-x"
    old = snapshots / f"scene-{'0' * 8}-{dead_pid}-y"
    foreign = snapshots / "somebody's own folder"
    for folder in (left, elsewhere, old, foreign):
        folder.mkdir()
        (folder / "scene.blend").write_bytes(b"left")
    long_ago = time.time() - artist.SNAPSHOT_MAX_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    assert artist.sweep_snapshots() == 2
    assert sorted(snapshots.iterdir()) == sorted([own, elsewhere, foreign])


def test_nothing_to_sweep():
    assert artist.sweep_snapshots() == 0
    assert not artist.snapshots_dir().exists()


def test_the_farm_thread_sweeps_when_it_starts(dead_pid):
    own = artist.new_snapshot_folder(artist.snapshots_dir())
    left = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{dead_pid}-"))
    left.mkdir()
    thread = FarmThread()
    thread.start()
    end = time.monotonic() + 120
    while left.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert thread.stop(120)
    assert own.exists()
