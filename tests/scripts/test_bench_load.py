"""The benchmarks of the coordinator still run: with tiny numbers, and no word on how fast."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="costs are read from /proc")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("bench_dispatch.py --nodes 3 --frames 30 --rounds 1", r"[\d,]+ \(.*\) frames/s"),
        ("bench_dispatch.py --nodes 3 --frames 9 --rounds 1 --unique", r"unique pictures"),
        (
            "bench_scale.py --nodes 5 --seconds 0.5 --frames 40 --jobs 3 --workers 2 "
            "--dispatched 20",
            r"(?s)5 nodes with heartbeats.* 40 frames in one job.* 3 jobs in the queue",
        ),
        ("bench_recovery.py --frames 300 --done 10 --nodes 2 --rounds 1", r"first frame leased"),
    ],
)
def test_it_runs(words: str, found: str) -> None:
    script, *rest = words.split()
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *rest],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(found, ran.stdout), ran.stdout
