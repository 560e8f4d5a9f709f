"""A database that is damaged, empty or gone: one sentence, nothing overwritten."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest
from rendermill.coordinator.store import DataDamaged, DataInUse, StoreFailed, rows
from rendermill.coordinator.store.store import Store


def opened(folder: Path) -> Store:
    store = Store(folder, lambda _: None)
    store.open()
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A farm with a few hundred settings and a blob, closed."""
    folder = tmp_path / "farm"
    store = opened(folder)
    store.blobs.reserve = 0
    data = b"chunk"
    store.blobs.add([(hashlib.sha256(data).hexdigest(), data)])
    for number in range(300):
        store.writer.submit(
            lambda connection, number=number: rows.write_setting(
                connection, f"setting {number}", "x" * 500
            )
        ).result(60)
    store.close()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All that counts: an empty log beside the database is none."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in ("lock", "coordinator.db-shm")
        and not (path.name.endswith("-wal") and not path.stat().st_size)
    }


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scribble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[0:100] = b"?" * 100
    file.write_bytes(bytes(data))


def flip_bits(file: Path) -> None:
    """Damage the header of every page but the first, as a disk that lost them would."""
    data = bytearray(file.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 8] = b"\xff" * 8
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, scribble, flip_bits])
def test_a_damaged_database_is_a_sentence_and_stays_as_it_is(folder: Path, damage) -> None:
    damage(folder / "coordinator.db")
    before = contents(folder)
    with pytest.raises(DataDamaged, match=r"coordinator\.db is damaged .*backup"):
        opened(folder)
    assert contents(folder) == before
    with pytest.raises(DataDamaged):
        opened(folder)


@pytest.mark.parametrize("is_empty", [True, False])
def test_no_new_farm_is_begun_over_the_blobs_of_another(folder: Path, is_empty: bool) -> None:
    database = folder / "coordinator.db"
    if is_empty:
        os.truncate(database, 0)
    else:
        database.unlink()
    before = contents(folder)
    with pytest.raises(DataDamaged, match="backup"):
        opened(folder)
    assert contents(folder) == before


def test_a_first_start_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "coordinator.db").touch()
    opened(tmp_path / "farm").close()
    opened(tmp_path / "farm").close()


def test_a_folder_that_could_not_be_opened_is_free_again(folder: Path) -> None:
    database = folder / "coordinator.db"
    kept = database.read_bytes()
    truncate(database)
    with pytest.raises(DataDamaged):
        opened(folder)
    database.write_bytes(kept)
    store = opened(folder)
    with pytest.raises(DataInUse, match="Another coordinator"):
        opened(folder)
    store.close()


def test_after_a_failed_commit_closing_does_not_touch_the_file(folder: Path) -> None:
    """A checkpoint would flush again, and what a flush says after it failed once is worth nothing.

    The log stays behind; the next start reads it.
    """
    told: list[str] = []
    store = Store(folder, told.append)
    store.open()
    store.writer.submit(lambda connection: rows.write_setting(connection, "before", "kept")).result(
        60
    )

    def fail(connection) -> None:
        rows.write_setting(connection, "after", "lost")
        raise RuntimeError

    real = store.writer._work

    def work(connection, request):
        result = real(connection, request)
        raise sqlite3.OperationalError("disk I/O error") from result[1]

    store.writer._work = work
    with pytest.raises(StoreFailed):
        store.writer.submit(fail).result(60)
    assert len(told) == 1
    database = (folder / "coordinator.db").read_bytes()
    store.close()
    assert (folder / "coordinator.db").read_bytes() == database
    assert (folder / "coordinator.db-wal").stat().st_size > 0
    again = opened(folder)
    with again._readers.connect() as connection:
        assert rows.read_setting(connection, "before") == "kept"
        assert rows.read_setting(connection, "after") is None
    again.close()
