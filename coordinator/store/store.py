"""The store of one data folder: opened once, by one coordinator, for as long as it runs.

::

    <data>/lock               held while a coordinator runs here
    <data>/coordinator.db     jobs, frames, attempts, nodes, tokens, audit
    <data>/blobs/             see `blobs`
    <data>/identity/          certificate, join secret, token of this machine
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from . import rows
from .blobs import BlobStore
from .database import migrate as migrate_database
from .database import open_for_reading, open_for_writing
from .lock import FolderLock
from .writer import Writer

T = TypeVar("T")

BLOB_THREADS = 8
"""Blob operations at once; each holds at most a few MiB."""


class Store:
    """Database and blobs of a data folder."""

    def __init__(self, folder: Path, on_failure: Callable[[str], None]) -> None:
        """``on_failure`` gets one sentence, from any thread, when the disk failed for good."""
        self.folder = folder
        self.identity_folder = folder / "identity"
        self._lock = FolderLock(folder)
        self._file = folder / "coordinator.db"
        self.blobs = BlobStore(folder / "blobs", on_failure)
        self._on_failure = on_failure
        self._threads = ThreadPoolExecutor(BLOB_THREADS, thread_name_prefix="blobs")

    def open(self) -> None:
        """Lock the folder, bring the schema up to date, check what a crash left behind.

        Raises `store.DataInUse`, `store.DataTooNew`, OSError. Blocks.
        """
        self._lock.acquire()
        try:
            self._engine = open_for_writing(self._file)
            migrate_database(self._engine)
            self._readers = open_for_reading(self._file)
            self.blobs.open()
            self.writer = Writer(self._engine, self._on_failure)
            self.writer.start()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Commit and settle what is queued, let go of the folder. Blocks."""
        self._threads.shutdown()
        self.blobs.close()
        self._readers.dispose()
        self.writer.close()
        # Last, so that the connection that writes is also the one that checkpoints.
        self._engine.dispose()
        self._lock.release()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a reading connection, in a thread."""

        def run() -> T:
            with self._readers.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a blocking blob operation in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def farm_id(self) -> str:
        """Return the durable id of this farm, made at its first start."""
        return await self.setting("farm_id", secrets.token_hex(16))

    async def setting(self, name: str, default: str) -> str:
        """Return a setting; written with ``default`` where it is not there yet."""

        def work(connection: Connection) -> str:
            value = rows.read_setting(connection, name)
            if value is None:
                rows.write_setting(connection, name, default)
                return default
            return value

        return await self.writer.run(work)

    async def change_setting(self, name: str, value: str) -> str:
        """Write a setting and return it."""
        await self.writer.run(lambda connection: rows.write_setting(connection, name, value))
        return value
