"""The database: schema and migrations, one writer, group commit, read-only readers, one owner."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import threading
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from rendermill.coordinator.store import DataInUse, DataTooNew, StoreFailed, rows, schema
from rendermill.coordinator.store.database import migrate, open_for_reading, open_for_writing
from rendermill.coordinator.store.lock import FolderLock
from rendermill.coordinator.store.writer import Writer
from sqlalchemy import create_engine, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError


@pytest.fixture
def engine(tmp_path):
    engine = open_for_writing(tmp_path / "c.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def writer(engine, failures):
    writer = Writer(engine, failures.append)
    writer.start()
    yield writer
    writer.close()


def setting(name: str, value: str = "1"):
    return lambda connection: connection.execute(
        insert(schema.settings).values(name=name, value=value)
    )


def test_migrations_make_exactly_the_schema(engine):
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_every_field_of_a_record_has_its_column():
    for cls, table in rows.TABLES.items():
        assert [field.name for field in dataclasses.fields(cls)]
        assert {field.name for field in dataclasses.fields(cls)} == {
            column.name for column in table.columns
        }


def test_a_newer_database_is_refused(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DataTooNew, match="newer Rendermill"):
        migrate(engine)


def test_durability_settings(engine):
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_readers_cannot_write(engine, tmp_path):
    reader = open_for_reading(tmp_path / "c.db")
    with reader.connect() as connection:
        assert connection.execute(select(func.count()).select_from(schema.jobs)).scalar() == 0
        for statement in ("INSERT INTO settings VALUES ('a', 'b')", "PRAGMA wal_checkpoint"):
            with pytest.raises(OperationalError):
                connection.exec_driver_sql(statement)
    reader.dispose()


def test_requests_share_a_commit_and_one_that_fails_fails_alone(writer, engine, tmp_path):
    started, go = threading.Event(), threading.Event()

    def hold(_connection):
        started.set()
        assert go.wait(60)

    holding = writer.submit(hold)
    assert started.wait(60)
    futures = [writer.submit(setting(f"s{number}")) for number in range(100)]
    twice = writer.submit(setting("s50"))
    late = writer.submit(setting("late"))
    go.set()
    holding.result(60)
    for future in futures:
        future.result(60)
    late.result(60)
    with pytest.raises(IntegrityError):
        twice.result(60)
    assert writer.commits == 2
    # Another process sees it: it is committed, and not only in this connection.
    with sqlite3.connect(f"file:{tmp_path / 'c.db'}?mode=ro", uri=True) as other:
        assert other.execute("SELECT count(*) FROM settings").fetchone() == (101,)
    other.close()


def test_a_failed_commit_is_final(tmp_path, failures):
    class Broken(sqlite3.Connection):
        broken = False

        def cursor(self, factory: Any = None) -> Any:
            outer = self

            class Cursor(sqlite3.Cursor):
                def execute(self, statement, *rest):
                    if outer.broken and statement.startswith("INSERT"):
                        raise sqlite3.OperationalError("disk I/O error")
                    return super().execute(statement, *rest)

            return super().cursor(Cursor)

    def connect():
        return sqlite3.connect(
            tmp_path / "x.db", factory=Broken, isolation_level=None, check_same_thread=False
        )

    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    migrate(engine)
    writer = Writer(engine, failures.append)
    writer.start()
    writer.submit(setting("a")).result(60)
    Broken.broken = True
    with pytest.raises(StoreFailed, match="accepts nothing more"):
        writer.submit(setting("b")).result(60)
    Broken.broken = False
    with pytest.raises(StoreFailed):
        writer.submit(setting("c")).result(60)
    assert len(failures) == 1
    writer.close()
    engine.dispose()


def test_a_writer_that_was_closed_says_so(writer):
    writer.submit(setting("a")).result(60)
    writer.close()
    with pytest.raises(StoreFailed, match="stopping"):
        writer.submit(setting("b")).result(60)


def test_one_owner_of_a_folder(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    with pytest.raises(DataInUse, match="stop it first"):
        FolderLock(tmp_path).acquire()
    lock.release()
    other = FolderLock(tmp_path)
    other.acquire()
    other.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from rendermill.coordinator.store.lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1])); lock.acquire()\n"
        "print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(DataInUse, match=str(holder.pid)):
        FolderLock(tmp_path).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
