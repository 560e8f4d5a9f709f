"""Who was killed for want of memory: what the kernel counts in this process's own control group."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.node import hardware

LIMIT_BYTES = 96 * 1024**2
CHILD = """
import os, subprocess, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from rendermill.node.blender.process import oom_kills
before = oom_kills()
# Touched, or the kernel would not have to find it.
hungry = "data = bytearray(b'x') * (1 << 30)"
ended = subprocess.run([sys.executable, "-c", hungry]).returncode
print(ended, oom_kills() - before)
"""
CHILD_SECONDS = 120


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group below this process's own that may have little memory; gone afterwards."""
    groups = hardware._groups("memory") if sys.platform == "linux" else []
    if not groups:
        pytest.skip("this process is in no control group that limits memory")
    folder = groups[0] / f"rendermill-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        limit = folder / "memory.max"
        if not limit.exists():
            limit = folder / "memory.limit_in_bytes"
        try:
            limit.write_text(str(LIMIT_BYTES))
        except OSError as error:
            pytest.skip(f"memory cannot be limited here: {error.strerror}")
        for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            # Not every kernel limits swap; then what is killed is killed later.
            with contextlib.suppress(OSError):
                if (folder / name).exists():
                    (folder / name).write_text("0" if name.endswith("max") else str(LIMIT_BYTES))
        yield folder
    finally:
        folder.rmdir()


def test_the_kills_of_the_own_group_are_counted(small_group: Path) -> None:
    before = hardware.group_oom_kills()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(small_group)],
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ended, kills = map(int, done.stdout.split())
    assert ended == -9
    assert kills == 1
    assert before is not None


@pytest.mark.parametrize(
    ("name", "text", "kills"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", None),
    ],
)
def test_both_versions_of_control_groups_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, kills: int | None
) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(hardware, "_groups", lambda _: [tmp_path])
    assert hardware.group_oom_kills() == kills
