"""The database file: its connections, its pragmas, its schema brought up to date.

One connection writes and checkpoints (owned by `writer.Writer`); all others open the file
read-only. SQLite before 3.51.3 could corrupt a file that several connections checkpoint at once,
so this is a rule and not a habit. No mmap for the same reason: an I/O error would be a signal.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from . import DataDamaged, DataTooNew, StoreError

READERS_MAX = 4
"""Reading connections; listings come from memory, so few are ever needed."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_CACHE_KIB = 16 * 1024
_CHECKPOINT_PAGES = 1000


def open_for_writing(file: Path) -> Engine:
    """Return an engine with exactly one connection, in WAL mode with full synchronisation."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        # Through the drive's own cache on macOS; no effect elsewhere.
        cursor.execute("PRAGMA fullfsync=1")
        cursor.execute("PRAGMA checkpoint_fullfsync=1")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        cursor.execute("PRAGMA mmap_size=0")
        cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        cursor.close()
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The sqlite3 module would begin late and deferred; a writer says so at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_for_reading(file: Path) -> Engine:
    """Return an engine whose connections cannot write, hence never checkpoint."""
    address = f"file:{quote(str(file))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=1")
        connection.execute("PRAGMA mmap_size=0")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=READERS_MAX)


def require_database(file: Path, blobs: Path) -> None:
    """Refuse to begin a new farm over the blobs of another: its jobs may be got back yet.

    Raises `DataDamaged`. A first start finds neither and goes on.
    """
    if file.exists() and file.stat().st_size > 0:
        return
    if any(next(fan.iterdir(), None) is not None for fan in blobs.glob("[0-9a-f][0-9a-f]")):
        raise DataDamaged(
            f"The database {file} {'is empty' if file.exists() else 'is not there'}, but {blobs} "
            "holds the scenes and frames of a farm. Put the database back from a backup; or, to "
            f"begin anew, move {file.parent} away."
        )


def unreadable(file: Path, error: Exception) -> StoreError:
    """Return what to raise, and tell, for an error of reading the database ``file``."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.OperationalError):
        return StoreError(
            f"The database {file} cannot be used ({cause}); check the disk and who owns the file, "
            "then start again."
        )
    return DataDamaged(
        f"The database {file} is damaged ({cause}). Nothing was changed: keep a copy of "
        f"{file.parent}, then put the database back from a backup, or get out of it what can be "
        "read with the .recover command of the sqlite3 program."
    )


def migrate(engine: Engine) -> None:
    """Bring the schema up to date. Raises `DataTooNew` for one this version does not know."""
    config = Config()
    # A percent sign in the path would be read as interpolation.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    attributes: dict[str, Any] = config.attributes
    with engine.connect() as connection:
        attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DataTooNew(
                "The data folder was written by a newer Rendermill; start that version, or name "
                "another folder with --data."
            ) from error
