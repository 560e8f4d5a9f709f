"""The farm as seen from a thread that must never wait: Blender's main thread.

`FarmThread` runs everything that talks to the farm in one daemon thread with an asyncio loop of its
own. Commands go in, events come out; both are small frozen dataclasses, both sets are closed::

    thread = FarmThread()
    thread.start()
    thread.send(Connect())
    request = thread.send(Submit(captured, deliver=True))
    ...
    for event in thread.drain(limit=50):          # in a timer, under a time budget
        match event:
            case Connected(farm=farm): ...
            case SubmissionMoved(request=r, progress=p): ...
            case Finished(request=r): ...          # exactly one Finished or Failed per request
            case Failed(request=r, sentence=text): ...
    thread.stop()                                  # when the add-on is disabled

Every command but `Cancel` and `Stop` gets exactly one terminal event with its number: `Finished`
or `Failed` (after a `Cancel` it is ``Failed(cancelled=True)``). Between them come the others.
`Connect` is a request that lasts: it ends only with an error, a `Cancel` or `Stop`; while it
lasts, views arrive as `Connected`, `JobsListed`, `JobChanged`, ..., over lost connections too.

No event holds anything of bpy; all of it may be kept, compared and shown as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ...protocol.manifest import ManifestError
from ...protocol.views import (
    Event,
    FarmView,
    JobPage,
    JobView,
    NodePage,
    Visitor,
)
from ...wire.connection import FarmConnection, backoff
from ...wire.credentials import Credentials, CredentialsError, JoinToken
from ...wire.discovery import join, resolve
from ...wire.errors import FarmError, NoCoordinator, NotFound, Unreachable
from ...wire.places import user_label
from .artist import sweep_snapshots
from .artist_words import artist_sentence
from .connection_trial import try_connection
from .delivery import Delivered, deliver
from .delivery_record import forget_delivery, unfinished
from .errors import ClientError
from .farm_messages import (
    JOBS_SHOWN,
    Act,
    Cancel,
    Command,
    Connect,
    Connected,
    ConnectionTried,
    Deliver,
    DeliveryEnded,
    DeliveryMoved,
    Disconnected,
    Failed,
    FarmEvent,
    FetchPicture,
    Finished,
    FrameChanged,
    JobAccepted,
    JobChanged,
    JobRemoved,
    JobsListed,
    Join,
    NodeChanged,
    NodesListed,
    PictureArrived,
    ResumeDeliveries,
    SetPriority,
    SignedIn,
    Stop,
    SubmissionMoved,
    Submit,
    TryConnection,
)
from .pictures import fetch_picture
from .sent_jobs import forget_sent
from .submission import discard, submit

__all__ = [
    "Act",
    "Cancel",
    "Command",
    "Connect",
    "Connected",
    "ConnectionTried",
    "Deliver",
    "DeliveryEnded",
    "DeliveryMoved",
    "Disconnected",
    "Failed",
    "FarmEvent",
    "FarmThread",
    "FetchPicture",
    "Finished",
    "FrameChanged",
    "JobAccepted",
    "JobChanged",
    "JobRemoved",
    "JobsListed",
    "Join",
    "NodeChanged",
    "NodesListed",
    "PictureArrived",
    "ResumeDeliveries",
    "SetPriority",
    "SignedIn",
    "Stop",
    "SubmissionMoved",
    "Submit",
    "TryConnection",
]

log = logging.getLogger(__name__)

SEARCH_AGAIN_SECONDS = 10.0
"""Pause between two searches for a coordinator while there is none."""
STOP_SECONDS = 5.0


# --- the thread ----------------------------------------------------------------------------------


class FarmThread:
    """The thread. All methods are for the owner's thread and return at once, `stop` excepted."""

    def __init__(self) -> None:
        self._events: SimpleQueue[FarmEvent] = SimpleQueue()
        self._commands: SimpleQueue[tuple[int, Command]] = SimpleQueue()
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._arrived = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread. Harmless when it runs."""
        if self.is_running:
            return
        self._ready.clear()
        # A daemon: Blender must be able to quit whatever the network does.
        self._thread = threading.Thread(target=self._run, name="rendermill-farm", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> int:
        """Hand over a command and return the number of its request."""
        request = next(self._numbers)
        self._commands.put((request, command))
        # Commands sent before the loop stands are found by it when it does.
        if self._ready.is_set() and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)
        return request

    def drain(self, limit: int = 1000) -> Iterator[FarmEvent]:
        """Give the events that are waiting, at most ``limit``; stop taking them at any time."""
        for _ in range(limit):
            try:
                yield self._events.get_nowait()
            except Empty:
                return

    def wait(self, seconds: float) -> bool:
        """Block until an event is waiting, at most ``seconds``; whether one is.

        For a caller without a user interface; a timer calls `drain` instead.
        """
        if self._events.empty():
            self._arrived.clear()
            # One may have come between the two.
            if self._events.empty():
                return self._arrived.wait(seconds)
        return True

    def _put(self, event: FarmEvent) -> None:
        self._events.put(event)
        self._arrived.set()

    def stop(self, wait_seconds: float = STOP_SECONDS) -> bool:
        """Cancel everything and end the thread; whether it ended within ``wait_seconds``."""
        if self._thread is None:
            return True
        self.send(Stop())
        self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._ready.set()
        # Copies of scenes that were on their way when a Blender crashed: gigabytes, at times.
        self._loop.run_in_executor(None, sweep_snapshots)
        work = _Work(self._put)
        try:
            while True:
                self._wake.clear()
                with contextlib.suppress(Empty):
                    while True:
                        request, command = self._commands.get_nowait()
                        if isinstance(command, Stop):
                            return
                        work.begin(request, command)
                await self._wake.wait()
        finally:
            await work.close()


class _Work:
    """What runs in the loop: a task for each request, and the way into the farm."""

    def __init__(self, emit: Callable[[FarmEvent], None]) -> None:
        self._emit = emit
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._following: int | None = None
        self._deliveries: dict[tuple[str, Path | None], asyncio.Task[Any]] = {}
        """By job and folder: a job may go into several."""
        self._url: str | None = None
        self._credentials: Credentials | None = None

    def begin(self, request: int, command: Command) -> None:
        match command:
            case Cancel():
                self._cancel(command.request)
                return
            case Connect():
                self._replace_following(request)
                work = self._follow(command.url)
            case Join():
                work = self._join(command)
            case Submit():
                work = self._submit(request, command)
            case Deliver():
                work = self._deliver(request, command)
            case ResumeDeliveries():
                work = self._resume(request)
            case Act():
                work = self._act(command)
            case SetPriority():
                work = self._set_priority(command)
            case FetchPicture():
                work = self._fetch_picture(request, command)
            case TryConnection():
                work = self._try_connection(request, command)
            case Stop():
                raise AssertionError("Stop is handled by the thread")
        task = asyncio.create_task(work)
        self._tasks[request] = task
        task.add_done_callback(functools.partial(self._ended, request, command))

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel(self, request: int) -> None:
        task = self._tasks.get(request)
        if task is not None:
            task.cancel()

    def _ended(self, request: int, command: Command, task: asyncio.Task[None]) -> None:
        """Say how a request ended, once.

        Called when its task is over, not from within it: a task that is cancelled before its first
        step never runs at all.
        """
        self._tasks.pop(request, None)
        if isinstance(command, Submit):
            asyncio.get_running_loop().run_in_executor(None, discard, command.captured)
        if task.cancelled():
            self._emit(Failed(request, "Cancelled.", cancelled=True))
            return
        match task.exception():
            case None:
                self._emit(Finished(request))
            case FarmError() | ClientError() | CredentialsError() | ManifestError() as error:
                self._emit(Failed(request, artist_sentence(error), error))
            case Exception() as error:
                log.error("request failed request=%d", request, exc_info=error)
                self._emit(Failed(request, f"Rendermill failed: {error!r}.", error))
            case error:
                raise error

    async def _way_in(self) -> Credentials:
        """Return credentials whose coordinator answered before; asked anew after a failure."""
        if self._credentials is None:
            self._credentials = await resolve(self._url)
        return self._credentials

    @contextlib.asynccontextmanager
    async def _farm(self, patience_seconds: float = 30.0):
        async with FarmConnection(await self._way_in(), patience_seconds=patience_seconds) as farm:
            try:
                yield farm
            except Unreachable:
                # It may come back at another address.
                self._credentials = None
                raise

    # --- requests ---

    def _replace_following(self, request: int) -> None:
        if self._following is not None:
            self._cancel(self._following)
        self._following = request

    async def _follow(self, url: str | None) -> None:
        self._url, self._credentials = url, None
        failures = 0
        while True:
            try:
                async with self._farm(patience_seconds=2.0) as farm:
                    await self._follow_connected(farm)
            except NoCoordinator as error:
                self._emit(Disconnected(artist_sentence(error)))
                await asyncio.sleep(SEARCH_AGAIN_SECONDS)
            except Unreachable as error:
                failures += 1
                self._emit(Disconnected(artist_sentence(error)))
                await asyncio.sleep(backoff(min(failures, 6)))

    async def _follow_connected(self, farm: FarmConnection) -> None:
        while True:
            view = await farm.get("/api/v1/farm", FarmView)
            self._emit(Connected(view, farm.credentials.url))
            self._emit(SignedIn(await farm.get("/api/v1/me", Visitor)))
            jobs = await farm.get("/api/v1/jobs", JobPage, params={"limit": JOBS_SHOWN})
            self._emit(JobsListed(jobs.jobs))
            self._emit(NodesListed((await farm.get("/api/v1/nodes", NodePage)).nodes))

            def changed(is_connected: bool, view: FarmView = view) -> None:
                # No view is missed: the events go on where they broke off.
                if is_connected:
                    self._emit(Connected(view, farm.credentials.url))
                else:
                    self._emit(Disconnected("The coordinator does not answer; trying again."))

            events = farm.events(after=view.sequence, on_connection=changed)
            async with contextlib.aclosing(events):
                async for event in events:
                    if event.kind == "reset":
                        break
                    self._emit_view(event)

    def _emit_view(self, event: Event) -> None:
        if event.kind == "job" and event.job is not None:
            self._emit(JobChanged(event.job))
        elif event.kind == "job_removed":
            self._emit(JobRemoved(event.job_id))
        elif event.kind == "frame" and event.frame is not None:
            self._emit(FrameChanged(event.job_id, event.frame))
        elif event.kind == "node" and event.node is not None:
            self._emit(NodeChanged(event.node))

    async def _join(self, command: Join) -> None:
        credentials = await join(command.url, JoinToken.parse(command.token), name=user_label())
        self._url, self._credentials = credentials.url, credentials

    async def _submit(self, request: int, command: Submit) -> None:
        try:
            async with self._farm() as farm:
                submitted = await submit(
                    farm,
                    command.captured,
                    progress=lambda progress: self._emit(SubmissionMoved(request, progress)),
                    idempotency_key=command.idempotency_key,
                    send_anyway=command.send_anyway,
                )
        finally:
            await asyncio.shield(asyncio.to_thread(discard, command.captured))
        self._emit(JobAccepted(request, submitted))
        if command.deliver:
            await self._deliver(request, Deliver(submitted.job.id))

    async def _deliver(self, request: int, command: Deliver) -> None:
        task = asyncio.current_task()
        assert task is not None
        key = (command.job, command.destination)
        earlier = self._deliveries.get(key)
        if earlier is not None:
            earlier.cancel()
        self._deliveries[key] = task
        try:
            delivered = await self._deliver_patiently(request, command)
        except NotFound:
            forget_delivery(command.job)
            forget_sent(command.job)
            raise
        finally:
            if self._deliveries.get(key) is task:
                del self._deliveries[key]
        self._emit(DeliveryEnded(request, delivered))

    async def _deliver_patiently(self, request: int, command: Deliver) -> Delivered:
        """Deliver for as long as it takes: a coordinator that is away comes back."""
        failures = 0
        while True:
            try:
                async with self._farm() as farm:
                    return await deliver(
                        farm,
                        command.job,
                        destination=command.destination,
                        overwrite=command.overwrite,
                        progress=lambda progress: self._emit(DeliveryMoved(request, progress)),
                    )
            except (Unreachable, NoCoordinator):
                failures += 1
                await asyncio.sleep(backoff(min(failures + 4, 16)))

    async def _resume(self, request: int) -> None:
        async with self._farm() as farm:
            farm_id = (await farm.health()).farm_id
        records = await asyncio.to_thread(unfinished, farm_id)
        commands = [
            Deliver(record.job, record.destination)
            for record in records
            if (record.job, record.destination) not in self._deliveries
        ]
        outcomes = await asyncio.gather(
            *(self._deliver(request, command) for command in commands), return_exceptions=True
        )
        for outcome in outcomes:
            # A job that was deleted has nothing left to deliver, one that was replaced goes on.
            harmless = isinstance(outcome, NotFound | asyncio.CancelledError)
            if isinstance(outcome, BaseException) and not harmless:
                raise outcome

    async def _act(self, command: Act) -> None:
        async with self._farm(patience_seconds=5.0) as farm:
            if command.action == "delete":
                await farm.delete(f"/api/v1/jobs/{command.job}")
                return
            body = {"frames": command.frames} if command.frames else None
            job = await farm.post(
                f"/api/v1/jobs/{command.job}/{command.action}", JobView, body=body
            )
            self._emit(JobChanged(job))

    async def _fetch_picture(self, request: int, command: FetchPicture) -> None:
        async with self._farm(patience_seconds=5.0) as farm:
            picture = await fetch_picture(farm, command.job, command.frame)
        self._emit(PictureArrived(request, command.job, command.frame, picture))

    async def _try_connection(self, request: int, command: TryConnection) -> None:
        self._emit(ConnectionTried(request, await try_connection(command.url)))

    async def _set_priority(self, command: SetPriority) -> None:
        async with self._farm(patience_seconds=5.0) as farm:
            body = {"priority": command.priority}
            job = await farm.patch(f"/api/v1/jobs/{command.job}", JobView, body=body)
            self._emit(JobChanged(job))
