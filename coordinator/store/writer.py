"""The one connection that writes, and the thread that owns it: group commit.

Requests queue up while the last commit is on its way to the disk; then all that wait become one
transaction. At rest a request costs one fsync, under load one fsync serves hundreds. A request's
future resolves only after the commit that holds it. A request that raises is rolled back alone
(savepoint); a commit that fails is final for the process: see `coordinator.store`.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from . import DiskFull, StoreFailed

_log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP_MAX_REQUESTS = 512
"""Most requests in one transaction: bounds how long the first of them waits for the last."""

CLOSE_SECONDS = 30.0
"""How long `close` waits for what is queued."""


@dataclass(slots=True)
class _Request:
    work: Callable[[Connection], Any]
    future: Future[Any]


class Writer:
    """Runs functions on the writing connection, in the order they came, in shared transactions."""

    def __init__(self, engine: Engine, on_failure: Callable[[str], None]) -> None:
        self._engine = engine
        self._on_failure = on_failure
        self._failed = ""
        self._closed = False
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="database writer", daemon=True)
        self.commits = 0
        """Transactions committed since the start."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue ``work``; the future has its result once that is durable.

        Raises through the future: what ``work`` raised, or `StoreFailed`.
        """
        future: Future[T] = Future()
        # Running from the first moment, so that no cancelled caller undoes what others will see.
        future.set_running_or_notify_cancel()
        if self._failed or self._closed:
            future.set_exception(StoreFailed(self._failed or "The coordinator is stopping."))
        else:
            self._queue.put(_Request(work, future))
        return future

    async def run(self, work: Callable[[Connection], T]) -> T:
        """As `submit`, for coroutines. Not undone by cancelling the caller."""
        return await asyncio.wrap_future(self.submit(work))

    @property
    def has_failed(self) -> bool:
        """Whether a commit failed: nothing more is accepted."""
        return bool(self._failed)

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._closed = True
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        with self._engine.connect() as connection:
            while True:
                first = self._queue.get()
                if first is None:
                    break
                group, last = self._gather(first)
                self._commit(connection, group)
                if last:
                    break
        self._refuse_rest()

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        group = [first]
        while len(group) < GROUP_MAX_REQUESTS:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                break
            if request is None:
                return group, True
            group.append(request)
        return group, False

    def _commit(self, connection: Connection, group: list[_Request]) -> None:
        if self._failed:
            for request in group:
                request.future.set_exception(StoreFailed(self._failed))
            return
        outcomes: list[tuple[_Request, Any, BaseException | None]] = []
        try:
            with connection.begin():
                outcomes.extend((request, *self._work(connection, request)) for request in group)
        except Exception as error:  # noqa: BLE001 - whatever a commit raises, it is not on the disk
            refusal = self._refusal(error)
            for request in group:
                request.future.set_exception(refusal)
            return
        self.commits += 1
        for request, result, error in outcomes:
            if error is None:
                request.future.set_result(result)
            else:
                request.future.set_exception(error)

    @staticmethod
    def _work(connection: Connection, request: _Request) -> tuple[Any, BaseException | None]:
        try:
            with connection.begin_nested():
                return request.work(connection), None
        except OperationalError:
            raise  # The disk: the whole transaction is in doubt.
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            return None, error

    def _refuse_rest(self) -> None:
        while True:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            if request is not None:
                request.future.set_exception(StoreFailed("The coordinator is stopping."))

    def _refusal(self, error: Exception) -> Exception:
        if _is_disk_full(error):
            # SQLite rolled all of it back; nothing is in doubt and the same may work later.
            return DiskFull("The coordinator's disk is full; delete old jobs or free space on it.")
        # The library around SQLite adds lines and links of its own.
        cause = getattr(error, "orig", None) or error
        self._failed = (
            f"The coordinator could not write to its database ({cause}); it accepts nothing more "
            "until the disk is checked and it is started again."
        )
        _log.critical("commit failed: error=%s", error)
        self._on_failure(self._failed)
        return StoreFailed(self._failed)


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk stands at the root of an error.

    SQLite takes back the whole transaction by itself then, so that the error that is seen may be
    that of leaving a savepoint which is gone.
    """
    while error is not None:
        if isinstance(error, OperationalError) and "disk is full" in str(error.orig):
            return True
        error = error.__cause__ or error.__context__
    return False
