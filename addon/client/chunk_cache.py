"""Remembers the chunks of files, so that what did not change is not read again.

One SQLite file under the cache folder; deleting it costs time and nothing else. An entry counts
only while size, modification time and inode are those it was made with, and an entry that is wrong
all the same (a program that sets times back) is found when the chunk is sent: its hash is checked
then, and the entry forgotten.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import threading
import time
from pathlib import Path

from ...protocol.manifest import Chunk
from .chunking import CHUNKING_VERSION, ChunkedFile, Signature

ENTRIES_MAX = 200_000
"""Oldest entries go first; a hundred thousand frames of an image sequence fit."""
SETTLED_SECONDS = 2.0
"""A file changed more recently is not remembered: a second change may fall into the same tick of
the file system's clock (FAT has ticks of 2 s). Snapshots, which are new each time, stay out too."""

UNWRITTEN_MAX = 500
UNWRITTEN_BYTES = 1024**3
"""Entries are written together, as a transaction each would cost more than reading a small file;
what a process that is killed has not written is read again, at most a second's work."""

_Row = tuple[str, int, int, int, str, int, bytes]
_ENTRY = struct.Struct(">32sI")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, version INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, inode TEXT NOT NULL, used INTEGER NOT NULL, chunks BLOB NOT NULL
) WITHOUT ROWID
"""


class ChunkCache:
    """The memory; usable from any thread. A broken database is replaced, a locked one ignored."""

    def __init__(self, path: Path) -> None:
        """``path`` of the database file; its folder is created."""
        self._lock = threading.Lock()
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._unwritten: dict[str, _Row] = {}
        self._unwritten_bytes = 0
        """Bytes of the files that these rows tell of."""
        self._used: set[str] = set()
        for _ in range(2):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._database = self._open()
            except sqlite3.OperationalError:
                # Locked or not writable by us: work without a memory.
                return
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    path.unlink()
            except OSError:
                return
            else:
                return

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            # It is a cache: after a power cut it may be anything, as long as it is quick.
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_SCHEMA)
            database.execute(
                "DELETE FROM file WHERE path IN"
                " (SELECT path FROM file ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (ENTRIES_MAX,),
            )
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Write what is not written yet and close the database; the cache then knows nothing."""
        with self._lock:
            if self._database is not None:
                self._write()
                self._database.close()
                self._database = None

    def get(self, path: Path, signature: Signature) -> ChunkedFile | None:
        """Return what is known of ``path`` in the state ``signature``."""
        key = _key(path)
        state = (CHUNKING_VERSION, signature.size, signature.mtime_ns, str(signature.inode))
        with self._lock:
            row = self._unwritten.get(key)
            if row is not None:
                packed = row[-1] if row[1:5] == state else None
            else:
                rows = self._execute(
                    "SELECT chunks FROM file WHERE path = ? AND version = ? AND size = ?"
                    " AND mtime_ns = ? AND inode = ?",
                    (key, *state),
                )
                packed = rows[0][0] if rows else None
            if packed is None or len(packed) % _ENTRY.size:
                return None
            self._used.add(key)
        chunks = tuple(Chunk(digest.hex(), length) for digest, length in _ENTRY.iter_unpack(packed))
        if sum(chunk.length for chunk in chunks) != signature.size:
            return None
        return ChunkedFile(path, signature, chunks)

    def put(self, file: ChunkedFile) -> None:
        """Remember ``file``, unless it changed a moment ago."""
        now = time.time()
        signature = file.signature
        if now - signature.mtime_ns / 1e9 < SETTLED_SECONDS:
            return
        packed = b"".join(_ENTRY.pack(bytes.fromhex(c.sha256), c.length) for c in file.chunks)
        key = _key(file.source)
        state = (CHUNKING_VERSION, signature.size, signature.mtime_ns, str(signature.inode))
        with self._lock:
            if self._database is None:
                return
            self._unwritten[key] = (key, *state, int(now), packed)
            self._unwritten_bytes += signature.size
            if len(self._unwritten) >= UNWRITTEN_MAX or self._unwritten_bytes >= UNWRITTEN_BYTES:
                self._write()

    def forget(self, path: Path) -> None:
        """Drop what is known of ``path``: it turned out wrong."""
        key = _key(path)
        with self._lock:
            self._unwritten.pop(key, None)
            self._execute("DELETE FROM file WHERE path = ?", (key,))

    def _write(self) -> None:
        """Write what is new, and which files were asked for: in one transaction."""
        rows, used = list(self._unwritten.values()), [(int(time.time()), key) for key in self._used]
        self._unwritten, self._used, self._unwritten_bytes = {}, set(), 0
        if self._database is None or not (rows or used):
            return
        with contextlib.suppress(sqlite3.Error):
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(
                    "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", rows
                )
                self._database.executemany("UPDATE file SET used = ? WHERE path = ?", used)
                self._database.execute("COMMIT")
            except sqlite3.Error:
                # Disk full, file gone, another process holding it: reading files again is safe.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _execute(self, statement: str, values: tuple[int | str, ...]) -> list[tuple[bytes]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error:
            # As above.
            return []


def _key(path: Path) -> str:
    # Names that are not Unicode (surrogates) cannot be SQLite text; their bytes can be shown.
    return (
        str(path.absolute()).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )
