"""The frames of one job: the state of each, the records of those touched, and what comes next.

Built for 100,000 frames: an untouched frame of an unbroken range costs one byte, of any other five;
handing out a frame costs the same however many there are.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from ...protocol.frames import FILM_FRAME
from ...protocol.job import FrameOrder
from ...protocol.states import FRAME_MOVES, FRAME_OPEN, FrameState
from .records import FrameRecord

STATES = tuple(FrameState)
"""The state whose code is its index here."""
CODE = {state: code for code, state in enumerate(STATES)}
_WAITING = CODE[FrameState.WAITING]

RETRIES_LOOKED_AT = 64
"""Most frames waiting for another try that are looked at for one node."""


class FrameTable:
    """States, records and queue of a job's frames, addressed by position in ascending order.

    With ``has_film`` the position behind the last frame is the film's. It has a record and a state
    like a frame, is handed out when every frame is done, and is counted nowhere.
    """

    def __init__(
        self,
        job: str,
        frames: Sequence[int],
        order: FrameOrder,
        untouched: FrameState,
        has_film: bool = False,
    ) -> None:
        self.job = job
        self.film = len(frames) if has_film else None
        """Position of the film; None where there is to be none."""
        self._numbers = frames if isinstance(frames, range) else array("i", frames)
        """Of the frames, without the film."""
        self.states = bytearray([CODE[untouched]]) * len(frames)
        self.records: dict[int, FrameRecord] = {}
        """Position -> record, of every frame that has one."""
        self.counts = [0] * len(STATES)
        """Frames by the code of their state."""
        self.counts[CODE[untouched]] = len(frames)
        self.untouched = untouched
        self._scouts: tuple[int, ...] = ()
        """While they are set, nothing else is handed out: the rest waits for approval."""
        self._order: Sequence[int] = _sequence(len(frames), order)
        self._cursor = 0
        """What comes before this place was handed out, or is in one of the two below."""
        self._front: list[tuple[int, int]] = []
        """Heap of (turn, position): frames that wait again, and scouts. May hold stale entries."""
        self._turns = 0
        self._retries: dict[int, None] = {}
        """Positions of waiting frames that failed somewhere, oldest failure first."""
        self.is_shed = False
        """Whether the records are in the database alone; states and numbers are known all the
        same, and the film's record is kept."""

    def __len__(self) -> int:
        return len(self.states)

    def number(self, position: int) -> int:
        """Return the number of the frame at a position, `FILM_FRAME` at that of the film."""
        return FILM_FRAME if position == self.film else self._numbers[position]

    def position(self, frame: int) -> int | None:
        """Return where a frame stands, None if the job does not have it."""
        if frame == FILM_FRAME:
            return self.film
        index = self.position_from(frame)
        if index < len(self._numbers) and self._numbers[index] == frame:
            return index
        return None

    def position_from(self, frame: int) -> int:
        """Return where the first frame of this number or a larger one stands; their count if none
        does."""
        return bisect_left(self._numbers, frame)

    def state(self, position: int) -> FrameState:
        """Return the state of the frame at a position."""
        if position == self.film:
            return self.record(position).state
        return STATES[self.states[position]]

    def count(self, state: FrameState) -> int:
        """Return how many frames are in a state."""
        return self.counts[CODE[state]]

    def record(self, position: int) -> FrameRecord:
        """Return the record of a frame, made up from `untouched` where there is none."""
        record = self.records.get(position)
        if record is None:
            assert not self.is_shed, f"the frames of {self.job} are in the database alone"
            state = FrameState.WAITING if position == self.film else self.untouched
            record = FrameRecord(job=self.job, frame=self.number(position), state=state)
        return record

    def store(self, position: int, record: FrameRecord) -> None:
        """Replace a frame's record, and queue the frame where it waits from now on.

        Raises `AssertionError` for a move that `FRAME_MOVES` does not allow.
        """
        before = CODE[self.state(position)]
        after = CODE[record.state]
        self.records[position] = record
        if after == before:
            return
        assert record.state in FRAME_MOVES[STATES[before]], (
            f"frame {record.frame} of {self.job}: {STATES[before].value} -> {record.state.value}"
        )
        if position == self.film:
            return
        self.states[position] = after
        self.counts[before] -= 1
        self.counts[after] += 1
        if after == _WAITING:
            self._queue(position, record)
        else:
            self._retries.pop(position, None)

    def shed(self) -> None:
        """Forget the records, which are stored; only while nothing waits and nothing is leased."""
        film = None if self.film is None else self.record(self.film)
        self.records = {} if film is None or self.film is None else {self.film: film}
        self._front.clear()
        self._retries.clear()
        self.is_shed = True

    def recall(self, records: Iterable[FrameRecord]) -> None:
        """Take the records back, as they are stored."""
        self.is_shed = False
        for record in records:
            position = self.position(record.frame)
            assert position is not None, f"{self.job} has no frame {record.frame}"
            self.records[position] = record

    def load(self, records: Iterable[FrameRecord]) -> None:
        """Take over stored records as they are: only at start, before anything is handed out.

        Raises `ValueError` for a frame the job does not have.
        """
        for record in records:
            position = self.position(record.frame)
            if position is None:
                raise ValueError(
                    f"The database has frame {record.frame} of job {self.job}, which has no such "
                    "frame; restore the database from a backup."
                )
            if position == self.film:
                self.records[position] = record
                continue
            code = CODE[record.state]
            self.counts[self.states[position]] -= 1
            self.counts[code] += 1
            self.states[position] = code
            self.records[position] = record
            if code == _WAITING:
                self._queue(position, record)

    def load_done(self) -> None:
        """Every frame is done, and its record in the database alone; at start, as `load`."""
        self.counts[self.states[0]] -= len(self)
        self.counts[CODE[FrameState.DONE]] += len(self)
        self.states = bytearray([CODE[FrameState.DONE]]) * len(self)
        self.is_shed = True

    @property
    def is_complete(self) -> bool:
        """Whether every frame is done."""
        return self.count(FrameState.DONE) == len(self)

    @property
    def film_waits(self) -> bool:
        """Whether the film is to be handed out: every frame is done, and nobody has it."""
        film = self.film
        return film is not None and self.is_complete and self.state(film) is FrameState.WAITING

    @property
    def film_is_open(self) -> bool:
        """Whether every frame is done and the film is not, but can still be."""
        film = self.film
        return film is not None and self.is_complete and self.state(film) in FRAME_OPEN

    def reorder(self, order: FrameOrder) -> None:
        """Hand out in another order what has not been handed out yet."""
        self._order = _sequence(len(self), order)
        self._cursor = 0

    @property
    def held(self) -> bool:
        """Whether only `scouts` are handed out."""
        return bool(self._scouts)

    @property
    def scouts(self) -> tuple[int, ...]:
        """Positions of the only frames that are handed out; none once all may be."""
        return self._scouts

    def hold(self, scouts: tuple[int, ...]) -> None:
        """Hand out these positions alone, until `let_go`; before anything is handed out."""
        self._scouts = scouts
        self.move_to_front(scouts)

    def let_go(self) -> None:
        """Hand out every frame from now on."""
        scouts, self._scouts = self._scouts, ()
        for position in self.positions(FrameState.WAITING):
            record = self.records.get(position)
            if record is not None and position not in scouts:
                self._queue(position, record)

    def set_untouched(self, state: FrameState) -> None:
        """Move every frame without a record to ``state``, and begin the order anew."""
        if state is not self.untouched:
            before, after = CODE[self.untouched], CODE[state]
            for position in list(self.positions(self.untouched)):
                if position not in self.records:
                    self.states[position] = after
                    self.counts[before] -= 1
                    self.counts[after] += 1
            self.untouched = state
        self._cursor = 0
        if state is FrameState.WAITING:
            # Scouts not begun leave the front when somebody looks while they are cancelled.
            self.move_to_front(one for one in self._scouts if one not in self.records)

    def positions(self, state: FrameState, start: int = 0) -> Iterator[int]:
        """Yield the positions of the frames in a state, ascending from ``start``."""
        code = CODE[state]
        position = self.states.find(code, start)
        while position >= 0:
            yield position
            position = self.states.find(code, position + 1)

    def move_to_front(self, positions: Iterable[int]) -> None:
        """Hand these out before all others, in this order."""
        for position in positions:
            self._turns += 1
            heapq.heappush(self._front, (self._turns, position))

    def has_fresh(self) -> bool:
        """Whether a frame that any node may render waits to be handed out."""
        return self._next_fresh() is not None

    def retries(self) -> Iterator[FrameRecord]:
        """Yield records of frames waiting for another try, at most `RETRIES_LOOKED_AT`."""
        if self._film_waits_again():
            assert self.film is not None
            yield self.record(self.film)
        for index, position in enumerate(self._retries):
            if index >= RETRIES_LOOKED_AT:
                return
            yield self.records[position]

    def has_retries(self) -> bool:
        """Whether frames that failed somewhere wait for another try."""
        return bool(self._retries) or self._film_waits_again()

    def peek(self, may_try: Callable[[FrameRecord], bool]) -> int | None:
        """Return the position to hand out next, None when there is none for this node.

        Frames that failed elsewhere come first, where ``may_try`` lets this node have them: their
        fate decides whether the job can end well. The caller leases the frame, which takes it out.
        """
        for record in self.retries():
            if may_try(record):
                return self.position(record.frame)
        return self._next_fresh()

    def _film_waits_again(self) -> bool:
        film = self.film
        return film is not None and self.film_waits and bool(self.record(film).failed_on)

    def _queue(self, position: int, record: FrameRecord) -> None:
        if self.held and position not in self._scouts:
            return  # A frame with a history of its own; `let_go` finds it.
        if record.failed_on:
            self._retries[position] = None
        else:
            self._turns += 1
            heapq.heappush(self._front, (self._turns, position))

    def _next_fresh(self) -> int | None:
        if self.film_waits:
            return None if self._film_waits_again() else self.film
        front, states = self._front, self.states
        while front:
            position = front[0][1]
            if states[position] == _WAITING and position not in self._retries:
                return position
            heapq.heappop(front)
        if self.held:
            return None
        order = self._order
        while self._cursor < len(order):
            position = order[self._cursor]
            if states[position] == _WAITING and position not in self._retries:
                return position
            self._cursor += 1
        return None

    def is_open(self, position: int) -> bool:
        """Whether the frame at a position still accepts a result."""
        return self.state(position) in FRAME_OPEN


def scout_positions(count: int) -> tuple[int, ...]:
    """Return the positions of the scouts of a job: first, middle, last."""
    return tuple(dict.fromkeys((0, count // 2, count - 1)))


def _sequence(count: int, order: FrameOrder) -> Sequence[int]:
    if order is FrameOrder.FORWARD:
        return range(count)
    if order is FrameOrder.BACKWARD:
        return range(count - 1, -1, -1)
    return BinaryOrder(count)


class BinaryOrder(Sequence[int]):
    """The positions 0 to ``count - 1``: first, last, middle, quarters, eighths, ...

    Worked out as far as somebody has asked.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._known = array("I", range(min(count, 1)) if count < 2 else (0, count - 1))
        self._gaps = deque([(0, count - 1)])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        """Return the position at a place of the order."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = range(self._count)[index]
        while len(self._known) <= place:
            low, high = self._gaps.popleft()
            if high - low >= 2:
                middle = (low + high) // 2
                self._known.append(middle)
                self._gaps.append((low, middle))
                self._gaps.append((middle, high))
        return self._known[place]
