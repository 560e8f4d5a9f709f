"""Where a process without a terminal writes: a file that never grows beyond a bound."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

LOG_MAX_BYTES = 4 * 1024 * 1024
"""Then the file becomes ``NAME.1``, in the place of the one before."""


class BoundedLog(io.TextIOBase):
    """A text stream into a file of at most ``max_bytes``, and one older of as many.

    Each write is a line or some; none is cut in two. Safe for several threads.
    """

    def __init__(self, path: Path, max_bytes: int = LOG_MAX_BYTES, descriptors: Iterable[int] = ()):
        """Append to ``path``. ``descriptors`` are pointed at the file, whichever it is now."""
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._descriptors = tuple(descriptors)
        self._lock = threading.Lock()
        self._handle = -1
        self._open()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._handle = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._handle).st_size
        for descriptor in self._descriptors:
            os.dup2(self._handle, descriptor)

    def writable(self) -> bool:
        """As of any stream that can be written to."""
        return True

    def write(self, text: str) -> int:
        """Write ``text``; a full disk loses lines, and ends nothing."""
        data = text.encode("utf-8", "replace")
        with self._lock:
            try:
                if self._size and self._size + len(data) > self._max_bytes:
                    self._turn()
                os.write(self._handle, data)
                self._size += len(data)
            except OSError:
                pass
        return len(text)

    def _turn(self) -> None:
        old = self._handle
        try:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._open()
            os.close(old)
        except OSError:
            # Windows renames no file that is open elsewhere: begin it anew then.
            os.ftruncate(old, 0)
            self._handle, self._size = old, 0

    def close(self) -> None:
        """Let go of the file."""
        if not self.closed and self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        super().close()


def write_everything_to(path: Path) -> None:
    """Send all that this process prints, and all that C libraries print, to a bounded log."""
    log = BoundedLog(path, descriptors=(1, 2))
    sys.stdout = sys.stderr = log
