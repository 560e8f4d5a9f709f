"""Garbage collection: blobs that no job refers to any more, found by mark and sweep.

Marked is what a stored job needs: its manifest, the chunks in it, the files and pictures of its
frames. Swept is what is not marked and has not been asked for during the grace period, in which
an uploader may still submit the job that refers to it; whoever is slower is told what is missing
and sends it again.

A manifest that is gone or damaged hides which chunks its job needs. They were all asked for when
the job was submitted, so what nobody has asked for since before then is none of them, and only
that is swept until the job is deleted or its scene is sent again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

import msgspec
from sqlalchemy import Connection, select

from ...protocol.codec import CodecError, decode_manifest
from ...protocol.manifest import ManifestError
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
CLOCK_SECONDS = 86_400.0
"""By how much the date may have been wrong when a job was submitted whose manifest is lost."""


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
        """Remove what nobody needs. Raises `StoreError`, OSError, ValueError."""
        blobs = self._store.blobs
        moment = blobs.now() - grace_seconds
        marked = await self._store.read(lambda connection: mark(connection, blobs))
        for job in marked.unreadable:
            _log.error(
                "the scene's list of files is lost, little is collected until the job is deleted "
                "or submitted again: job=%s",
                job,
            )
        if marked.unknown_since is not None:
            moment = min(moment, marked.unknown_since - CLOCK_SECONDS)
        collected = await self._store.in_thread(sweep, blobs, marked.blobs, moment)
        if collected.blobs:
            _log.info("collected: blobs=%d bytes=%d", collected.blobs, collected.length)
        return collected


@dataclass(frozen=True, slots=True)
class Marked:
    """What the stored jobs need, as far as it can be known."""

    blobs: set[bytes]
    unreadable: tuple[str, ...] = ()
    """Jobs whose manifest is gone or damaged."""
    unknown_since: float | None = None
    """When the first of those was submitted: what it needs was last asked for then, or later."""


class Readable(Protocol):
    """Blobs as far as they are read here."""

    def read(self, name: str) -> bytes:
        """Return all bytes of a blob, checked. Raises `FileNotFoundError`."""
        ...


def mark(connection: Connection, blobs: Readable) -> Marked:
    """Return the hashes of all blobs that a stored job needs."""
    marked: set[bytes] = set()
    unreadable: list[str] = []
    created: list[float] = []
    sound: set[str] = set()
    jobs = select(schema.jobs.c.id, schema.jobs.c.manifest, schema.jobs.c.created)
    for job, name, submitted in connection.execute(jobs):
        marked.add(bytes.fromhex(name))
        if name in sound:
            continue
        try:
            needed = decode_manifest(blobs.read(name)).blobs()
        except (FileNotFoundError, CodecError, ManifestError):
            unreadable.append(job)
            created.append(submitted)
            continue
        sound.add(name)
        marked.update(bytes.fromhex(chunk) for chunk in needed)
    results = select(schema.frames.c.result).where(schema.frames.c.result.is_not(None))
    for (text,) in connection.execute(results):
        marked.update(bytes.fromhex(name) for name in result_blobs(text))
    return Marked(marked, tuple(unreadable), min(created, default=None))


def result_blobs(text: str) -> list[str]:
    """Return the names of all blobs that a stored result refers to."""
    result = msgspec.json.decode(text, type=ResultRecord)
    names = [file.sha256 for file in result.files]
    return names + [name for name in (result.thumbnail, result.preview) if name]


def sweep(blobs: BlobStore, marked: set[bytes], moment: float) -> Collected:
    """Remove every settled blob that is not marked and was not asked for since ``moment``."""
    count = length = 0
    for name in blobs.unused_since(moment):
        if bytes.fromhex(name) not in marked:
            freed = blobs.remove_if_unused(name, moment)
            count += freed > 0
            length += freed
    return Collected(count, length)
