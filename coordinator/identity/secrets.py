"""Small secret files of the data folder: readable by their owner alone, written whole or not."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path


def load_or_make(path: Path, length: int) -> str:
    """Return the secret kept in ``path``, ``length`` random bytes in hex; made at first use.

    Raises OSError. A file that does not hold such a secret is replaced.
    """
    try:
        text = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        text = ""
    if len(text) == 2 * length and not text.strip("0123456789abcdef"):
        return text
    secret = secrets.token_hex(length)
    write_private(path, secret.encode())
    return secret


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` durably to a file only its owner can read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes the file 0600 from the start: at no moment can another user read it.
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
