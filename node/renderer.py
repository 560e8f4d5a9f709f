"""The frames this node has leased, one after the other through one warm Blender.

While a frame is rendered, the one before is hashed, kept in the outbox and uploaded, and the
scenes of those to come are fetched. One `_Work` is one leased frame between `Assign` and the
outbox; every one ends in exactly one of: a parcel in the outbox, `FrameFailed`, `LeasesReturned`,
or silence where the farm has already said that the lease is void.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..protocol.frames import FILM_FRAME
from ..protocol.job import JobSpec
from ..protocol.machine import BlenderInfo
from ..protocol.messages import (
    Assign,
    Availability,
    FailureKind,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameStarted,
    JobScript,
    LeasesReturned,
    NodeMessage,
    Revoke,
    ScenePreparing,
)
from ..wire.threads import in_thread
from .blender.attempt import AttemptAborted, AttemptFailed, OnProgress, RenderedFrame
from .blender.script import generate
from .blender.session import BlenderSession
from .delivery import Delivery
from .films import PicturesUnavailable, fetch_pictures
from .fitting import NoBlender, fitting_blender
from .notices import Notice, NoticeKind, Notify
from .outbox import Made, Outbox, OutboxError, bounded_log, key_of
from .reports import LogReports, ProgressReports
from .room import Room, discard
from .scenes import Ask, SceneStore, SceneUnavailable

SCENES_AHEAD = 2
"""Scenes kept on their way at once: the one being rendered and the next."""
FINISHING_MAX = 4
"""Frames between Blender and outbox at once; a slow disk then holds up the next frame."""


Make = Callable[[OnProgress], Awaitable[RenderedFrame]]
"""Has Blender make what was prepared, telling how far it is."""


@dataclass(frozen=True, slots=True)
class _Job:
    spec: JobSpec
    manifest: str


@dataclass(slots=True, eq=False)
class _Work:
    frame: FrameRef
    job: _Job
    begun_at: float | None = None
    """Loop time at which Blender was told to render it."""
    gone: bool = False
    """The lease is over: nothing more is said of this frame."""
    start: asyncio.Task[None] | None = None
    """Blender being started for it while its scene is fetched."""
    fetching: bool = False
    finishing: bool = False
    """Blender is done with it, its files are on their way to the outbox."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing of it runs any more."""

    @property
    def is_film(self) -> bool:
        """Whether it is the film of the job and not one of its frames."""
        return self.frame.frame == FILM_FRAME


