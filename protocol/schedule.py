"""Weekly schedules: "mon-fri 19:00-07:30; sat,sun 00:00-24:00", and when they open and close.

A schedule is a list of windows in the wall-clock time of the machine it is for. A window over
midnight belongs to the day on which it begins. The grammar, case aside::

    schedule = entry (";" entry)*
    entry    = [days] window ("," window)*           without days: every day
    days     = day ["-" day] ("," day ["-" day])*     mon-fri, or over the weekend: fri-mon
    window   = HH:MM "-" HH:MM                        19:00-07:30; 24:00 is the end of the day

An empty schedule is always open. Wall clocks jump twice a year where there is summer time: what
counts is always what the clock on the wall says, so "until 07:30" ends at 07:30 on those days too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
SCHEDULE_MAX_CHARS = 1000
"""Of the text; two windows a day, each day on its own, take a fifth of it."""
_MINUTE_SECONDS = 60.0
_INSTANT_SECONDS = 0.5
"""How exactly the moment is found at which a wall clock jumps."""

LocalTime = Callable[[float], datetime]
"""Turns seconds since 1970 into the wall-clock time of a place, with its distance from UTC."""

_EXAMPLE = 'such as "mon-fri 19:00-07:30; sat,sun 00:00-24:00"'
_ENTRY = re.compile(r"(?P<days>[a-z][a-z,\s-]*?)?\s*(?P<windows>\d.*)", re.DOTALL)
_WINDOW = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


class ScheduleError(ValueError):
    """A schedule that cannot be; one sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes of a week in which something may happen.

    ``windows`` are half-open (start, end) in minutes since Monday 00:00, 0 <= start < end <= a
    week, sorted, apart from each other. One that is always open has one window of a week.
    """

    windows: tuple[tuple[int, int], ...]

    @property
    def is_always(self) -> bool:
        """Whether it never closes."""
        return self.windows == ((0, WEEK_MINUTES),)

    def is_open(self, wall: datetime) -> bool:
        """Whether it is open when a clock on the wall shows ``wall``."""
        return self._open_at(_minute(wall))

    def next_change(self, now: float, local: LocalTime) -> float | None:
        """Return when it next opens or closes, in seconds since 1970; None when it never does.

        Exact to `_INSTANT_SECONDS`, also where the wall clock jumps in between.
        """
        if self.is_always:
            return None
        was_open = self.is_open(local(now))
        at = now
        # Two jumps of the clock lie months apart; each boundary of a week is passed once.
        for _ in range(4 * len(self.windows) + 8):
            wall = local(at)
            into = _minute(wall) + (wall.second + wall.microsecond / 1e6) / 60
            ahead = min((edge - into) % WEEK_MINUTES or WEEK_MINUTES for edge in self._edges())
            then = at + ahead * _MINUTE_SECONDS
            jump = _jump_between(at, then, local)
            at = then if jump is None else jump
            # A boundary that is not a whole number of seconds away must have been passed.
            if self.is_open(local(at + _INSTANT_SECONDS)) != was_open:
                return at
            at += _INSTANT_SECONDS
        return None

    def _edges(self) -> set[int]:
        return {edge % WEEK_MINUTES for window in self.windows for edge in window}

    def _open_at(self, minute: int) -> bool:
        return any(start <= minute < end for start, end in self.windows)


ALWAYS = Schedule(((0, WEEK_MINUTES),))


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that ``text`` spells; '' is `ALWAYS`. Raises `ScheduleError`."""
    if len(text) > SCHEDULE_MAX_CHARS:
        raise ScheduleError(f"A schedule may have at most {SCHEDULE_MAX_CHARS} characters.")
    if not text.strip():
        return ALWAYS
    minutes: list[tuple[int, int]] = []
    for entry in text.lower().split(";"):
        if entry.strip():
            minutes += _parse_entry(entry.strip())
    if not minutes:
        raise ScheduleError(f"The schedule {text!r} has no window; write one {_EXAMPLE}.")
    return Schedule(_merge(minutes))


def _parse_entry(entry: str) -> list[tuple[int, int]]:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ScheduleError(
            f"{entry!r} in the schedule is no window of days and times, {_EXAMPLE}."
        )
    found: list[tuple[int, int]] = []
    for day in _parse_days(match["days"] or "mon-sun"):
        for window in match["windows"].split(","):
            start, end = _parse_window(window.strip())
            begin = day * DAY_MINUTES + start
            length = (end - start) % DAY_MINUTES or DAY_MINUTES
            stop = begin + length
            found.append((begin, min(stop, WEEK_MINUTES)))
            if stop > WEEK_MINUTES:
                found.append((0, stop - WEEK_MINUTES))
    return found


def _parse_days(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _day(first.strip())
        end = _day(last.strip()) if dash else start
        days += [(start + step) % 7 for step in range((end - start) % 7 + 1)]
    return sorted(set(days))


def _day(text: str) -> int:
    for number, (short, long) in enumerate(zip(DAYS, _LONG_DAYS, strict=True)):
        if text in (short, long):
            return number
    raise ScheduleError(f"{text!r} in the schedule is no day; the days are {', '.join(DAYS)}.")


def _parse_window(text: str) -> tuple[int, int]:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ScheduleError(f"{text!r} in the schedule is no window of times such as 19:00-07:30.")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= DAY_MINUTES or end > DAY_MINUTES:
        raise ScheduleError(f"{text!r} in the schedule has a time that no clock shows.")
    if start == end:
        raise ScheduleError(f"{text!r} in the schedule is empty; a whole day is 00:00-24:00.")
    return start, end


def _merge(minutes: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(minutes):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _minute(wall: datetime) -> int:
    return wall.weekday() * DAY_MINUTES + wall.hour * 60 + wall.minute


def _jump_between(start: float, end: float, local: LocalTime) -> float | None:
    """Return the moment after ``start`` at which the wall clock has jumped; None if it has not."""
    before = local(start).utcoffset()
    if local(end).utcoffset() == before:
        return None
    while end - start > _INSTANT_SECONDS / 4:
        middle = (start + end) / 2
        if local(middle).utcoffset() == before:
            start = middle
        else:
            end = middle
    return end
