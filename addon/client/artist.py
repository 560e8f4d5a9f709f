"""Who sends scenes from this machine, and where copies of scenes lie until they are sent.

A copy lies in a folder whose name says which process made it, so that what a Blender that crashed
has left can be told from what another one is sending just now.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from ...wire import places

SNAPSHOT_MAX_SECONDS = 7 * 86_400.0
"""Older copies go whoever made them: no scene is a week on its way, and process ids come again."""

_PART = re.compile(r"\.rendermill-([0-9a-f]{8})-(\d+)-[0-9a-f]+\.part")
_SNAPSHOT = re.compile(r"scene-([0-9a-f]{8})-(\d+)-.+")


def submitter() -> str:
    """Return ``user@host``, as it stands in `protocol.job.JobSpec.submitter`."""
    return places.user_label()


def snapshots_dir() -> Path:
    """Folder for temporary copies of scenes: on the cache's disk, where ``/tmp`` may be memory."""
    return places.cache_dir() / "snapshots"


def new_snapshot_folder(snapshots: Path) -> Path:
    """Make a folder for one copy of a scene below ``snapshots``, which is made too.

    Raises OSError.
    """
    snapshots.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"scene-{process_mark()}-", dir=snapshots))


def process_mark() -> str:
    """Return what tells in a name that this process made it: machine and process id."""
    return f"{_machine()}-{os.getpid()}"


def sweep_parts(folder: Path) -> int:
    """Delete the half-downloaded files that processes of this machine left in ``folder`` when they
    died; return how many. Blocks; never raises."""
    swept = 0
    with contextlib.suppress(OSError):
        for path in folder.glob(".rendermill-*.part"):
            match = _PART.fullmatch(path.name)
            if match is not None and match[1] == _machine() and not _is_alive(int(match[2])):
                with contextlib.suppress(OSError):
                    path.unlink()
                    swept += 1
    return swept


def sweep_snapshots() -> int:
    """Delete the copies that processes of this machine left when they died; return how many.

    Blocks; never raises. Copies of other machines, where the folder is shared, stay for a week.
    """
    swept = 0
    oldest = time.time() - SNAPSHOT_MAX_SECONDS
    with contextlib.suppress(OSError):
        for folder in snapshots_dir().iterdir():
            match = _SNAPSHOT.fullmatch(folder.name)
            if match is None:
                continue
            is_left = match[1] == _machine() and not _is_alive(int(match[2]))
            with contextlib.suppress(OSError):
                if is_left or folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
                    swept += 1
    return swept


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


if sys.platform == "win32":

    def _is_alive(pid: int) -> bool:
        # os.kill would end it: Windows knows no signal 0.
        import ctypes

        kernel = ctypes.windll.kernel32
        query_limited_information, still_active = 0x1000, 259
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if not handle:
            access_denied = 5
            return kernel.GetLastError() == access_denied
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return not known or code.value == still_active

else:

    def _is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True
