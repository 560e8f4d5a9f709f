"""Every byte of a data folder against what the database says: ``rendermill coordinator --check``.

Damaged blobs are set aside; the next start renders the frames they belonged to again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from ..protocol.codec import CodecError, decode_manifest
from ..protocol.manifest import ManifestError
from .inventory import Lost, find_lost
from .store import schema
from .store.blobs import BlobStore
from .store.store import Store

TELL_BYTES = 1024**3
"""Progress is told after so many bytes."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check has found."""

    blobs: int
    length: int
    """Bytes read."""
    damaged: tuple[str, ...]
    """Blobs that were not what their names say; set aside."""
    lost: tuple[Lost, ...]
    """Results that are not whole: rendered again after the next start."""
    scenes: tuple[str, ...]
    """Jobs whose scene lacks a part: submit it again before they are retried."""
    database: tuple[str, ...]
    """What SQLite finds wrong with its file."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.damaged or self.lost or self.scenes or self.database)


def check_data(folder: Path, tell: Callable[[int, int], None]) -> Findings:
    """Read everything in the data folder of a coordinator that does not run.

    ``tell`` gets blobs and bytes read so far, now and then. Blocks for as long as the disk takes.
    Raises `store.StoreError` (also when a coordinator runs there), OSError.
    """
    failed: list[str] = []
    store = Store(folder, failed.append)
    store.open()
    try:
        damaged: list[str] = []
        count = length = told = 0
        for name, size in store.blobs.names():
            try:
                store.blobs.check(name)
            except FileNotFoundError:
                damaged.append(name)
            count += 1
            length += size
            if length - told >= TELL_BYTES:
                told = length
                tell(count, length)
        with store.reading() as connection:
            return Findings(
                count,
                length,
                tuple(damaged),
                tuple(find_lost(connection, store.blobs)),
                tuple(_incomplete_scenes(connection, store.blobs)),
                tuple(_database_faults(connection)),
            )
    finally:
        store.close()


def _incomplete_scenes(connection: Connection, blobs: BlobStore) -> list[str]:
    found: list[str] = []
    for job, manifest in connection.execute(select(schema.jobs.c.id, schema.jobs.c.manifest)):
        try:
            chunks = decode_manifest(blobs.read(manifest)).blobs()
        except (FileNotFoundError, CodecError, ManifestError):
            found.append(job)
            continue
        if any(blobs.measure(name, length) != length for name, length in chunks.items()):
            found.append(job)
    return found


def _database_faults(connection: Connection) -> list[str]:
    said = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    return [line for line in said if line != "ok"] + [
        f"a row of {row[0]} refers to nothing in {row[2]}" for row in broken
    ]
