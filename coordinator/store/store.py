"""The store of one data folder: opened once, by one coordinator, for as long as it runs.

::

    <data>/lock               held while a coordinator runs here
    <data>/coordinator.db     jobs, frames, attempts, nodes, tokens, audit
    <data>/logs.db            what nodes say, see `logs`
    <data>/blobs/             see `blobs`
    <data>/identity/          certificate, join secret, token of this machine
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from . import rows, schema
from .blobs import BlobStore
from .database import migrate as migrate_database
from .database import open_for_reading, open_for_writing, require_database, unreadable
from .lock import FolderLock
from .logs import LogStore
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
        self.logs = LogStore(folder / "logs.db")
        self._on_failure = on_failure
        self._threads = ThreadPoolExecutor(BLOB_THREADS, thread_name_prefix="blobs")

    def open(self) -> None:
        """Lock the folder, bring the schema up to date, check what a crash left behind.

        Raises `store.DataInUse`, `store.DataTooNew`, `store.DataDamaged`, OSError. Blocks.
        """
        self._lock.acquire()
        try:
            require_database(self._file, self.folder / "blobs")
            self._engine = open_for_writing(self._file)
            try:
                migrate_database(self._engine)
            except (DatabaseError, sqlite3.DatabaseError) as error:
                self._engine.dispose()
                raise unreadable(self._file, error) from error
            self._readers = open_for_reading(self._file)
            self.blobs.open()
            with self._readers.connect() as connection:
                jobs = {job for (job,) in connection.execute(select(schema.jobs.c.id))}
            self.logs.open(jobs)
            self.writer = Writer(self._engine, self._on_failure)
            self.writer.start()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Commit and settle what is queued, let go of the folder. Blocks."""
        self._threads.shutdown()
        self.blobs.close()
        self.logs.close()
        if self.writer.has_failed or self.blobs.has_failed:
            # With a reader left, closing does not checkpoint: that would flush again, and a flush
            # that failed once may report success for nothing. The next start reads the log.
            with self._readers.connect():
                self.writer.close()
                self._engine.dispose()
            self._readers.dispose()
        else:
            self._readers.dispose()
            self.writer.close()
            # Last, so that the connection that writes is also the one that checkpoints.
            self._engine.dispose()
        self._lock.release()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a reading connection. Raises `StoreError` where the database cannot be read."""
        try:
            with self._readers.connect() as connection:
                yield connection
        except (DatabaseError, msgspec.MsgspecError) as error:
            raise unreadable(self._file, error) from error

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a reading connection, in a thread. Raises what it raises, `StoreError`.

        `DataDamaged` where the database cannot be read.
        """

        def run() -> T:
            with self.reading() as connection:
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
