"""libfiu stands between a process and the C library and lets its calls fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = [Path("/usr/lib/fiu") / f"fiu_{name}_preload.so" for name in ("run", "posix")]
ORDER_SECONDS = 120

NEEDS_LIBFIU = [
    pytest.mark.skipif(sys.platform != "linux", reason="libfiu is preloaded on Linux only"),
    pytest.mark.skipif(
        shutil.which("fiu-ctrl") is None or not all(path.exists() for path in LIBRARIES),
        reason="there is no libfiu (Debian: fiu-utils)",
    ),
]


class Faults:
    """Switches failures of one process on and off."""

    def __init__(self, folder: Path) -> None:
        self._fifo = folder / "fiu"
        # Sanitizers and the like may be preloaded already.
        others = os.environ.get("LD_PRELOAD", "").split()
        self.variables = {
            "LD_PRELOAD": " ".join([*map(str, LIBRARIES), *others]),
            "FIU_CTRL_FIFO": str(self._fifo),
        }

    @staticmethod
    def from_the_start(point: str, code: int) -> dict[str, str]:
        """Variables that let every call of a kind fail in a process from its first moment."""
        return {"FIU_ENABLE": f"enable name=posix/io/{point},failinfo={code}"}

    def enable(self, pid: int, point: str, code: int, *, once: bool = False) -> None:
        """Let every call (or only the next) of a kind fail with this errno."""
        often = ",onetime" if once else ""
        self._say(pid, f"enable name=posix/io/{point},failinfo={code}{often}")

    def disable(self, pid: int, point: str) -> None:
        """Let calls succeed again."""
        self._say(pid, f"disable name=posix/io/{point}")

    def _say(self, pid: int, order: str) -> None:
        words = ["fiu-ctrl", "-f", str(self._fifo), "-c", order, str(pid)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=ORDER_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
