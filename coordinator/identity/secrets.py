"""Small secret files of the data folder: readable by their owner alone, written whole or not."""

from __future__ import annotations

import secrets
from pathlib import Path

from ...wire.credentials import write_private


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
