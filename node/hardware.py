"""What this machine is and how busy it is, as the operating system and its limits say.

A container or a batch system may give a process less than the machine has: processor affinity and
the memory limits of control groups (v2 and v1) count, not what is built in.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..protocol.machine import BlenderInfo, Machine
from ..protocol.messages import Heartbeat

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def describe(blenders: Iterable[BlenderInfo], tags: Iterable[str], sandbox: str) -> Machine:
    """Return this machine with the Blenders that were probed on it."""
    return Machine(
        hostname=platform.node() or "unknown",
        system=f"{platform.system()} {platform.release()}".strip(),
        cpu=_cpu_name(),
        cores=cores(),
        memory_bytes=memory_bytes(),
        blenders=tuple(blenders),
        tags=tuple(sorted(set(tags))),
        sandbox=sandbox,
    )


def cores() -> int:
    """Logical processors this process may use: affinity, and the time its groups are given."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for group in _groups("cpu"):
        part = _cpu_part(group)
        if part is not None:
            # Half a processor still renders.
            count = min(count, max(1, math.floor(part + 0.5)))
    return max(1, count)


def memory_bytes() -> int:
    """Memory this process may use, in bytes."""
    limits = [limit for limit, _ in _memory_groups()]
    return min([psutil.virtual_memory().total, *limits])


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine is."""

    processors: float
    """Part of the processors in use since the last look, 0 to 1."""
    memory_free_bytes: int
    disk_free_bytes: int

    def heartbeat(self) -> Heartbeat:
        """Return it as the message of the protocol."""
        return Heartbeat(
            load=self.processors,
            memory_free_bytes=self.memory_free_bytes,
            disk_free_bytes=self.disk_free_bytes,
        )


def load(folder: Path) -> Load:
    """Return how busy the machine is; ``folder`` says which disk counts. Does not wait."""
    free = [limit - used for limit, used in _memory_groups()]
    return Load(
        processors=min(1.0, max(0.0, psutil.cpu_percent(interval=None) / 100)),
        memory_free_bytes=max(0, min([psutil.virtual_memory().available, *free])),
        disk_free_bytes=shutil.disk_usage(folder).free,
    )


def group_oom_kills() -> int | None:
    """Return how many processes of this process's control group were killed for want of memory.

    Whether that of the group or of the machine; None where no group counts them.
    """
    for group in _groups("memory"):
        # Version 2, and version 1 since Linux 4.13.
        for name in ("memory.events", "memory.oom_control"):
            for line in _text(group / name).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return None


def _cpu_name() -> str:
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()


def _groups(controller: str) -> list[Path]:
    """Folders of this process's control groups for a controller, from its own up to the root."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        if parts[1] == "":
            root = _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "unified"
        elif controller in parts[1].split(","):
            root = _CGROUPS / controller
        else:
            continue
        own = root / parts[2].lstrip("/")
        # Inside a container the path is that of the host; the root then stands for the group.
        found += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def _cpu_part(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max", or no such limit here.


def _memory_groups() -> list[tuple[int, int]]:
    """(limit, used) in bytes of each group that limits memory."""
    found: list[tuple[int, int]] = []
    for group in _groups("memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _text(group / limit_name), _text(group / used_name)
            # No limit is "max" in version 2 and a number beyond any machine in version 1.
            if limit.isdigit() and int(limit) < 1 << 60:
                # What is only cached file data is given back at once when memory is needed.
                cached = _file_cache(group)
                found.append((int(limit), max(0, int(used or 0) - cached)))
    return found


def _file_cache(group: Path) -> int:
    for line in _text(group / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
