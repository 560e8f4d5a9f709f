"""A coordinator process of its own for the benchmarks: pinned to one core, its costs read from
``/proc`` (Linux).
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_farm import LocalFarm
from rendermill.wire.credentials import Credentials

KILL_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Usage:
    """What the process has used so far."""

    cpu_seconds: float
    """User and system time of all its threads."""
    wall: float
    """`time.perf_counter` of the reading."""

    def cores_since(self, before: Usage) -> float:
        """Return the mean number of cores it kept busy since an earlier reading."""
        return (self.cpu_seconds - before.cpu_seconds) / (self.wall - before.wall)


class MeasuredCoordinator:
    """`LocalFarm` without nodes. The load runs in this process, kept off the coordinator's core."""

    def __init__(self, farm: LocalFarm) -> None:
        self._farm = farm
        self.start()

    def start(self) -> None:
        """Start it (again), on the first core this process may use."""
        self._member = self._farm.start_coordinator(cores={min(AVAILABLE_CORES)})

    def kill(self) -> None:
        """Kill -9, as a crash would."""
        self._member.kill()

    @property
    def credentials(self) -> Credentials:
        """What `wire` needs to talk to it."""
        return Credentials(self._farm.url, self._farm.token, "", "", "")

    @property
    def database(self) -> Path:
        """Its database file."""
        return next((self._farm.folder / "home").glob("**/coordinator.db"))

    def usage(self) -> Usage:
        """Return what it has used so far (proc(5): utime and stime of /proc/PID/stat)."""
        text = Path(f"/proc/{self._member.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), time.perf_counter())

    def memory_bytes(self) -> int:
        """Return its resident memory (proc(5): VmRSS)."""
        for line in Path(f"/proc/{self._member.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the process has no VmRSS")


AVAILABLE_CORES = frozenset(os.sched_getaffinity(0))


@contextmanager
def measured_coordinator() -> Iterator[MeasuredCoordinator]:
    """Start a coordinator on one core with data in a temporary folder, this process on the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    others = AVAILABLE_CORES - {min(AVAILABLE_CORES)}
    if others:
        os.sched_setaffinity(0, others)
    folder = Path(tempfile.mkdtemp(prefix="rendermill-bench-"))
    try:
        with LocalFarm(folder / "farm") as farm:
            yield MeasuredCoordinator(farm)
    finally:
        os.sched_setaffinity(0, AVAILABLE_CORES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        shutil.rmtree(folder, ignore_errors=True)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return median and range of a figure: ``1500 (1400 to 1600)``."""
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which ``percent`` per cent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
