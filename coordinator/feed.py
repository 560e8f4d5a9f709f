"""What has changed, for everyone who follows: a bounded ring of events in memory.

Events are news, not truth: who has missed some is told so (`reset`) and fetches the views anew.
Sequence numbers begin at the microsecond of the start, so numbers of an earlier run are always
below and are recognised as gone. Changes of one thing that come faster than `QUIET_SECONDS` are put
together; a change of state is never held back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..protocol.codec import encode_json
from ..protocol.states import FRAME_OPEN
from ..protocol.views import Event, FrameView, JobView, NodeView
from .farm.decisions import Changed, Publish

RING_MAX_EVENTS = 8192
RING_MAX_BYTES = 32 * 1024 * 1024
QUIET_SECONDS = 0.25
"""Least time between two events about the same thing in the same state."""
BURST_MAX_FRAMES = 2000
"""Frames changed at a stroke (a job of 100,000 cancelled) beyond which a reset says it better."""

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


class EventFeed:
    """The ring, and the coalescing in front of it. Belongs to one event loop."""

    def __init__(
        self,
        job_view: Callable[[str], JobView | None],
        frame_view: Callable[[str, int], FrameView | None],
        node_view: Callable[[str], NodeView | None],
    ) -> None:
        self._job_view = job_view
        self._frame_view = frame_view
        self._node_view = node_view
        self._ring: deque[Told] = deque()
        self._bytes = 0
        self._sequence = time.time_ns() // 1000
        self._marks: dict[Key, _Mark] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

    @property
    def sequence(self) -> int:
        """Number of the newest event."""
        return self._sequence

    # --- in -----------------------------------------------------------------------------------

    def publish(self, change: Publish) -> None:
        """Tell that a view has changed, now or soon."""
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
        event, state = self._event(key)
        if event is None:
            self._marks.pop(key, None)
            return
        now = time.monotonic()
        mark = self._marks.get(key)
        if mark is not None and mark.state == state and now < mark.quiet_until:
            mark.is_waiting = True
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._flush)
            return
        self._append(event)
        if key[0] is Changed.FRAME and event.frame and event.frame.state not in FRAME_OPEN:
            # Nothing more will come soon; a film of 100,000 frames must not stay listed here.
            self._marks.pop(key, None)
        else:
            self._marks[key] = _Mark(state, now + QUIET_SECONDS)

    def _flush(self) -> None:
        self._timer = None
        now = time.monotonic()
        waiting = [key for key, mark in self._marks.items() if mark.is_waiting]
        for key in waiting:
            self._marks[key].is_waiting = False
            self._mark(key)
        for key in [k for k, m in self._marks.items() if not m.is_waiting and m.quiet_until < now]:
            del self._marks[key]

    def _event(self, key: Key) -> tuple[Event | None, object]:
        kind, name, number = key
        now = time.time()
        if kind is Changed.JOB:
            job = self._job_view(name)
            if job is not None:
                event = Event(sequence=0, kind="job", time=now, job_id=name, job=job)
                return event, (job.state, job.paused)
        elif kind is Changed.FRAME:
            frame = self._frame_view(name, number)
            if frame is not None:
                event = Event(sequence=0, kind="frame", time=now, job_id=name, frame=frame)
                return event, (frame.state, frame.generation)
        elif kind is Changed.NODE:
            node = self._node_view(name)
            if node is not None:
                event = Event(sequence=0, kind="node", time=now, node_id=name, node=node)
                return event, node.state
        return None, None

    def _append(self, event: Event) -> None:
        self._sequence += 1
        numbered = Event(
            sequence=self._sequence,
            kind=event.kind,
            time=event.time,
            job_id=event.job_id,
            job=event.job,
            frame=event.frame,
            node=event.node,
            node_id=event.node_id,
            lines=event.lines,
            log_number=event.log_number,
            log_frame=event.log_frame,
        )
        told = Told(self._sequence, event.kind, event.job_id, encode_json(numbered))
        self._ring.append(told)
        self._bytes += len(told.data)
        while len(self._ring) > RING_MAX_EVENTS or self._bytes > RING_MAX_BYTES:
            self._bytes -= len(self._ring.popleft().data)
        # Everyone who waits now is woken; whoever comes later waits on the next one.
        self._news.set()
        self._news = asyncio.Event()

    # --- out ----------------------------------------------------------------------------------

    def since(self, sequence: int) -> list[Told] | None:
        """Return the events after ``sequence``; None when some of them are gone."""
        if sequence == self._sequence:
            return []
        oldest = self._ring[0].sequence if self._ring else self._sequence + 1
        if not oldest - 1 <= sequence < self._sequence:
            return None
        # Sequences are consecutive in the ring, so the place follows from the number.
        return [self._ring[place] for place in range(sequence + 1 - oldest, len(self._ring))]

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
