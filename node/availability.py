"""When a node may render: its hours, whether its user is away, what else the machine does.

Pure: settings and what was seen go in, a verdict comes out. The clock is the caller's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..protocol.messages import Availability
from ..protocol.node_settings import NodeSettings
from ..protocol.schedule import LocalTime, parse_schedule

LOAD_WINDOW_SECONDS = 30.0
"""The load of others is its mean over so long: opening a program is no work that must not be
disturbed."""
LOAD_AGAIN_PART = 0.8
"""Rendering begins again below this part of the limit; at the limit itself it would flutter."""

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of the machine."""

    now: float
    """Seconds since 1970."""
    idle_seconds: float | None = None
    """Since its user last touched it; None: this machine cannot tell."""
    idle_trouble: str = ""
    """Why it cannot tell, a sentence."""
    load: float | None = None
    """Part of the processors that other processes use, 0 to 1, as a mean; None: not known yet."""


class AvailabilityRule:
    """Judges what is seen by the settings of a node. It remembers only which side of the load's
    limit it is on."""

    def __init__(self, settings: NodeSettings, local: LocalTime) -> None:
        """Take settings that `node_settings.check` let pass; ``local`` is the node's wall clock."""
        self.settings = settings
        self._schedule = parse_schedule(settings.schedule)
        self._local = local
        self._is_loaded = False

    def judge(self, seen: Seen) -> Availability:
        """Return whether the node may render now, why not, and when that changes by itself."""
        next_change = self._schedule.next_change(seen.now, self._local)
        if not self._schedule.is_open(self._local(seen.now)):
            when = "" if next_change is None else self._when(seen.now, next_change)
            return Availability(
                available=False,
                reason=f"Outside its hours ({self.settings.schedule}){when}.",
                changes_at=next_change,
            )
        return (
            self._by_user(seen)
            or self._by_load(seen)
            or Availability(available=True, changes_at=next_change)
        )

    def _by_user(self, seen: Seen) -> Availability | None:
        minutes = self.settings.idle_minutes
        if not minutes:
            return None
        if seen.idle_seconds is None:
            # Whoever is there must never be taken for being away.
            return Availability(
                available=False,
                reason=f"This machine cannot tell whether its user is away: {seen.idle_trouble}",
            )
        left = minutes * 60 - seen.idle_seconds
        if left <= 0:
            return None
        return Availability(
            available=False,
            reason=f"Its user is there; it renders after {_minutes(minutes)} without input.",
            changes_at=seen.now + left,
        )

    def _by_load(self, seen: Seen) -> Availability | None:
        limit = self.settings.max_load
        if not limit:
            return None
        if seen.load is None:
            return Availability(available=False, reason="Looking what else this machine does.")
        self._is_loaded = seen.load > limit * (LOAD_AGAIN_PART if self._is_loaded else 1.0)
        if not self._is_loaded:
            return None
        # No figure that changes by the second: a reason is told when it becomes another.
        return Availability(
            available=False,
            reason=f"Other programs use more than {limit:.0%} of its processors.",
        )

    def _when(self, now: float, then: float) -> str:
        wall = self._local(then)
        day = f" on {wall:%A}" if then - now > _DAY_SECONDS else ""
        return f"; it renders again from {wall:%H:%M}{day}"


class MeanLoad:
    """The mean of a load over the last `LOAD_WINDOW_SECONDS`. Times are of any steady clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque()

    def add(self, start: float, end: float, load: float) -> None:
        """Note the load between two times."""
        self._samples.append((start, end, load))
        while self._samples and self._samples[0][1] <= end - LOAD_WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def mean(self) -> float | None:
        """The mean, weighted by time; None before the first sample."""
        seconds = sum(end - start for start, end, _ in self._samples)
        if seconds <= 0:
            return None
        return sum((end - start) * load for start, end, load in self._samples) / seconds


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return f"{minutes * 60:.3g} s"
    return "a minute" if minutes == 1 else f"{minutes:g} minutes"
