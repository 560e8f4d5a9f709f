"""The one task that owns the farm: events in, decisions out, carried out in the order of promise.

Events queue up while a commit is on its way; then all that wait are applied, what they decided is
stored in one transaction, and only when that is durable are messages sent, requests answered and
changes published. Nobody else calls `Farm.apply`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from ..protocol.states import JOB_ENDED
from .clock import Clock
from .connections import NodeConnections
from .ended_jobs import EndedJobs
from .farm.decisions import (
    Decision,
    DeleteJob,
    Disconnect,
    Publish,
    SaveAttempt,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
    SaveNode,
    Send,
)
from .farm.events import FarmEvent, FarmRefusal, StoodStill, Tick
from .farm.farm import Farm
from .farm.records import AttemptRecord
from .feed import EventFeed, FarmViewsNow
from .load import LoadHistory
from .store import DiskFull, StoreError, rows
from .store.store import Store

_log = logging.getLogger(__name__)

QUEUE_MAX_EVENTS = 4096
"""Events waiting for the farm; beyond it, whoever brings more waits."""
BATCH_MAX_EVENTS = 256
"""Most events applied before their decisions are stored."""
WAKEUP_LEAST_SECONDS = 0.001
"""A wake-up that is overdue must still let the loop breathe."""

DISK_FULL_SECONDS = 2.0
"""Between two tries to store something on a disk that is full."""
DISK_FULL_ANSWER_SECONDS = 10.0
"""People who wait for a disk that is full are told so after this, whatever they asked for."""
DEAF_SECONDS = 5.0
"""A wake-up that comes so late shows that this process did not run: nobody could be heard."""

_STORED = (SaveJob, SaveFrames, SaveAttempt, SaveNode, SaveEpochCeiling, DeleteJob)

Also = Callable[[Connection], None]
"""Something to write in the very transaction that stores what an event decides."""


@dataclass(slots=True)
class _Entry:
    event: FarmEvent
    also: Also | None
    answer: asyncio.Future[None] | None
    is_withdrawn: bool = False
    """Whoever asked was told that nothing was changed."""


class NotYetStored(DiskFull):
    """It is decided, and will be done as soon as there is room."""

    def __init__(self, sentence: str, stored: asyncio.Future[None]) -> None:
        super().__init__(sentence)
        self._stored = stored

    def when_stored(self, call: Callable[[], None]) -> None:
        """Call this once it is done, or can no longer be."""
        self._stored.add_done_callback(lambda _: call())


class Conductor:
    """Feeds one `Farm`. ``on_failure`` is told when the farm can no longer be stored."""

    def __init__(
        self,
        farm: Farm,
        store: Store,
        connections: NodeConnections,
        clock: Clock,
        on_failure: Callable[[str], None],
    ) -> None:
        self.farm = farm
        self.clock = clock
        self.connections = connections
        self.feed = EventFeed(FarmViewsNow(farm, clock))
        self.load = LoadHistory(clock.now())
        self._store = store
        self.ended_jobs = EndedJobs(farm, store)
        self._on_failure = on_failure
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(QUEUE_MAX_EVENTS)
        self._failed = ""
        self._full = ""
        """What people are told while the disk is full and has been for a while."""
        self._deciding: list[asyncio.Future[None]] = []
        """Answers that wait for what is being stored."""
        self.unstored: tuple[AttemptRecord, ...] = ()
        """Tries that are over and that the database does not know yet: for a moment, or for as
        long as the disk is full. Whoever shows tries looks here before asking the database."""
        self._stored: asyncio.Future[None] | None = None
        """Done when what waits for room has been stored; None while nothing waits."""
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Rebuild the farm from the database and begin."""

        def read(connection: Connection) -> list[Decision]:
            done = rows.read_all_done(connection)
            return self.farm.restore(
                rows.read_jobs(connection),
                rows.read_frames_but(connection, {one.job for one in done}),
                rows.read_nodes(connection),
                rows.read_epoch_ceiling(connection),
                self.clock.now(),
                done,
            )

        await self._carry_out(await self._store.read(read), [])
        here = [job for job in self.farm.ended_jobs() if not self.farm.is_shed(job)]
        self.ended_jobs.ended(here)
        self._task = asyncio.create_task(self._run(), name="conductor")

    async def stop(self) -> None:
        """Carry out what is queued, then end."""
        self._stopping.set()
        if self._task is not None:
            if not self._failed:
                await self._queue.join()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self.feed.close()

    # --- events in ----------------------------------------------------------------------------

    async def post(self, event: FarmEvent) -> None:
        """Queue an event of a machine; waits while the queue is full."""
        if not self._failed:
            await self._queue.put(_Entry(event, None, None))
            self._refuse_if_failed()

    async def request(self, event: FarmEvent, also: Also | None = None) -> None:
        """Carry out an event of a person; returns when its effect is durable.

        Raises `FarmRefusal` when it cannot be (``also`` is not written then), `StoreError`;
        `DiskFull` when there has been no room for a while and nothing was changed, `NotYetStored`
        when it will be done as soon as there is.
        """
        if self._failed:
            raise StoreError(self._failed)
        if self._full:
            raise DiskFull(self._full)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Entry(event, also, answer))
        self._refuse_if_failed()
        await answer

    def _refuse_if_failed(self) -> None:
        # Whoever waited for a place in the queue may have got it after everything was refused.
        if self._failed:
            late: list[_Entry] = []
            self._refuse(late)
            for _ in late:
                self._queue.task_done()

    # --- the task -----------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            batch = await self._next_batch()
            try:
                await self._conduct(batch)
            except Exception as error:  # noqa: BLE001 - see below
                # What the farm believes and what is stored have parted: only a restart joins them.
                _log.critical("conductor failed", exc_info=error)
                self._failed = (
                    str(error)
                    if isinstance(error, StoreError)
                    else f"The coordinator failed: {error!r}"
                )
                self._refuse(batch)
                self._note_stored()
                self._on_failure(self._failed)
                return
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _next_batch(self) -> list[_Entry]:
        wakeup = self.farm.next_wakeup(self.clock.now())
        seconds = None if wakeup is None else max(WAKEUP_LEAST_SECONDS, wakeup - self.clock.now())
        batch: list[_Entry] = []
        try:
            async with asyncio.timeout(seconds):
                batch.append(await self._queue.get())
        except TimeoutError:
            return batch
        while len(batch) < BATCH_MAX_EVENTS and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _conduct(self, batch: list[_Entry]) -> None:
        decisions: list[Decision] = []
        also: list[Also] = []
        answers: list[asyncio.Future[None]] = []
        now = self.clock.now()
        wakeup = self.farm.next_wakeup(0.0)
        if wakeup is not None and now - wakeup > DEAF_SECONDS:
            decisions += self.farm.apply(StoodStill(seconds=now - wakeup), now)
        reports: list[FarmEvent] = []
        for entry in batch:
            if entry.is_withdrawn:
                continue
            needed = self.farm.needs(entry.event)
            if needed is None and entry.answer is None and self.farm.is_report(entry.event):
                reports.append(entry.event)
                continue
            decisions += self._apply_reports(reports)
            if needed is not None:
                await self.ended_jobs.recall(needed)
            try:
                decisions += self.farm.apply(entry.event, self.clock.now())
            except FarmRefusal as refusal:
                _answer(entry, refusal)
                continue
            if entry.also is not None:
                also.append(entry.also)
            if entry.answer is not None:
                answers.append(entry.answer)
        decisions += self._apply_reports(reports)
        now = self.clock.now()
        wakeup = self.farm.next_wakeup(now)
        if wakeup is not None and wakeup <= now:
            decisions += self.farm.apply(Tick(), now)
        self._deciding = answers
        await self._carry_out(decisions, also)
        for answer in answers:
            if not answer.done():
                answer.set_result(None)

    def _apply_reports(self, reports: list[FarmEvent]) -> list[Decision]:
        """Apply what was gathered, and gather anew."""
        if not reports:
            return []
        decisions = self.farm.apply_reports(reports, self.clock.now())
        reports.clear()
        return decisions

    async def _carry_out(self, decisions: list[Decision], also: list[Also]) -> None:
        stored = [decision for decision in decisions if isinstance(decision, _STORED)]
        if stored or also:

            def write(connection: Connection) -> None:
                rows.write_decisions(connection, stored)
                for more in also:
                    more(connection)

            self.unstored = tuple(one.record for one in stored if isinstance(one, SaveAttempt))
            await self._store_in_time(write)
            self.unstored = ()
        for decision in decisions:
            match decision:
                case Send(node=node, incarnation=incarnation, message=message):
                    self.connections.send(node, incarnation, message)
                case Disconnect(node=node, incarnation=incarnation, reason=reason):
                    self.connections.disconnect(node, incarnation, reason)
                case Publish():
                    self.feed.publish(decision)
                case _:
                    pass  # Stored above.
        self.ended_jobs.ended(
            decision.record.id
            for decision in stored
            if isinstance(decision, SaveJob) and decision.record.state in JOB_ENDED
        )
        counts = self.farm.counts()
        self.load.note(
            self.clock.now(),
            rendering=counts.nodes_rendering,
            online=counts.nodes_online,
            frames_done=sum(
                isinstance(decision, SaveAttempt) and decision.record.outcome == "done"
                for decision in stored
            ),
        )

    async def _store_in_time(self, write: Also) -> None:
        """Store what was decided, however long the disk is full: it is decided already.

        Nothing of it is said to anyone before. Nodes keep what they made meanwhile.
        """
        since: float | None = None
        while True:
            try:
                await self._store.writer.run(write)
            except DiskFull as error:
                if self._stopping.is_set():
                    raise
                if since is None:
                    _log.error("the farm stands still until there is room: error=%s", error)
                    since = self.clock.now()
                if self.clock.now() - since >= DISK_FULL_ANSWER_SECONDS:
                    self._tell_full(str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DISK_FULL_SECONDS):
                        await self._stopping.wait()
            else:
                self._note_stored()
                if since is not None:
                    _log.info("there is room again, the farm goes on")
                return

    def _note_stored(self) -> None:
        self._full = ""
        if self._stored is not None:
            self._stored.set_result(None)
            self._stored = None

    def _tell_full(self, sentence: str) -> None:
        """Let nobody wait for a disk that may be full for hours."""
        if self._stored is None:
            self._stored = asyncio.get_running_loop().create_future()
        self._full = f"{sentence} Nothing was changed."
        later = f"{sentence} What you asked for is noted and will be done as soon as there is room."
        for answer in self._deciding:
            if not answer.done():
                answer.set_exception(NotYetStored(later, self._stored))
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for entry in waiting:
            if entry.answer is not None and not entry.is_withdrawn:
                entry.is_withdrawn = True
                _answer(entry, DiskFull(self._full))
            self._queue.put_nowait(entry)
            self._queue.task_done()

    def _refuse(self, batch: list[_Entry]) -> None:
        while not self._queue.empty():
            batch.append(self._queue.get_nowait())
        for entry in batch:
            _answer(entry, StoreError(self._failed))


def _answer(entry: _Entry, error: Exception) -> None:
    if entry.answer is not None and not entry.answer.done():
        entry.answer.set_exception(error)
