"""Finished frames on their way to the farm: uploaded, told, and dropped when acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..protocol.messages import FailureKind, FrameFailed, FrameRef, NodeMessage
from ..wire.blobs import put_file
from ..wire.connection import FarmConnection, backoff
from ..wire.errors import Damaged, FarmError, Refused
from ..wire.tasks import task_group
from ..wire.threads import in_thread
from .notices import Notice, NoticeKind, Notify
from .outbox import FrameKey, Outbox, Parcel, key_of
from .scenes import Ask

PARCELS_IN_FLIGHT = 3
"""Frames uploaded at once: hides the round trip and the fsync of the other side."""
FILES_IN_FLIGHT = 4
"""Files of one frame uploaded at once."""
UNPROCESSABLE = 422
INSUFFICIENT_STORAGE = 507


@dataclass(slots=True)
class _Sending:
    parcel: Parcel
    task: asyncio.Task[None] | None = None
    uploaded: bool = False
    refusals: int = 0


class Delivery:
    """Everything in the outbox, and what has become of it. For use in one event loop.

    A parcel leaves only when the farm has accepted it or does not want it. ``send`` is `Link.send`:
    it drops `FrameDone` while there is no line, and `offer_again` repeats it on the next.
    """

    def __init__(
        self,
        outbox: Outbox,
        ask: Ask,
        send: Callable[[NodeMessage], None],
        notify: Notify,
    ) -> None:
        self._outbox = outbox
        self._ask = ask
        self._send = send
        self._notify = notify
        self._parcels: dict[FrameKey, _Sending] = {}
        self._slots = asyncio.Semaphore(PARCELS_IN_FLIGHT)
        self._dropping: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def add(self, parcels: Iterable[Parcel]) -> None:
        """Begin to deliver these."""
        for parcel in parcels:
            before = self._parcels.get(parcel.key)
            if before is not None and before.task is not None:
                before.task.cancel()
            sending = self._parcels[parcel.key] = _Sending(parcel)
            self._begin(sending)

    def holding(self) -> tuple[FrameRef, ...]:
        """Leases whose results wait here."""
        return tuple(sending.parcel.done.frame for sending in self._parcels.values())

    def offer(self, frame: FrameRef) -> bool:
        """Offer the result under this newer lease, if there is one; whether there is."""
        sending = self._parcels.get(key_of(frame))
        if sending is None:
            return False
        if frame.epoch > sending.parcel.done.frame.epoch:
            done = replace(sending.parcel.done, frame=frame)
            sending.parcel = replace(sending.parcel, done=done)
        if sending.uploaded:
            self._send(sending.parcel.done)
        return True

    def offer_again(self) -> None:
        """There is a new line: repeat every `FrameDone` that has not been answered."""
        for sending in self._parcels.values():
            if sending.uploaded:
                self._send(sending.parcel.done)

    def accepted(self, frame: FrameRef) -> None:
        """The farm has committed it."""
        sending = self._parcels.get(key_of(frame))
        if sending is not None:
            self._notify(
                Notice(
                    NoticeKind.DELIVERED,
                    f"Frame {frame.frame} of job {frame.job} is with the farm.",
                    {"job": frame.job, "frame": frame.frame},
                )
            )
            self._drop(sending)

    def refused(self, frame: FrameRef, reason: str, *, retry: bool) -> None:
        """The farm does not want it, or wants its blobs once more."""
        sending = self._parcels.get(key_of(frame))
        if sending is None:
            return
        if retry:
            sending.refusals += 1
            sending.uploaded = False
            if sending.task is None or sending.task.done():
                self._begin(sending)
            return
        self._notify(
            Notice(
                NoticeKind.REFUSED,
                f"The farm does not want frame {frame.frame} of job {frame.job}: {reason}",
                {"job": frame.job, "frame": frame.frame, "reason": reason},
            )
        )
        self._drop(sending)

    def forget(self, frame: FrameRef) -> bool:
        """Throw a result away that nobody wants any more; whether there was one."""
        sending = self._parcels.get(key_of(frame))
        if sending is None:
            return False
        self._drop(sending)
        return True

    async def wait_until_empty(self) -> None:
        """Return when everything has been delivered and dropped."""
        while self._parcels or self._dropping:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Stop uploading. What is not acknowledged stays on disk for the next start."""
        tasks = [sending.task for sending in self._parcels.values() if sending.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._dropping, return_exceptions=True)

    def _begin(self, sending: _Sending) -> None:
        sending.task = asyncio.create_task(self._deliver(sending), name="delivery")

    def _drop(self, sending: _Sending) -> None:
        self._parcels.pop(sending.parcel.key, None)
        if sending.task is not None:
            sending.task.cancel()
        dropping = asyncio.create_task(in_thread(self._outbox.drop, sending.parcel))
        self._dropping.add(dropping)

        def dropped(task: asyncio.Task[None]) -> None:
            self._dropping.discard(task)
            self._changed.set()
            if not task.cancelled() and task.exception() is not None:
                self._notify(
                    Notice(
                        NoticeKind.PROBLEM, f"A delivered frame stays on disk: {task.exception()}"
                    )
                )

        dropping.add_done_callback(dropped)

    async def _deliver(self, sending: _Sending) -> None:
        attempt = sending.refusals
        told = False
        while True:
            if attempt:
                await asyncio.sleep(backoff(attempt))
            attempt += 1
            try:
                async with self._slots:
                    await self._ask(partial(_upload, parcel=sending.parcel))
            except Refused as error:
                if error.problem.status == UNPROCESSABLE:
                    self._give_up(sending, f"The finished frame changed on this disk: {error}")
                    return
                if not told:
                    told = True
                    self._tell(sending, error)
            except (Damaged, OSError) as error:
                self._give_up(sending, f"The finished frame cannot be read any more: {error}")
                return
            except FarmError:
                continue
            else:
                break
        sending.uploaded = True
        self._send(sending.parcel.done)

    def _tell(self, sending: _Sending, error: Refused) -> None:
        what = (
            "The coordinator's disk is full; the frame is kept here until there is room"
            if error.problem.status == INSUFFICIENT_STORAGE
            else "The coordinator did not take a frame; it is kept here and offered again"
        )
        frame = sending.parcel.done.frame
        self._notify(
            Notice(
                NoticeKind.PROBLEM,
                f"{what} (frame {frame.frame} of job {frame.job}): {error}",
                {"job": frame.job, "frame": frame.frame},
            )
        )

    def _give_up(self, sending: _Sending, reason: str) -> None:
        frame = sending.parcel.done.frame
        facts = {"job": frame.job, "frame": frame.frame, "reason": reason}
        self._notify(Notice(NoticeKind.FAILED, f"Frame {frame.frame}: {reason}", facts))
        self._send(FrameFailed(frame=frame, kind=FailureKind.NODE, reason=reason))
        sending.task = None  # This very task: it must not cancel itself.
        self._drop(sending)


async def _upload(farm: FarmConnection, parcel: Parcel) -> None:
    slots = asyncio.Semaphore(FILES_IN_FLIGHT)

    async def put(path: Path, sha256: str, length: int) -> None:
        async with slots:
            await put_file(farm, path, sha256, length)

    async with task_group() as tasks:
        for path, sha256, length in parcel.blobs():
            tasks.create_task(put(path, sha256, length))