class Renderer:
    """Renders what is assigned until cancelled. For use in one event loop.

    ``scratch`` is a folder below the session's scratch, on the disk of the outbox, and its own.
    """

    def __init__(
        self,
        *,
        session: BlenderSession,
        scenes: SceneStore,
        outbox: Outbox,
        delivery: Delivery,
        ask: Ask,
        send: Callable[[NodeMessage], None],
        notify: Notify,
        log: LogReports,
        scratch: Path,
        room: Room,
        blenders: Iterable[BlenderInfo],
    ) -> None:
        self.blenders = tuple(blenders)
        self._session = session
        self._scenes = scenes
        self._outbox = outbox
        self._delivery = delivery
        self._ask = ask
        self._send = send
        self._notify = notify
        self._log = log
        self._progress = ProgressReports(send)
        self._scratch = scratch
        self._room = room
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[_Work] = deque()
        self._current: _Work | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._finishing: dict[asyncio.Task[None], _Work] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._finish_slots = asyncio.Semaphore(FINISHING_MAX)
        self._changed = asyncio.Event()
        self._open_manifest = ""
        self._open_warnings: tuple[str, ...] = ()
        self._scripts_told: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._frames = 0

    # --- what the farm says ------------------------------------------------------------------

    def assign(self, message: Assign) -> None:
        """Take frames to render. The same one twice is one; a finished one is offered again."""
        if message.spec is not None:
            self._jobs[message.job] = _Job(message.spec, message.manifest)
        job = self._jobs.get(message.job)
        returned: list[FrameRef] = []
        for frame in message.frames:
            if self._delivery.offer(frame) or self._renew(frame):
                continue
            if job is None or self._refusals:
                returned.append(frame)
            else:
                self._queue.append(_Work(frame, job))
        if returned:
            self._return(returned, self._refusal or "the node was not told what this job renders")
        self._look_ahead()
        self._changed.set()

    def revoke(self, message: Revoke) -> None:
        """Stop these and forget them, as far as ``running_too`` allows."""
        keys = {key_of(frame): frame for frame in message.frames}
        returned: list[FrameRef] = []
        for work in [work for work in self._queue if key_of(work.frame) in keys]:
            self._queue.remove(work)
            work.gone = True
            returned.append(keys.pop(key_of(work.frame)))
        current = self._current
        if current is not None and key_of(current.frame) in keys:
            frame = keys.pop(key_of(current.frame))
            if message.running_too:
                self._stop_current(message.reason)
            elif current.begun_at is None:
                self._give_up_current()
                returned.append(frame)
        for work in self._finishing.values():
            if keys.pop(key_of(work.frame), None) is not None and message.running_too:
                work.gone = True
                returned.append(work.frame)
        for frame in keys.values():
            # What is in the outbox has been rendered; what is not known here is surely not held.
            if message.running_too:
                self._delivery.forget(frame)
                returned.append(frame)
            elif frame not in self._delivery.holding():
                returned.append(frame)
        if returned:
            self._return(returned, message.reason)
        self._look_ahead()
        self._changed.set()

    def keep_only(self, frames: Iterable[FrameRef]) -> None:
        """After a reconnect: go on with these leases, stop all others without a word."""
        kept = {key_of(frame) for frame in frames}
        for work in [work for work in self._queue if key_of(work.frame) not in kept]:
            self._queue.remove(work)
            work.gone = True
        if self._current is not None and key_of(self._current.frame) not in kept:
            self._stop_current(None)
        current = self._current
        if current is not None and not current.gone and current.begun_at is not None:
            # A coordinator that started anew knows of the lease, and not that it was begun.
            self._send(FrameStarted(frame=current.frame))
        held = {work.frame.job for work in self._works()}
        # The spec of a job comes again with its first frames on the new line.
        self._jobs = {name: job for name, job in self._jobs.items() if name in held}
        self._look_ahead()
        self._changed.set()

    def forget_job(self, job: str) -> None:
        """The job has ended: its scene may leave the cache."""
        self._jobs.pop(job, None)
        self._scripts_told.discard(job)
        if all(work.frame.job != job for work in self._works()):
            self._look_ahead(idle_keeps_scene=False)

    def refuse(self, reason: str, cause: str = "order") -> None:
        """Take nothing new, for this reason; '' ends what this ``cause`` kept from being taken."""
        if reason:
            self._refusals[cause] = reason
        else:
            self._refusals.pop(cause, None)

    @property
    def _refusal(self) -> str:
        return next(iter(self._refusals.values()), "")

    async def close_blender(self) -> None:
        """End a Blender that renders nothing; only while new frames are refused.

        Raises `AttemptFailed` when it cannot be ended.
        """
        if not self.busy:
            await self._session.close()

    def return_unstarted(self, reason: str) -> None:
        """Give back what Blender has not begun."""
        frames = [work.frame for work in self._queue]
        for work in self._queue:
            work.gone = True
        self._queue.clear()
        current = self._current
        if current is not None and current.begun_at is None and not current.gone:
            frames.append(current.frame)
            self._give_up_current()
        if frames:
            self._return(frames, reason)
        self._changed.set()

    async def stop_current(self, reason: str) -> None:
        """Give back the frame that is being rendered; returns when Blender is gone."""
        work = self._current
        if work is not None:
            self._stop_current(reason)
            await work.answered.wait()

    def holding(self) -> tuple[FrameRef, ...]:
        """Leases this process works on; those in the outbox are the delivery's to tell."""
        return tuple(work.frame for work in self._works() if not work.gone)

    @property
    def busy(self) -> bool:
        """Whether a frame is being prepared, rendered, waiting, or on its way to the outbox."""
        return bool(self._current or self._queue or self._finishing)

    async def wait_until_idle(self) -> None:
        """Return when every frame has gone to the outbox or back to the farm."""
        while self.busy:
            self._changed.clear()
            await self._changed.wait()

    async def wait_until_busy(self) -> bool:
        """Return True when there is a frame to render."""
        while not self.busy:
            self._changed.clear()
            await self._changed.wait()
        return True

    # --- the frames ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Render one frame after the other. Ends only by cancellation."""
        try:
            while True:
                while not self._queue:
                    self._changed.clear()
                    await self._changed.wait()
                await self._take(self._queue.popleft())
                self._changed.set()
        finally:
            for task in [*self._finishing, *self._stopping]:
                # A rendered frame on its way to the disk is worth the wait.
                await asyncio.wait([task])

    async def _take(self, work: _Work) -> None:
        self._current = work
        await self._finish_slots.acquire()
        self._look_ahead()
        attempt = self._attempt = asyncio.create_task(self._render(work), name="attempt")
        try:
            await asyncio.wait([attempt])
            error = None if attempt.cancelled() else attempt.exception()
            # After an abort anything may be told by what was under way.
            if error is not None and not work.gone:
                self._fail(work, FailureKind.NODE, f"The node made a mistake: {error!r}")
                await self._abort()
                told = "".join(traceback.format_exception(error)).rstrip()
                self._notify(Notice(NoticeKind.PROBLEM, told))
        finally:
            if not attempt.done():
                attempt.cancel()
                await asyncio.wait([attempt])
            self._current = self._attempt = None
            if not work.finishing:
                self._finish_slots.release()
            work.answered.set()

    async def _render(self, work: _Work) -> None:
        self._frames += 1
        output = self._scratch / f"frame-{self._frames}"
        self._log.begin(work.frame)
        rendered: RenderedFrame | None = None
        try:
            await in_thread(output.mkdir, parents=True)
            make = await (self._prepare_film if work.is_film else self._prepare)(work, output)
            if work.gone or make is None:
                return
            work.begun_at = asyncio.get_running_loop().time()
            self._send(FrameStarted(frame=work.frame))
            doing = "Encoding" if work.is_film else "Rendering"
            self._tell_frame(NoticeKind.RENDERING, work, doing)
            rendered = await make(lambda fraction, text: self._on_progress(work, fraction, text))
        except AttemptAborted:
            self._fail(work, FailureKind.NODE, "Blender was stopped on this node.")
        except AttemptFailed as error:
            await self._fail_or_return(work, error.kind, error, output)
            # What a failed attempt leaves in Blender must not reach the next frame.
            await self._abort()
        except (NoBlender, SceneUnavailable, PicturesUnavailable) as error:
            await self._fail_or_return(work, FailureKind.NODE, error, output)
        except OSError as error:
            told = OSError(f"The folder {output} cannot be used: {error.strerror}.")
            told.__cause__ = error
            await self._fail_or_return(work, FailureKind.NODE, told, output)
        finally:
            self._progress.clear()
            self._log.flush()
            if rendered is None:
                await discard(output, self._notify)
        if rendered is not None:
            finishing = asyncio.create_task(self._finish(work, rendered, output), name="finish")
            work.finishing = True
            self._finishing[finishing] = work
            finishing.add_done_callback(self._finished)

    async def _prepare(self, work: _Work, output: Path) -> Make | None:
        """Have the scene of the frame open in Blender; return what renders it, None if gone."""
        folder = await self._have_scene(work)
        if work.gone:
            return None
        if self._session.job != work.job.spec:
            self._tell_preparing(work, "opening", 0.0)
        report = await self._session.open(work.job.spec, folder)
        if report.seconds > 0:
            self._open_warnings = report.warnings
        self._open_manifest = work.job.manifest
        if work.frame.job not in self._scripts_told:
            self._scripts_told.add(work.frame.job)
            script = await in_thread(generate, work.job.spec)
            self._send(JobScript(job=work.frame.job, script=script))
        return partial(self._session.render, work.frame.frame, output)

    async def _prepare_film(self, work: _Work, output: Path) -> Make | None:
        """Have scene and frames of the film here, and a Blender; return what encodes it."""
        folder = await self._have_scene(work)
        if work.gone:
            return None
        work.fetching = True
        try:
            pictures = await fetch_pictures(
                self._ask,
                work.frame.job,
                output / "frames",
                lambda fraction: self._on_fetched(work, fraction),
            )
        finally:
            work.fetching = False
        if work.gone:
            return None
        await self._session.start(fitting_blender(self.blenders, work.job.spec.requires))
        self._open_warnings = ()
        return partial(self._session.encode, work.job.spec, folder, pictures, output)

    async def _have_scene(self, work: _Work) -> Path:
        """Have the files of the scene here and a Blender that fits; return their folder."""
        blender = fitting_blender(self.blenders, work.job.spec.requires)
        if not self._session.alive or self._session.version != blender.version:
            self._tell_preparing(work, "starting", 0.0)
        # Blender starts while the scene is on its way.
        start = work.start = asyncio.create_task(self._session.start(blender), name="start")
        work.fetching = True
        try:
            folder = await self._scenes.ready(
                work.job.manifest, lambda fraction: self._on_fetched(work, fraction)
            )
        except BaseException:
            await asyncio.wait([start])
            if not start.cancelled():
                start.exception()  # The scene's failure is the one to tell.
            raise
        finally:
            work.fetching = False
        await start
        if not work.gone:
            # A scene may be long on its way: a Blender that has ended meanwhile is started anew.
            await self._session.start(blender)
        return folder

    async def _finish(self, work: _Work, rendered: RenderedFrame, output: Path) -> None:
        """From Blender's files to a parcel in the outbox."""
        made = [Made(file.root, file.path, file.source) for file in rendered.files]
        try:
            parcel = await in_thread(
                self._outbox.put,
                work.frame,
                made,
                stats=rendered.stats,
                thumbnail=rendered.thumbnail,
                preview=rendered.preview,
                log=rendered.log,
                warnings=tuple(dict.fromkeys((*self._open_warnings, *rendered.warnings))),
            )
        except OutboxError as error:
            await self._fail_or_return(work, FailureKind.NODE, error, output)
            return
        finally:
            await discard(output, self._notify)
        if work.gone:
            await in_thread(self._outbox.drop, parcel)
            return
        self._tell_frame(
            NoticeKind.RENDERED,
            work,
            f"Rendered in {rendered.stats.seconds:.2f} s",
            seconds=round(rendered.stats.seconds, 3),
        )
        self._delivery.add([parcel])
        # A newer lease may have come for it meanwhile.
        self._delivery.offer(work.frame)

    async def _fail_or_return(
        self, work: _Work, kind: FailureKind, error: Exception, output: Path
    ) -> None:
        """Tell of a failure; a full or broken disk says nothing of the frame: it goes back."""
        disk = await self._room.reason_to_return(key_of(work.frame), error, output)
        if not disk:
            self._fail(work, kind, str(error), getattr(error, "log", ()))
        elif not work.gone:
            work.gone = True
            # First, so that the frame does not come back here.
            self._send(Availability(available=False, reason=disk))
            self._return([work.frame], disk)

    def _finished(self, task: asyncio.Task[None]) -> None:
        work = self._finishing.pop(task)
        self._finish_slots.release()
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(work, FailureKind.NODE, f"The node made a mistake: {error!r}")

    # --- stopping ------------------------------------------------------------------------------

    def _stop_current(self, reason: str | None) -> None:
        """End the current attempt, Blender with it; ``reason`` None: the farm knows already."""
        work, attempt = self._current, self._attempt
        if work is None or work.gone:
            return
        work.gone = True

        async def stop() -> None:
            if work.begun_at is not None:
                await self._abort()
            elif attempt is not None:
                await self._cancel(work, attempt)
            if reason is not None:
                self._return([work.frame], reason)

        stopping = asyncio.create_task(stop(), name="stop")
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _give_up_current(self) -> None:
        """The current frame has not begun: drop it, and Blender goes on where it is of use."""
        work, attempt = self._current, self._attempt
        if work is None or work.gone:
            return
        work.gone = True
        if attempt is not None and all(other.job != work.job for other in self._queue):
            stopping = asyncio.create_task(self._cancel(work, attempt), name="stop")
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def _abort(self) -> None:
        """Kill Blender. A node whose Blender cannot be killed takes no more work."""
        try:
            await self._session.abort()
        except AttemptFailed as error:
            self.refuse(error.reason, "unkillable")
            self._send(Availability(available=False, reason=error.reason))
            self._notify(
                Notice(NoticeKind.PROBLEM, f"{error.reason} This node takes no more work.")
            )

    async def _cancel(self, work: _Work, attempt: asyncio.Task[None]) -> None:
        """End an attempt that is starting Blender, fetching or opening a scene."""
        only_fetching = work.fetching and work.start is not None and work.start.done()
        if not only_fetching:
            # Blender may be anywhere in there: only its end is an end.
            await self._abort()
        if not attempt.done():
            attempt.cancel()
            await asyncio.wait([attempt])

    # --- telling -------------------------------------------------------------------------------

    def _works(self) -> list[_Work]:
        current = [self._current] if self._current is not None else []
        finishing = [work for work in self._finishing.values() if work is not self._current]
        return [*finishing, *current, *self._queue]

    def _renew(self, frame: FrameRef) -> bool:
        """Whether this frame is already being worked on; a newer lease takes the older's place."""
        for work in self._works():
            if key_of(work.frame) == key_of(frame) and not work.gone:
                if frame.epoch > work.frame.epoch:
                    work.frame = frame
                return True
        return False

    def _look_ahead(self, *, idle_keeps_scene: bool = True) -> None:
        """Fetch the scenes that come next, let go of those nobody needs."""
        works = [*([self._current] if self._current is not None else []), *self._queue]
        wanted = list(dict.fromkeys(work.job.manifest for work in works if not work.gone))
        keep = set(wanted)
        if not wanted and idle_keeps_scene:
            keep.add(self._open_manifest)  # More of the same job is the likeliest to come.
        self._scenes.release_all_but(keep)
        for manifest in wanted[:SCENES_AHEAD]:
            self._scenes.prefetch(manifest)

    def _return(self, frames: list[FrameRef], reason: str) -> None:
        self._send(LeasesReturned(frames=tuple(frames), reason=reason))
        numbers = ", ".join(str(frame.frame) for frame in frames)
        self._notify(
            Notice(
                NoticeKind.RETURNED,
                f"Gave back frame {numbers} of job {frames[0].job}: {reason.removesuffix('.')}.",
                {"job": frames[0].job, "frames": numbers, "reason": reason},
            )
        )

    def _fail(self, work: _Work, kind: FailureKind, reason: str, log: tuple[str, ...] = ()) -> None:
        if work.gone:
            return
        work.gone = True
        now = asyncio.get_running_loop().time()
        seconds = now - work.begun_at if work.begun_at is not None else 0.0
        self._send(
            FrameFailed(
                frame=work.frame, kind=kind, reason=reason, log=bounded_log(log), seconds=seconds
            )
        )
        self._tell_frame(NoticeKind.FAILED, work, f"Failed ({kind.value}): {reason}", reason=reason)

    def _on_progress(self, work: _Work, fraction: float, text: str) -> None:
        fraction = min(1.0, max(0.0, fraction))
        self._progress.report(FrameProgress(frame=work.frame, fraction=fraction, text=text[:200]))
        self._tell_frame(
            NoticeKind.PROGRESS, work, f"{fraction:.0%} {text}", fraction=round(fraction, 4)
        )

    def _on_fetched(self, work: _Work, fraction: float) -> None:
        if self._current is work:
            self._tell_preparing(work, "fetching", fraction)

    def _tell_preparing(self, work: _Work, stage: str, fraction: float) -> None:
        self._progress.report(ScenePreparing(frame=work.frame, stage=stage, fraction=fraction))
        kind = NoticeKind.FETCHING if stage == "fetching" else NoticeKind.OPENING
        text = {
            "fetching": f"Fetching the scene, {fraction:.0%}",
            "starting": "Starting Blender",
            "opening": "Opening the scene",
        }[stage]
        self._tell_frame(kind, work, text, stage=stage, fraction=round(fraction, 4))

    def _tell_frame(
        self, kind: NoticeKind, work: _Work, text: str, **facts: str | int | float
    ) -> None:
        name, frame = work.job.spec.name, work.frame
        self._notify(
            Notice(
                kind,
                f"{name}, {'film' if work.is_film else f'frame {frame.frame}'}: {text}",
                {"job": frame.job, "name": name, "frame": frame.frame, **facts},
            )
        )
