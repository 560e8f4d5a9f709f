"""A lock on a file that the operating system releases when its holder dies, however it dies."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        file.seek(0)
        while True:
            try:
                # LK_LOCK gives up after ten tries of one second; only then ask again.
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
            else:
                return True
else:
    import fcntl

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class FileLock:
    """An exclusive lock between processes, and between the locks of one process.

    The file stays when the lock is released: taking it away would let two holders lock two
    different files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; with ``wait`` False return False at once when somebody holds it.

        Blocks the thread while waiting. Raises `OSError` where the file cannot be made.
        """
        if self._file is not None:
            raise RuntimeError(f"The lock {self.path} is already held by this object.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+b")
        try:
            if not _lock(file, wait=wait):
                file.close()
                return False
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._file is not None:
            # Closing the only handle releases the lock on every system.
            self._file.close()
            self._file = None

    def __enter__(self) -> FileLock:
        self.acquire(wait=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
