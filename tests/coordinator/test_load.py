"""The minutes of the farm: exact means, a bound, and clocks that jump."""

from __future__ import annotations

import pytest
from rendermill.coordinator.load import KEPT_MINUTES, LoadHistory, UnreadableHistory

START = 1_000_000 * 60.0


def test_a_minute_holds_the_mean_of_its_nodes_and_the_sum_of_its_frames():
    load = LoadHistory(START)
    load.note(START + 0, rendering=0, online=4, frames_done=0)
    load.note(START + 15, rendering=4, online=4, frames_done=0)
    load.note(START + 45, rendering=2, online=4, frames_done=3)
    load.note(START + 61, rendering=0, online=2, frames_done=5)
    history = load.view(START + 150)
    assert history.start == START
    assert history.rendering == (2.5, round(2 / 60, 3), 0.0)
    assert history.online == (4.0, round((4 + 2 * 59) / 60, 3), 2.0)
    assert history.frames_done == (3, 5, 0)


def test_the_time_in_which_nothing_happens_counts_too():
    load = LoadHistory(START)
    load.note(START, rendering=3, online=3, frames_done=0)
    assert load.view(START + 60 * 10 + 30).rendering == (3.0,) * 11


def test_it_keeps_no_more_than_it_says_and_the_newest():
    load = LoadHistory(START)
    for minute in range(3 * KEPT_MINUTES):
        load.note(START + 60 * minute, rendering=1, online=1, frames_done=minute)
    history = load.view(START + 60 * 3 * KEPT_MINUTES - 1)
    assert history.frames_done == tuple(range(2 * KEPT_MINUTES, 3 * KEPT_MINUTES))
    assert history.start == START + 60 * 2 * KEPT_MINUTES


def test_a_machine_that_slept_for_a_year_wakes_up_at_once():
    load = LoadHistory(START)
    load.note(START, rendering=2, online=2, frames_done=9)
    history = load.view(START + 365 * 86400)
    assert len(history.rendering) == KEPT_MINUTES
    assert set(history.frames_done) == {0}


def test_a_clock_that_is_set_back_waits_for_the_present():
    load = LoadHistory(START)
    load.note(START + 90, rendering=1, online=1, frames_done=1)
    load.note(START + 10, rendering=1, online=1, frames_done=1)
    history = load.view(START + 20)
    assert history.frames_done == (0, 2)
    assert load.view(START + 120).rendering == (0.0, 0.5, 0.0)


def test_what_was_written_goes_before_what_came_since():
    before = LoadHistory(START)
    before.note(START, rendering=2, online=4, frames_done=3)
    text = before.written(START + 90)
    after = LoadHistory(START + 200)
    after.note(START + 210, rendering=1, online=1, frames_done=7)
    after.take_up(text)
    history = after.view(START + 240)
    assert history.start == START
    assert history.frames_done == (3, 0, 0, 7, 0)
    # Nobody was told of any node while nothing ran.
    assert history.rendering == (2.0, 1.0, 0.0, 0.5, 0.0)
    assert history.online == (4.0, 2.0, 0.0, 0.5, 0.0)


def test_what_is_older_than_the_chart_is_left_behind():
    before = LoadHistory(START)
    before.note(START, rendering=2, online=4, frames_done=3)
    text = before.written(START + 90)
    after = LoadHistory(START + 60 * 2 * KEPT_MINUTES)
    after.take_up(text)
    history = after.view(START + 60 * 2 * KEPT_MINUTES)
    assert set(history.frames_done) == {0}
    assert len(history.frames_done) == KEPT_MINUTES


def test_what_a_clock_from_tomorrow_wrote_is_left_out():
    later = LoadHistory(START + 86400)
    later.note(START + 86400, rendering=2, online=4, frames_done=3)
    here = LoadHistory(START)
    here.take_up(later.written(START + 86460))
    assert here.view(START + 30).frames_done == (0,)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"first":1,"until":1.0,"minutes":[]}'])
def test_what_is_no_history_is_said_to_be_none(text: str):
    with pytest.raises(UnreadableHistory):
        LoadHistory(START).take_up(text)
