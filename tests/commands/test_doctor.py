"""What ``rendermill doctor`` says of a farm's data on this machine: damage, a disk that fills."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from rendermill.commands import doctor


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a database of some pages, and no damage."""
    folder = tmp_path / "coordinator"
    (folder / "blobs" / "damaged").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "coordinator.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, spec TEXT)")
        rows = [(f"{number:032x}", "x" * 200) for number in range(500)]
        connection.executemany("INSERT INTO jobs VALUES (?, ?)", rows)
        connection.commit()
    return folder


def test_data_that_is_whole_is_good(data: Path, roomy: None) -> None:
    check = doctor.farm_data(data)
    assert check.is_good, check
    assert check.fix == ""
    assert "is sound" in check.what


def test_files_that_were_set_aside_are_told_with_what_to_do(data: Path, roomy: None) -> None:
    (data / "blobs" / "damaged" / ("ab" * 32)).write_bytes(b"?")
    check = doctor.farm_data(data)
    assert not check.is_good
    assert check.is_needed
    assert check.what.startswith("1 damaged file was set aside in ")
    assert "rendermill coordinator --check" in check.fix


def test_a_damaged_database_is_told(data: Path, roomy: None) -> None:
    file = data / "coordinator.db"
    content = bytearray(file.read_bytes())
    content[4096 : 3 * 4096] = bytes(2 * 4096)
    file.write_bytes(content)
    check = doctor.farm_data(data)
    assert not check.is_good
    assert "is damaged (" in check.what
    assert "from a backup" in check.fix


def test_a_disk_that_fills_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: _Usage(free=10**9))
    check = doctor.farm_data(data)
    assert not check.is_good
    assert "make room: below 2.0 GB" in check.fix


class _Usage(NamedTuple):
    free: int


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the disk of these tests has."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: _Usage(free=10**12))
