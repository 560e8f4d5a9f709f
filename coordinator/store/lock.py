"""One coordinator per data folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

from . import DataInUse


class FolderLock:
    """Holds ``<folder>/lock`` from `acquire` to `release`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock. Raises `DataInUse` when another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip()
            file.close()
            raise DataInUse(
                f"Another coordinator (process {holder or 'unknown'}) works on "
                f"{self._path.parent}; stop it first, or name another folder with --data."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it could remove a successor's."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None


if sys.platform == "win32":
    import msvcrt

    # Beyond the process id, so that others can still read that.
    _LOCKED_BYTE = 1024

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
