"""A process known by more than its number: numbers are given out again."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil

_POLL_SECONDS = 0.05
_STAT_STATE, _STAT_START = 0, 19
"""Fields of /proc/PID/stat after the name."""


def birth(pid: int) -> str:
    """Return what tells a process from every other that ever had its number; '' when it is gone.

    On Linux the start by the kernel's own clock, which no change of the system's time moves.
    """
    if sys.platform == "linux":
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        fields = stat.rpartition(")")[2].split()
        return "" if fields[_STAT_STATE] in "ZX" else f"{boot} {fields[_STAT_START]}"
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return repr(process.create_time())
    except psutil.Error:
        return ""


def tell(pid: int, born: str, number: int) -> bool:  # noqa: PLR0911 - each way it may be gone
    """Send a signal to a process if it is still that one; whether it was. POSIX only."""
    if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
        # The descriptor stays with the process: between the look and the signal nothing changes.
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if birth(pid) != born:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True
    if birth(pid) != born:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int, born: str, seconds: float) -> bool:
    """Wait until a process has ended; whether it has within ``seconds``."""
    end = time.monotonic() + seconds
    while birth(pid) == born:
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
