"""How busy the farm was, minute by minute, for as long as a chart looks back.

Between two calls of `note` nothing changes, so the figures of a minute are exact means and not
samples. What is written down once a minute (`load_book`) is taken up again after a restart; the
time in between counts as time without nodes, for nobody was told of any.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import msgspec

from ..protocol.views import FarmHistory

MINUTE_SECONDS = 60.0
KEPT_MINUTES = 180
"""What the page shows is the last hour; the rest is for whoever asks the API."""


@dataclass(slots=True)
class _Minute:
    rendering_seconds: float = 0.0
    online_seconds: float = 0.0
    seconds: float = 0.0
    frames_done: int = 0


class _Written(msgspec.Struct, frozen=True):
    """A history as text; a minute is `_Minute` as a row."""

    first: int
    until: float
    minutes: list[tuple[float, float, float, int]]


class UnreadableHistory(ValueError):
    """What was kept of the load is none."""


class LoadHistory:
    """Mean numbers of nodes and finished frames of the last `KEPT_MINUTES` minutes."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._rendering = 0
        self._online = 0
        self._first = math.floor(now / MINUTE_SECONDS)
        self._minutes: deque[_Minute] = deque([_Minute()])

    def note(self, now: float, *, rendering: int, online: int, frames_done: int) -> None:
        """Take over how many nodes there are from now on, and frames that were just finished.

        ``now`` is in seconds since 1970; a clock that was set back stands still until it has
        caught up.
        """
        self._advance(now)
        self._rendering, self._online = rendering, online
        self._minutes[-1].frames_done += frames_done

    def view(self, now: float) -> FarmHistory:
        """Return the minutes up to now, the one in progress included."""
        self._advance(now)
        return FarmHistory(
            start=self._first * MINUTE_SECONDS,
            minute_seconds=MINUTE_SECONDS,
            rendering=tuple(_mean(one.rendering_seconds, one) for one in self._minutes),
            online=tuple(_mean(one.online_seconds, one) for one in self._minutes),
            frames_done=tuple(one.frames_done for one in self._minutes),
        )

    def written(self, now: float) -> str:
        """Return everything up to ``now`` as text, for `take_up`."""
        self._advance(now)
        minutes = [
            (one.rendering_seconds, one.online_seconds, one.seconds, one.frames_done)
            for one in self._minutes
        ]
        return msgspec.json.encode(_Written(self._first, self._now, minutes)).decode()

    def take_up(self, text: str) -> None:
        """Put what `written` has returned before what is here.

        Raises `UnreadableHistory`. What ends later than this history is left out: it was written
        by a clock that went wrong.
        """
        try:
            kept = msgspec.json.decode(text, type=_Written)
        except msgspec.MsgspecError as error:
            raise UnreadableHistory(str(error)) from error
        if not kept.minutes or not math.isfinite(kept.until):
            raise UnreadableHistory("It has no minutes.")
        now, here = self._now, self._minutes
        if kept.until > now or kept.first + len(kept.minutes) > self._first + len(here):
            return
        frames = sum(one.frames_done for one in here)
        rendering, online = self._rendering, self._online
        self._first, self._now = kept.first, kept.until
        self._minutes = deque(_Minute(*one) for one in kept.minutes)
        self._rendering = self._online = 0
        self.note(now, rendering=rendering, online=online, frames_done=frames)

    def _advance(self, now: float) -> None:
        behind = math.floor(now / MINUTE_SECONDS) - self._first - len(self._minutes) + 1
        if behind > KEPT_MINUTES:
            # The machine slept, or its clock was set: what lies before has left the picture.
            self._first = math.floor(now / MINUTE_SECONDS) - KEPT_MINUTES
            self._minutes.clear()
            self._minutes.append(_Minute())
            self._now = self._first * MINUTE_SECONDS
        while self._now < now:
            end = (self._first + len(self._minutes)) * MINUTE_SECONDS
            until = min(end, now)
            seconds = until - self._now
            minute = self._minutes[-1]
            minute.rendering_seconds += seconds * self._rendering
            minute.online_seconds += seconds * self._online
            minute.seconds += seconds
            self._now = until
            if until >= end:
                self._minutes.append(_Minute())
        while len(self._minutes) > KEPT_MINUTES:
            self._minutes.popleft()
            self._first += 1


def _mean(node_seconds: float, minute: _Minute) -> float:
    return round(node_seconds / minute.seconds, 3) if minute.seconds > 0 else 0.0
