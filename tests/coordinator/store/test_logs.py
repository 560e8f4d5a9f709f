"""The log on disk: what is found, in which order, and what goes when there is too much."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendermill.coordinator.store import logs
from rendermill.coordinator.store.logs import LogBlock, LogQuery, LogStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    store = LogStore(tmp_path / "logs.db")
    store.open(())
    yield store
    store.close()


def block(number: int, *lines: str, **changes: Any) -> LogBlock:
    plain: dict[str, Any] = {
        "number": number,
        "time": 5.0,
        "node": "n1",
        "job": "j1",
        "frame": 7,
        "epoch": 1,
        "lines": lines,
    }
    return LogBlock(**(plain | changes))


def texts(store: LogStore, **asked: Any) -> list[str]:
    paging = {name: asked.pop(name) for name in ("after", "before") if name in asked}
    limit = asked.pop("limit", 100)
    return [line.text for line in store.find(LogQuery(**asked), limit=limit, **paging).lines]


def test_lines_are_found_by_job_frame_node_and_words(store):
    store.add(
        [
            block(10, "Sample 1/4", "Saved: 'A.png'"),
            block(12, "sample of another", job="j2", frame=7, node="n2"),
            block(13, "100% done_", frame=8),
            block(14, "starting", job="", frame=None),
        ]
    )
    assert texts(store, text="SAMPLE") == ["Sample 1/4", "sample of another"]
    assert texts(store, job="j1", frame=7) == ["Sample 1/4", "Saved: 'A.png'"]
    assert texts(store, node="n2") == ["sample of another"]
    assert texts(store, text="0% d") == ["100% done_"]
    assert texts(store, text="1_0") == []
    assert store.last_number() == 14
    (line,) = store.find(LogQuery(text="saved"), limit=5).lines
    assert (line.number, line.job, line.frame, line.node) == (11, "j1", 7, "n1")


def test_pages_forwards_and_backwards_have_every_line_once(store):
    number = 100
    for _ in range(30):
        store.add([block(number, *(f"line {number + at}" for at in range(7)))])
        number += 7
    everything = [f"line {at}" for at in range(100, number)]
    forwards: list[str] = []
    after = 0
    while True:
        page = store.find(LogQuery(), after=after, limit=11)
        forwards += [line.text for line in page.lines]
        after = page.last
        if not page.more:
            break
    assert forwards == everything
    assert after == number - 1
    backwards: list[str] = []
    before = None
    while True:
        page = store.find(LogQuery(), before=before, limit=11)
        backwards = [line.text for line in page.lines] + backwards
        if not page.more:
            break
        before = page.lines[0].number
    assert backwards == everything


def test_a_page_says_how_far_it_has_looked_though_nothing_fits(store):
    store.add([block(10, "one", "two")])
    page = store.find(LogQuery(text="three"), after=3, limit=10)
    assert (page.lines, page.last, page.more) == ((), 11, False)
    assert store.find(LogQuery(), after=50, limit=10).last == 50


def test_an_attempt_without_end_is_cut_and_says_so(store, monkeypatch):
    monkeypatch.setattr(logs, "ATTEMPT_MAX_BYTES", 1000)
    number = 1
    for _ in range(50):
        store.add([block(number, "x" * 99)])
        number += 1
    store.add([block(number, "another attempt", epoch=2)])
    found = texts(store)
    assert found[-2:] == [logs.CUT_TEXT, "another attempt"]
    assert found.count("x" * 99) == 10


def test_a_loud_node_pushes_out_its_own_lines_and_no_others(store, monkeypatch):
    monkeypatch.setattr(logs, "NODE_MAX_BYTES", 10_000)
    store.add([block(1, "quiet", node="n2", job="", frame=None)])
    for number in range(2, 502):
        store.add([block(number, "y" * 99, job="", frame=None)])
    loud = texts(store, node="n1", limit=1000)
    assert 80 <= len(loud) <= 101
    assert texts(store, node="n2") == ["quiet"]
    newest = store.find(LogQuery(node="n1"), limit=1000).lines[-1]
    assert newest.number == 501


def test_all_together_stay_within_their_bound_over_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "TOTAL_MAX_BYTES", 20_000)
    for start in (0, 1000):
        store = LogStore(tmp_path / "logs.db")
        store.open(("j1",))
        for number in range(start, start + 300):
            store.add([block(number, "z" * 99, node=f"n{number % 7}", epoch=number)])
        found = store.find(LogQuery(), limit=5000).lines
        assert 170 <= len(found) <= 201
        assert found[-1].number == start + 299
        store.close()


def test_lines_go_with_their_job_at_once_and_after_a_crash(tmp_path, store):
    store.add([block(1, "a"), block(2, "b", job="j2"), block(3, "c", job="", frame=None)])
    store.forget_job("j1")
    assert texts(store) == ["b", "c"]
    store.close()
    again = LogStore(tmp_path / "logs.db")
    again.open(("j3",))
    assert texts(again) == ["c"]
    again.close()


def test_a_damaged_log_is_put_aside(tmp_path):
    file = tmp_path / "logs.db"
    file.write_bytes(b"no database at all" * 1000)
    store = LogStore(file)
    store.open(())
    store.add([block(1, "a")])
    assert texts(store) == ["a"]
    assert (tmp_path / "logs.db.damaged").read_bytes().startswith(b"no database")
    store.close()


def test_what_could_not_be_written_is_not_counted(store):
    store.add([block(1, "a")])
    with pytest.raises(sqlite3.Error):
        store.add([block(2, "b"), block(1, "the number is taken")])
    assert texts(store) == ["a"]
    store.add([block(2, "b")])
    assert texts(store) == ["a", "b"]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r"), max_size=12), max_size=30),
    word=st.text(max_size=4),
)
def test_a_search_finds_what_reading_every_line_finds(tmp_path_factory, lines, word):
    store = LogStore(tmp_path_factory.mktemp("log") / "logs.db")
    store.open(())
    # SQLite ends text at a NUL, so the log book never lets one through.
    lines = [line.replace("\0", "�").encode("utf-8", "replace").decode() for line in lines]
    word = word.replace("\0", "�").encode("utf-8", "replace").decode()
    if lines:
        store.add([block(1, *lines)])
    fold = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
    wanted = [line for line in lines if word.translate(fold) in line.translate(fold)]
    assert texts(store, text=word) == wanted
    store.close()
