"""Work done elsewhere comes back once, in the thread that takes it; no Blender needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from rendermill.addon.ui import errands


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    errands.forget()
    yield
    errands.forget()


def test_what_comes_back_is_taken_by_who_waits():
    taken: list[tuple[str, object, bool]] = []
    here = threading.current_thread()

    def note(kind: str):
        return lambda value: taken.append((kind, value, threading.current_thread() is here))

    errands.begin(lambda: 6 * 7, note("then"), note("failed"))
    errands.wait()
    assert taken == [("then", 42, True)]
    error = ValueError("no")

    def fail() -> int:
        raise error

    errands.begin(fail, note("then"), note("failed"))
    errands.wait()
    assert taken[1:] == [("failed", error, True)]
    assert not errands.are_under_way()
    assert not errands.drain()


def test_nobody_hears_of_an_errand_of_an_add_on_that_was_switched_off():
    may_end = threading.Event()
    taken: list[object] = []
    errands.begin(may_end.wait, taken.append, taken.append)
    errands.forget()
    assert not errands.are_under_way()
    may_end.set()
    # One that was sent afterwards comes back; by then the first has been dropped, or will be.
    errands.begin(lambda: "second", taken.append, taken.append)
    errands.wait()
    errands.drain()
    assert taken == ["second"]


def test_one_that_is_taken_badly_does_not_stop_the_next(caplog: pytest.LogCaptureFixture):
    taken: list[object] = []

    def spoil(value: object) -> None:
        raise RuntimeError("spoiled")

    errands.begin(lambda: 1, spoil, spoil)
    errands.wait()
    errands.begin(lambda: 2, taken.append, taken.append)
    errands.wait()
    assert taken == [2]
    assert "spoiled" in caplog.text
