"""Does the farm have what it says it has? Results whose files are gone or damaged open again.

Looked at after each start (is every file there, with its length?) and whenever bytes that were read
turned out not to be what their name says. Whole files are only read by ``--check``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select

from .conductor import Conductor
from .farm.events import ResultsLost
from .farm.records import ResultRecord
from .store import StoreError, schema
from .store.blobs import BlobStore
from .store.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lost:
    """A result that is not whole any more."""

    job: str
    frame: int
    generation: int
    path: str
    """The first of its files that is missing."""


def find_lost(
    connection: Connection, blobs: BlobStore, among: Iterable[str] | None = None
) -> list[Lost]:
    """Return the results of which a file is not here with its length.

    ``among``: only those that refer to one of these blobs are looked at. Blocks.
    """
    names = None if among is None else frozenset(among)
    table = schema.frames
    rows = connection.execute(
        select(table.c.job, table.c.frame, table.c.result).where(table.c.result.is_not(None))
    )
    lost: list[Lost] = []
    for job, frame, text in rows:
        if names is not None and not any(name in text for name in names):
            continue
        result = msgspec.json.decode(text, type=ResultRecord)
        for file in result.files:
            if blobs.measure(file.sha256, file.length) != file.length:
                lost.append(Lost(job, frame, result.generation, file.path))
                break
    return lost


class Inventory:
    """Looks after the start, and again when a blob was found damaged."""

    def __init__(self, store: Store, conductor: Conductor) -> None:
        self._store = store
        self._conductor = conductor
        self._damaged: set[str] = set()
        self._noted = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()

        def note(name: str) -> None:
            self._damaged.add(name)
            self._noted.set()

        def tell(name: str) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the next start looks.
                loop.call_soon_threadsafe(note, name)

        self._store.blobs.on_damage = tell
        await self._look(None)
        while True:
            await self._noted.wait()
            self._noted.clear()
            damaged, self._damaged = self._damaged, set()
            await self._look(damaged)

    async def _look(self, among: set[str] | None) -> None:
        blobs = self._store.blobs
        try:
            lost = await self._store.read(lambda connection: find_lost(connection, blobs, among))
        except (StoreError, OSError) as error:
            _log.error("files of frames could not be looked at: error=%s", error)
            return
        jobs: dict[str, list[Lost]] = {}
        for one in lost:
            jobs.setdefault(one.job, []).append(one)
        for job, some in jobs.items():
            frames = ", ".join(str(one.frame) for one in some)
            _log.error("results are lost and rendered again: job=%s frames=%s", job, frames)
            number = f"{len(some)} finished frames" if len(some) > 1 else "a finished frame"
            await self._conductor.post(
                ResultsLost(
                    job=job,
                    frames=tuple((one.frame, one.generation) for one in some),
                    reason=f"Files of {number} were missing or damaged on the coordinator's disk "
                    f"(the first: {some[0].path}); rendered again.",
                )
            )
