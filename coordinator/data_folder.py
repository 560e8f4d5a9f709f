"""What can be told of a coordinator's data folder from outside, in a moment, while it works.

The whole of it, byte by byte, is `checking`'s.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ..protocol.codec import is_sha256

DATABASE = "coordinator.db"
BLOBS = "blobs"
DAMAGED = "damaged"
BUSY_SECONDS = 30.0


def damaged_blobs(data: Path) -> list[str]:
    """Return the names of the blobs that were found damaged and set aside."""
    try:
        entries = [entry.name for entry in (data / BLOBS / DAMAGED).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if is_sha256(name))


def database_problem(file: Path) -> str:
    """Return what SQLite finds wrong with the structure of its file; '' when nothing is."""
    # As the coordinator's own readers: it cannot write, hence never checkpoints.
    address = f"file:{quote(str(file))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.Error as error:
        return str(error)
    return "" if said == ["ok"] else said[0]
