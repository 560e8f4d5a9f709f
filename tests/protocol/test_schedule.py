"""Weekly schedules: what can be written, when they are open, and when that changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.protocol.schedule import (
    ALWAYS,
    WEEK_MINUTES,
    Schedule,
    ScheduleError,
    parse_schedule,
)

NIGHTS = "mon-fri 19:00-07:30; sat,sun 00:00-24:00"

WINTER, SUMMER = timezone(timedelta(hours=1)), timezone(timedelta(hours=2))
SUMMER_BEGINS = datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp()
SUMMER_ENDS = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()


def berlin(now: float) -> datetime:
    """The clock on a wall in Berlin in 2026, wherever this runs and whatever zones it knows."""
    zone = SUMMER if SUMMER_BEGINS <= now < SUMMER_ENDS else WINTER
    return datetime.fromtimestamp(now, zone)


def wall(text: str) -> datetime:
    """A moment in Berlin: "2026-11-23 19:00", a Monday. Of two the first."""
    for zone in (SUMMER, WINTER):
        moment = datetime.fromisoformat(text).replace(tzinfo=zone)
        if berlin(moment.timestamp()).utcoffset() == moment.utcoffset():
            return moment
    raise AssertionError(f"{text} is shown by no clock")


def next_change(schedule: str, at: str) -> str | None:
    found = parse_schedule(schedule).next_change(wall(at).timestamp(), berlin)
    return None if found is None else berlin(round(found)).strftime("%Y-%m-%d %H:%M:%S%z")


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-23 18:59", False),
        ("2026-11-23 19:00", True),
        ("2026-11-23 23:59", True),
        ("2026-11-24 00:00", True),
        ("2026-11-24 07:29", True),
        ("2026-11-24 07:30", False),
        # Friday's window goes on into Saturday, which is open anyway; Sunday ends at midnight.
        ("2026-11-28 03:00", True),
        ("2026-11-29 23:59", True),
        ("2026-11-30 00:00", False),
        ("2026-11-30 07:00", False),
    ],
)
def test_nights_and_weekends(at: str, is_open: bool) -> None:
    assert parse_schedule(NIGHTS).is_open(wall(at)) is is_open


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("22:00-06:00", "mon-sun 22:00-06:00"),
        ("MON 9:00-17:00", "monday 09:00-17:00"),
        ("fri-mon 12:00-13:00", "fri,sat,sun,mon 12:00-13:00"),
        ("mon 08:00-12:00, 13:00-17:00", "mon 08:00-12:00; mon 13:00-17:00"),
        ("mon 08:00-12:00; mon 12:00-17:00", "mon 08:00-17:00"),
        (" ; mon 00:00-24:00 ;", "mon 00:00-24:00"),
        ("mon-sun 00:00-24:00", ""),
    ],
)
def test_the_same_hours_in_other_words(text: str, same_as: str) -> None:
    assert parse_schedule(text) == parse_schedule(same_as)


def test_a_window_over_the_end_of_the_week() -> None:
    schedule = parse_schedule("sun 22:00-06:00")
    assert schedule.is_open(wall("2026-11-29 23:00"))
    assert schedule.is_open(wall("2026-11-30 05:59"))
    assert not schedule.is_open(wall("2026-11-30 06:00"))
    assert not schedule.is_open(wall("2026-11-29 05:00"))
    assert next_change("sun 22:00-06:00", "2026-11-29 23:00") == "2026-11-30 06:00:00+0100"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nightly", "no window of days and times"),
        ("mon", "no window of days and times"),
        ("funday 10:00-11:00", "'funday' in the schedule is no day"),
        ("mon 10:00", "no window of times"),
        ("mon 24:00-07:00", "no clock shows"),
        ("mon 07:60-08:00", "no clock shows"),
        ("mon 07:00-25:00", "no clock shows"),
        ("mon 07:00-07:00", "a whole day is 00:00-24:00"),
        (";", "has no window"),
        ("mon 07:00-08:00 09:00-10:00", "no window of times"),
        ("x" * 1001, "at most 1000 characters"),
    ],
)
def test_what_is_no_schedule_gets_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint) as caught:
        parse_schedule(text)
    assert "\n" not in str(caught.value)


def test_always_never_changes() -> None:
    assert parse_schedule("  ") is ALWAYS
    assert next_change("", "2026-11-23 12:00") is None


@pytest.mark.parametrize(
    ("at", "change"),
    [
        ("2026-11-23 12:00", "2026-11-23 19:00:00+0100"),
        ("2026-11-23 19:00", "2026-11-24 07:30:00+0100"),
        ("2026-11-23 23:59", "2026-11-24 07:30:00+0100"),
        # Friday night and the weekend are one window.
        ("2026-11-27 19:00", "2026-11-30 00:00:00+0100"),
        ("2026-11-30 00:00", "2026-11-30 19:00:00+0100"),
    ],
)
def test_when_it_changes(at: str, change: str) -> None:
    assert next_change(NIGHTS, at) == change


def test_a_night_of_23_hours_ends_when_the_clock_on_the_wall_says_so() -> None:
    # 29 March 2026: 02:00 becomes 03:00.
    assert next_change("22:00-07:30", "2026-03-28 23:00") == "2026-03-29 07:30:00+0200"


def test_a_night_of_25_hours_ends_when_the_clock_on_the_wall_says_so() -> None:
    # 25 October 2026: 03:00 becomes 02:00.
    assert next_change("22:00-07:30", "2026-10-24 23:00") == "2026-10-25 07:30:00+0100"


def test_a_window_that_begins_in_the_hour_that_is_left_out_begins_with_the_jump() -> None:
    assert next_change("02:30-06:00", "2026-03-29 01:00") == "2026-03-29 03:00:00+0200"


def test_a_window_inside_the_hour_that_is_left_out_does_not_come_that_day() -> None:
    assert next_change("02:15-02:45", "2026-03-29 01:00") == "2026-03-30 02:15:00+0200"


def test_a_window_in_the_hour_that_comes_twice_comes_twice() -> None:
    first = next_change("02:15-02:45", "2026-10-25 01:00")
    assert first == "2026-10-25 02:15:00+0200"
    schedule = parse_schedule("02:15-02:45")
    at = datetime.fromisoformat("2026-10-25T02:50+02:00").timestamp()
    again = schedule.next_change(at, berlin)
    assert again is not None
    assert datetime.fromtimestamp(round(again), UTC).isoformat() == ("2026-10-25T01:15:00+00:00")


@st.composite
def schedules(draw: st.DrawFn) -> str:
    days = st.sampled_from(["mon-fri", "sat,sun", "sun", "wed", "fri-mon", "mon-sun"])
    times = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
    entries = draw(st.lists(st.tuples(days, times, times), min_size=1, max_size=3))
    return "; ".join(f"{day} {start}-{end}" for day, start, end in entries if start != end)


@given(schedules(), st.integers(0, 366 * 24 * 4))
def test_the_next_change_is_the_first_one(text: str, quarter: int) -> None:
    """Against a walk by the minute through the clock of a place with summer time."""
    schedule = parse_schedule(text)
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + quarter * 900
    found = schedule.next_change(start, berlin)
    now = schedule.is_open(berlin(start))
    walked = next(
        (
            start + 60 * minute
            for minute in range(1, WEEK_MINUTES + 120)
            if schedule.is_open(berlin(start + 60 * minute)) != now
        ),
        None,
    )
    if walked is None:
        # Two weeks may differ only by an hour that is left out or comes twice.
        assert found is None or found - start > timedelta(days=7).total_seconds()
    else:
        assert found is not None
        assert abs(found - walked) < 1


def test_windows_are_apart_and_sorted() -> None:
    schedule = parse_schedule("mon-sun 22:00-03:00; sun 20:00-23:00; mon 02:00-04:00")
    assert schedule.windows[0] == (0, 240)
    flat = [edge for window in schedule.windows for edge in window]
    assert flat == sorted(set(flat))
    assert Schedule(schedule.windows) == schedule
