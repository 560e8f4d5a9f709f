"""What has changed, for everyone who follows: a bounded ring of events in memory.

Events are news, not truth: who has missed some is told so (`reset`) and fetches the views anew.
Sequence numbers begin at the microsecond of the start, so numbers of an earlier run are always
below and are recognised as gone. Changes of one thing that come faster than `QUIET_SECONDS` are put
together, and the last of them is always told; a change of state is never held back.

Views cost more than the decisions they show. So they are made when they are told and not when
something changes, and while nobody follows none are made at all: the events count as gone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from ..protocol.codec import encode_json
from ..protocol.states import FRAME_OPEN
from ..protocol.views import Event, FrameView, JobView, NodeView
from .clock import Clock
from .farm.decisions import Changed, Publish
from .farm.farm import Farm

RING_MAX_EVENTS = 8192
RING_MAX_BYTES = 32 * 1024 * 1024
QUIET_SECONDS = {Changed.FRAME: 0.25, Changed.JOB: 1.0, Changed.NODE: 1.0}
"""Least time between two events about the same thing in the same state. The time left of a job is
estimated over all that its nodes hold, and its counts are told by its frames already."""
FLUSH_SECONDS = 0.25
"""Least time between two looks at what was put together."""
BURST_MAX_FRAMES = 2000
"""Frames changed at a stroke (a job of 100,000 cancelled) beyond which a reset says it better."""

LINGER_SECONDS = 60.0
"""Events are kept for this long after the last follower left, or after somebody asked where the
stream stands: a line that broke is taken up again where it was."""

Key = tuple[Changed, str, int]


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it lies in the ring."""

    sequence: int
    kind: str
    job_id: str
    data: bytes
    """JSON of the `views.Event`."""


@dataclass(slots=True)
class _Mark:
    """What was last told of one thing, and when it may be told again."""

    state: object
    quiet_until: float
    is_waiting: bool = False


class Views(Protocol):
    """What the feed shows. States are cheap, views are not; None for what is not there."""

    def job_state(self, job_id: str) -> object:
        """What makes a change of a job urgent when it differs."""
        ...

    def frame_state(self, job_id: str, frame: int) -> object:
        """The same of a frame."""
        ...

    def node_state(self, node_id: str) -> object:
        """The same of a node."""
        ...

    def job_view(self, job_id: str) -> JobView | None:
        """Return a job as listed."""
        ...

    def frame_view(self, job_id: str, frame: int) -> FrameView | None:
        """Return a frame as listed."""
        ...

    def node_view(self, node_id: str) -> NodeView | None:
        """Return a node as listed."""
        ...


class FarmViewsNow:
    """The views of a farm at the time when they are asked for, as `Views`."""

    def __init__(self, farm: Farm, clock: Clock) -> None:
        self.job_state = farm.job_state
        self.frame_state = farm.frame_state
        self.node_state = farm.node_state
        self.frame_view = farm.frame_view
        self._farm = farm
        self._clock = clock

    def job_view(self, job_id: str) -> JobView | None:
        """Return a job as listed."""
        return self._farm.job_view(job_id, self._clock.now())

    def node_view(self, node_id: str) -> NodeView | None:
        """Return a node as listed."""
        return self._farm.node_view(node_id, self._clock.now())


