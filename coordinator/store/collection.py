"""Garbage collection: blobs that no job refers to any more, found by mark and sweep.

Marked is what a stored job needs: its manifest, the chunks in it, the files and pictures of its
frames. Swept is what is not marked and has not been asked for during the grace period, in which
an uploader may still submit the job that refers to it; whoever is slower is told what is missing
and sends it again. A mark that cannot be completed deletes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select

from ...protocol.codec import decode_manifest
from ..farm.records import ResultRecord
from . import StoreError, schema
from .blobs import BlobStore
from .store import Store

_log = logging.getLogger(__name__)

GRACE_SECONDS = 3600.0
INTERVAL_SECONDS = 6 * 3600.0
FIRST_SECONDS = 300.0
"""After the start: nodes that return have other needs of the disk first."""
AGAIN_SECONDS = 60.0
"""Beyond the grace period, for the second look after a job was deleted."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection removed."""

    blobs: int
    length: int


class Collector:
    """Collects from time to time, and soon after `hurry`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Collect now: a job was deleted, somebody wants its space."""
        self._hurry.set()

    async def run(self) -> None:
        """Collect until cancelled."""
        seconds = FIRST_SECONDS
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            # What a job used in its last hour is still too young, and its space is wanted.
            seconds = GRACE_SECONDS + AGAIN_SECONDS if self._hurry.is_set() else INTERVAL_SECONDS
            self._hurry.clear()
            try:
                await self.collect(GRACE_SECONDS)
            except (StoreError, OSError, ValueError) as error:
                _log.error("collection given up, nothing unsure was deleted: error=%s", error)

    async def collect(self, grace_seconds: float = GRACE_SECONDS) -> Collected:
        """Remove what nobody needs. Raises OSError, ValueError when it cannot be known."""
        moment = time.time() - grace_seconds
        blobs = self._store.blobs
        marked = await self._store.read(lambda connection: mark(connection, blobs))
        collected = await self._store.in_thread(sweep, blobs, marked, moment)
        if collected.blobs:
            _log.info("collected: blobs=%d bytes=%d", collected.blobs, collected.length)
        return collected


def mark(connection: Connection, blobs: BlobStore) -> set[bytes]:
    """Return the hashes of all blobs that a stored job needs."""
    marked: set[bytes] = set()
    for (name,) in connection.execute(select(schema.jobs.c.manifest).distinct()):
        marked.add(bytes.fromhex(name))
        # Refuses a manifest that is gone or torn, so that its chunks are not taken for garbage.
        marked.update(bytes.fromhex(chunk) for chunk in decode_manifest(blobs.read(name)).blobs())
    results = select(schema.frames.c.result).where(schema.frames.c.result.is_not(None))
    for (text,) in connection.execute(results):
        result = msgspec.json.decode(text, type=ResultRecord)
        marked.update(bytes.fromhex(file.sha256) for file in result.files)
        for picture in (result.thumbnail, result.preview):
            if picture:
                marked.add(bytes.fromhex(picture))
    return marked


def sweep(blobs: BlobStore, marked: set[bytes], moment: float) -> Collected:
    """Remove every settled blob that is not marked and was not asked for since ``moment``."""
    count = length = 0
    for name in blobs.unused_since(moment):
        if bytes.fromhex(name) not in marked:
            freed = blobs.remove_if_unused(name, moment)
            count += freed > 0
            length += freed
    return Collected(count, length)