class EventFeed:
    """The ring, and the coalescing in front of it. Belongs to one event loop."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._ring: deque[Told] = deque()
        self._bytes = 0
        self._sequence = time.time_ns() // 1000
        self._marks: dict[Key, _Mark] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._followers = 0
        self._kept_until = 0.0

    @property
    def sequence(self) -> int:
        """Number of the newest event. Whoever asks is taken to follow from there soon."""
        self._kept_until = time.monotonic() + LINGER_SECONDS
        return self._sequence

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Keep events for somebody who follows, while this lasts."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            self._kept_until = time.monotonic() + LINGER_SECONDS

    def _is_followed(self) -> bool:
        return self._followers > 0 or time.monotonic() < self._kept_until

    def _skip(self) -> None:
        """Something changed and nobody follows: whoever comes later is told to begin anew."""
        self._sequence += 1
        if self._ring:
            self._ring.clear()
            self._bytes = 0
            self._marks.clear()

    # --- in -----------------------------------------------------------------------------------

    def publish(self, change: Publish) -> None:
        """Tell that a view has changed, now or soon."""
        if not self._is_followed():
            self._skip()
            return
        match change.kind:
            case Changed.FRAME if len(change.frames) > BURST_MAX_FRAMES:
                self._append(Event(sequence=0, kind="reset", time=time.time(), job_id=change.job))
            case Changed.FRAME:
                for frame in change.frames:
                    self._mark((Changed.FRAME, change.job, frame))
            case Changed.JOB:
                self._mark((Changed.JOB, change.job, 0))
            case Changed.NODE:
                self._mark((Changed.NODE, change.node, 0))
            case Changed.JOB_REMOVED:
                self._marks = {
                    key: mark for key, mark in self._marks.items() if key[1] != change.job
                }
                self._append(
                    Event(sequence=0, kind="job_removed", time=time.time(), job_id=change.job)
                )

    def tell_log(
        self,
        lines: tuple[str, ...],
        node: str,
        job: str,
        *,
        frame: int | None = None,
        number: int = 0,
    ) -> None:
        """Pass on log lines of a node; ``number`` is that of the first in the log."""
        if not self._is_followed():
            self._skip()
            return
        self._append(
            Event(
                sequence=0,
                kind="log",
                time=time.time(),
                job_id=job,
                node_id=node,
                lines=lines,
                log_number=number,
                log_frame=frame,
            )
        )

    def close(self) -> None:
        """Stop the timer; followers are ended by their own connections."""
        if self._timer is not None:
            self._timer.cancel()

    def _mark(self, key: Key) -> None:
        state = self._state(key)
        if state is None:
            self._marks.pop(key, None)
            return
        now = time.monotonic()
        mark = self._marks.get(key)
        if mark is not None and mark.state == state and now < mark.quiet_until:
            mark.is_waiting = True
            self._flush_later()
            return
        event = self._event(key)
        if event is None:
            self._marks.pop(key, None)
            return
        self._append(event)
        if key[0] is Changed.FRAME and event.frame and event.frame.state not in FRAME_OPEN:
            # Nothing more will come soon; a film of 100,000 frames must not stay listed here.
            self._marks.pop(key, None)
        else:
            self._marks[key] = _Mark(state, now + QUIET_SECONDS[key[0]])

    def _flush_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        now = time.monotonic()
        for key, mark in list(self._marks.items()):
            if now < mark.quiet_until:
                if mark.is_waiting:
                    self._flush_later()
            elif mark.is_waiting:
                self._mark(key)
            else:
                del self._marks[key]

    def _state(self, key: Key) -> object:
        kind, name, number = key
        if kind is Changed.JOB:
            return self._views.job_state(name)
        if kind is Changed.FRAME:
            return self._views.frame_state(name, number)
        return self._views.node_state(name)

    def _event(self, key: Key) -> Event | None:
        kind, name, number = key
        now = time.time()
        if kind is Changed.JOB:
            job = self._views.job_view(name)
            return job and Event(sequence=0, kind="job", time=now, job_id=name, job=job)
        if kind is Changed.FRAME:
            frame = self._views.frame_view(name, number)
            return frame and Event(sequence=0, kind="frame", time=now, job_id=name, frame=frame)
        node = self._views.node_view(name)
        return node and Event(sequence=0, kind="node", time=now, node_id=name, node=node)

    def _append(self, event: Event) -> None:
        self._sequence += 1
        numbered = replace(event, sequence=self._sequence)
        told = Told(self._sequence, event.kind, event.job_id, encode_json(numbered))
        self._ring.append(told)
        self._bytes += len(told.data)
        while len(self._ring) > RING_MAX_EVENTS or self._bytes > RING_MAX_BYTES:
            self._bytes -= len(self._ring.popleft().data)
        if self._followers:
            # Everyone who waits now is woken; whoever comes later waits on the next one.
            self._news.set()
            self._news = asyncio.Event()

    # --- out ----------------------------------------------------------------------------------

    def since(self, sequence: int, most_bytes: int = RING_MAX_BYTES) -> list[Told] | None:
        """Return the events after ``sequence``, at least one and then as many as ``most_bytes``
        hold; None when some of them are gone."""
        if sequence == self._sequence:
            return []
        oldest = self._ring[0].sequence if self._ring else self._sequence + 1
        if not oldest - 1 <= sequence < self._sequence:
            return None
        found: list[Told] = []
        length = 0
        # Sequences are consecutive in the ring, so the place follows from the number.
        for told in islice(self._ring, sequence + 1 - oldest, None):
            length += len(told.data)
            if found and length > most_bytes:
                break
            found.append(told)
        return found

    async def wait(self, seconds: float) -> bool:
        """Wait for the next event; False when none came in time."""
        news = self._news
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return False
        return True

    def reset_event(self) -> bytes:
        """Return the JSON that tells a follower to fetch everything and go on from here."""
        return encode_json(Event(sequence=self._sequence, kind="reset", time=time.time()))
