"""One Blender kept warm over frames and jobs: started, talked to, watched, ended.

Every frame of a job goes through the same three calls, and the first two cost nothing while that
Blender runs and that job is open::

    await session.start(info)
    await session.open(spec, workspace)
    rendered = await session.render(frame, output)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...protocol.frames import FILM_FRAME
from ...protocol.job import Device, JobSpec
from ...protocol.machine import BlenderInfo, Gpu
from ...protocol.messages import LOG_LINES_MAX, FailureKind, FrameStats
from . import channel, checks, sandbox
from .attempt import (
    AttemptAborted,
    AttemptFailed,
    OnLog,
    OnProgress,
    OpenReport,
    RenderedFile,
    RenderedFrame,
)
from .failing import refusal, unexpected_end
from .folders import check_names, colour_variables, film_file, gather, make_below
from .process import BlenderProcess, Unkillable
from .script import command_line, generate, spec_fields

START_SECONDS = 180.0
"""Longest time from starting Blender to its first word; a cold disk needs a good part of it."""

SILENT_SECONDS = 300.0
"""Nothing that Blender does takes so long without a message, output or processor time."""

WATCH_SECONDS = 1.0
"""Between two looks at the memory and CPU use of the process tree."""

CLOSE_SECONDS = 5.0
"""Blender is told to leave, then made to: wheels crash or hang at exit after all work is done."""

DRAIN_SECONDS = 1.0
"""After the end of a process, for the last lines of its log."""

BEAT_LOST_SECONDS = 5.0
"""Without the sign of life of every second for so long, the whole process stands still."""

BACKENDS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")
"""Of Cycles, best first; devices of one backend are used together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a session treats its Blender. Times in seconds, sizes in bytes."""

    readable: tuple[Path, ...] = ()
    """Folders the scenes lie in; read-only inside a sandbox."""
    sandbox: str = sandbox.NONE
    """Level to confine Blender with, as `sandbox.try_levels` found it on this machine."""
    threads: int = 0
    """Render threads; 0: as many as there are processors."""
    silent_seconds: float = SILENT_SECONDS
    """Neither message, nor output, nor CPU use for so long: the Blender hangs."""
    frame_seconds: float = 0.0
    """Longest time for a frame when the job does not say; 0: no limit."""
    memory_bytes: int = 0
    """Resident memory of the process tree at which an attempt fails; 0: no limit."""
    low_priority: bool = False
    """Blender gives way to every other program of this machine."""
    growth_bytes: int = 4 << 30
    """A session that has grown by more since its scene was opened is restarted between frames."""
    idle_seconds: float = 900.0
    """A session without work for so long is closed; 0: never."""


@dataclass(slots=True)
class _Order:
    """What Blender was told to do and has not answered yet."""

    number: int
    answer: asyncio.Future[dict[str, Any]]
    silent_seconds: float
    deadline: float | None
    on_progress: OnProgress | None = None
    peak_bytes: int = 0


class BlenderSession:
    """At most one Blender process. Methods are for one task at a time; `abort` for any."""

    def __init__(
        self, scratch: Path, *, on_log: OnLog, options: SessionOptions | None = None
    ) -> None:
        """Make a session without a process.

        ``scratch`` is this session's own and is created; used again after a restart of the node,
        it keeps the shader caches that a GPU's first frame waits for.
        """
        self._scratch = scratch.resolve()
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._on_log = on_log
        self.options = options or SessionOptions()
        """May be replaced; sandbox and folders then hold from the next start on."""
        self._process: BlenderProcess | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._blender: BlenderInfo | None = None
        self._token = ""
        self._numbers = 0
        self._order: _Order | None = None
        self._ready: asyncio.Future[dict[str, Any]] | None = None
        self._aborting = False
        self._job: JobSpec | None = None
        self._workspace: Path | None = None
        self._report: OpenReport | None = None
        self._ran_scripts = False
        self._variables: dict[str, str] = {}
        """What `colour_variables` gave for the process."""
        self._opened_bytes = 0
        self._prepare_seconds = 0.0
        self._last_beat = 0.0
        self._last_work = time.monotonic()
        self._closing: asyncio.Task[None] | None = None
        """The end of a Blender that was idle for too long, once that has begun."""
        self.frames_rendered = 0
        """Since this process was started."""

    # --- what it is ---------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether there is a Blender that can take orders."""
        return self._process is not None and self._process.returncode is None

    @property
    def blender(self) -> BlenderInfo | None:
        """The Blender that runs; None without one."""
        return self._blender if self.alive else None

    @property
    def version(self) -> tuple[int, int, int] | None:
        """Of the Blender that runs."""
        return self._blender.version if self.alive and self._blender else None

    @property
    def pid(self) -> int | None:
        """Process id of the Blender that runs, or of the bubblewrap around it."""
        return self._process.pid if self.alive and self._process else None

    @property
    def job(self) -> JobSpec | None:
        """The job that is open."""
        return self._job if self.alive else None

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process tree when it was last looked at."""
        return self._process.memory_bytes if self.alive and self._process else 0

    # --- orders -------------------------------------------------------------------------------

    async def start(self, blender: BlenderInfo) -> None:
        """Have that Blender running: does nothing when it is, restarts one that has grown.

        Raises `AttemptFailed` (NODE, CRASH, HANG) and `AttemptAborted`.
        """
        if self._closing is not None:
            # One that is on its way out still looks alive.
            await asyncio.wait([self._closing])
            closing, self._closing = self._closing, None
            closing.result()
        if self.alive and self._blender == blender and not self._has_grown():
            self._last_work = time.monotonic()  # There is work to come: it is not idle any more.
            return
        await self.close()
        self._aborting = False
        self._blender = blender
        await self._spawn(blender)

    async def open(self, spec: JobSpec, workspace: Path, script: Path | None = None) -> OpenReport:
        """Open the scene of a job from its file tree; nothing to do when it is open already.

        The generated script of the job is written to ``script`` where that is given. A Blender in
        which a scene's own Python may have run is not used for another job: it is restarted.
        Raises `AttemptFailed`, `AttemptAborted`.
        """
        check_names(spec)
        if script is not None:
            await asyncio.to_thread(script.write_text, generate(spec), "utf-8")
        if self._report is not None and self.job == spec and self._workspace == workspace:
            return self._report
        await self._suit(spec, workspace)
        started = time.perf_counter()
        answer = await self._ask("open", self._opening(spec, workspace), spec=spec)
        seconds = time.perf_counter() - started
        report = OpenReport(
            seconds=seconds,
            warnings=tuple(answer["warnings"]),
            size=(answer["size"][0], answer["size"][1]),
            engine=answer["engine"],
        )
        self._job, self._workspace = spec, workspace
        self._report = _without_seconds(report)
        self._prepare_seconds = seconds
        self._opened_bytes = 0
        return report

    async def render(
        self, frame: int, output: Path, on_progress: OnProgress | None = None
    ) -> RenderedFrame:
        """Render one frame of the open job into the folder ``output`` and check it.

        ``output`` is new or empty and lies below the session's scratch. Raises `AttemptFailed`,
        `AttemptAborted`; ValueError for a call that cannot be right.
        """
        spec = self.job
        if spec is None:
            raise ValueError("Open a job before rendering a frame of it.")
        output = await asyncio.to_thread(make_below, self._scratch, output)
        started = time.perf_counter()
        log_before = self._log_mark()
        answer = await self._ask(
            "render",
            {"frame": frame, "output": str(output)},
            spec=spec,
            on_progress=on_progress,
            frame_seconds=spec.limits.frame_seconds or self.options.frame_seconds,
        )
        try:
            files, thumbnail, preview = await asyncio.to_thread(gather, spec, output, answer)
        except checks.BadOutput as error:
            raise self._failed(FailureKind.OUTPUT, str(error)) from error
        self.frames_rendered += 1
        stats = FrameStats(
            seconds=time.perf_counter() - started,
            prepare_seconds=self._prepare_seconds,
            peak_memory_bytes=answer["peak_bytes"],
        )
        self._prepare_seconds = 0.0
        self._last_work = time.monotonic()
        return RenderedFrame(
            frame=frame,
            files=files,
            stats=stats,
            thumbnail=thumbnail,
            preview=preview,
            warnings=tuple(answer["warnings"]),
            log=self._log_since(log_before),
        )

    async def encode(
        self,
        spec: JobSpec,
        workspace: Path,
        pictures: Sequence[tuple[int, Path]],
        output: Path,
        on_progress: OnProgress | None = None,
    ) -> RenderedFrame:
        """Encode the film of a job from its frames, with the settings and the sound of its scene.

        ``pictures``: frame and file of every frame, ascending, all in one folder that this Blender
        can read. ``output`` is as for `render`. The job is not open afterwards. Raises as `render`.
        """
        if spec.film is None or not pictures:
            raise ValueError("A film needs frames, and a job that asks for one.")
        check_names(spec)
        await self._suit(spec, workspace)
        output = await asyncio.to_thread(make_below, self._scratch, output)
        folder = await asyncio.to_thread(make_below, self._scratch, output / "film")
        listed = output / "pictures.json"
        await asyncio.to_thread(
            listed.write_text, json.dumps([(frame, str(path)) for frame, path in pictures]), "utf-8"
        )
        started = time.perf_counter()
        log_before = self._log_mark()
        fields = self._opening(spec, workspace)
        fields |= {"pictures": str(listed), "output": str(folder)}
        answer = await self._ask("encode", fields, spec=spec, on_progress=on_progress)
        film = await asyncio.to_thread(film_file, folder, answer["film"])
        if film is None:
            raise self._failed(FailureKind.OUTPUT, "Blender made a film, and it is not there.")
        stats = FrameStats(
            seconds=time.perf_counter() - started, peak_memory_bytes=answer["peak_bytes"]
        )
        self._last_work = time.monotonic()
        return RenderedFrame(
            frame=FILM_FRAME,
            files=(RenderedFile("main", spec.film.name, film),),
            stats=stats,
            warnings=tuple(answer["warnings"]),
            log=self._log_since(log_before),
        )

    async def leave(self) -> None:
        """Close the open scene and free its memory; the Blender stays warm."""
        if self.job is not None:
            self._job, self._report = None, None
            await self._ask("leave", {}, spec=None)

    async def abort(self) -> None:
        """Kill the process tree at once; what is being awaited raises `AttemptAborted`.

        Raises `AttemptFailed` (NODE) when a process cannot be killed.
        """
        self._aborting = True
        await self._kill()

    async def close(self) -> None:
        """End Blender in good order, or by force after a while. Safe to repeat.

        Raises `AttemptFailed` (NODE) when a process cannot be killed.
        """
        process = self._process
        if process is None:
            return
        self._aborting = True
        if process.returncode is None and self._order is None:
            self._numbers += 1
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await process.send(channel.pack_order(self._numbers, "close", {}))
                await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
        await self._kill(gently=True)

    # --- the process --------------------------------------------------------------------------

    async def _suit(self, spec: JobSpec, workspace: Path) -> None:
        """Have a Blender free of another scene's Python, started with the colours of this job."""
        variables = colour_variables(spec, workspace)
        if self._blender is not None and (self._ran_scripts or variables != self._variables):
            await self.close()
            self._aborting = False
            await self._spawn(self._blender, variables)
        self._job, self._report = None, None
        self._ran_scripts = spec.trust_scripts

    async def _spawn(self, blender: BlenderInfo, variables: dict[str, str] | None = None) -> None:
        self._variables = variables or {}
        self._token = channel.make_token()
        program = Path(blender.path)
        source = self._scratch / "session.py"
        source.write_text(generate(), "utf-8")
        parameters = self._scratch / "session.json"
        parameters.touch(mode=0o600)
        parameters.write_text(json.dumps({"token": self._token, "node": os.getpid()}), "utf-8")
        self._ready = asyncio.get_running_loop().create_future()
        self._job, self._report, self._ran_scripts = None, None, False
        self.frames_rendered = 0
        try:
            self._process = await BlenderProcess.start(
                command_line(program, blender.is_module, source, parameters),
                scratch=self._scratch,
                program=program,
                readable=self.options.readable,
                level=self.options.sandbox,
                low_priority=self.options.low_priority,
                variables=self._variables,
            )
        except OSError as error:
            raise AttemptFailed(
                FailureKind.NODE, f"Blender at {program} cannot be started: {error.strerror}."
            ) from error
        self._last_beat = self._last_work = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._listen(self._process)),
            asyncio.create_task(self._watch(self._process)),
        ]
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), START_SECONDS)
        except TimeoutError as error:
            failure = self._failed(
                FailureKind.HANG, f"Blender said nothing for {START_SECONDS:.0f} s after its start."
            )
            await self._kill()
            raise failure from error
        except asyncio.CancelledError:
            await self._kill()
            raise

    async def _listen(self, process: BlenderProcess) -> None:
        """Read all that a process says, and when it ends, end what waits for it."""
        readers = [
            asyncio.create_task(process.read_replies(self._take)),
            asyncio.create_task(process.read_log(self._on_log)),
        ]
        returncode = await process.wait()
        # A grandchild may hold the pipes open for ever.
        await asyncio.wait(readers, timeout=DRAIN_SECONDS)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        waiting = self._waiting()
        if waiting is not None:
            waiting.set_exception(self._explain_exit(process, returncode))

    def _waiting(self) -> asyncio.Future[dict[str, Any]] | None:
        """The future that somebody awaits now, if any."""
        for future in (self._order.answer if self._order else None, self._ready):
            if future is not None and not future.done():
                return future
        return None

    def _take(self, line: str) -> None:
        process = self._process
        if process is None:
            return
        reply = channel.parse_reply(line, self._token)
        if reply is None:
            process.show_life()
            process.add_log([line], self._on_log)
            return
        if reply["kind"] == "beat":
            self._last_beat = time.monotonic()
            return
        process.show_life()
        order = self._order
        if reply["kind"] == "ready" and self._ready is not None and not self._ready.done():
            self._ready.set_result(reply)
        elif reply["kind"] == "progress" and order is not None:
            if order.on_progress is not None:
                order.on_progress(float(reply["fraction"]), str(reply["text"]))
        elif order is not None and reply.get("id") == order.number and not order.answer.done():
            if reply["kind"] == "done":
                order.answer.set_result(reply)
            else:
                order.answer.set_exception(refusal(reply, tuple(process.log)))

    async def _ask(
        self,
        do: str,
        fields: dict[str, Any],
        *,
        spec: JobSpec | None,
        on_progress: OnProgress | None = None,
        frame_seconds: float = 0.0,
    ) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            raise ValueError("Start a Blender before giving it orders.")
        self._numbers += 1
        now = time.monotonic()
        silent = spec.limits.silent_seconds if spec is not None else 0.0
        order = _Order(
            number=self._numbers,
            answer=asyncio.get_running_loop().create_future(),
            silent_seconds=silent or self.options.silent_seconds,
            deadline=now + frame_seconds if frame_seconds else None,
            on_progress=on_progress,
            peak_bytes=process.memory_bytes,
        )
        process.show_life()
        self._order = order
        try:
            # A process that has just died is explained by its exit, not by the broken pipe.
            with contextlib.suppress(OSError):
                await process.send(channel.pack_order(order.number, do, fields))
            answer = await order.answer
        except (asyncio.CancelledError, AttemptFailed, AttemptAborted) as error:
            if not isinstance(error, AttemptFailed) or error.kind not in _BLENDER_LIVES_ON:
                await self._kill()
            raise
        finally:
            self._order = None
            self._last_work = time.monotonic()
        answer["peak_bytes"] = max(order.peak_bytes, process.memory_now())
        return answer

    async def _watch(self, process: BlenderProcess) -> None:
        """Look after a process until it ends: silence, time, memory, idleness."""
        while process.returncode is None:
            await asyncio.sleep(WATCH_SECONDS)
            await process.look()
            order, now = self._order, time.monotonic()
            if order is None:
                idle = self.options.idle_seconds
                if idle and now - self._last_work > idle and self._ready_done():
                    # Not awaited: closing ends this very task.
                    self._closing = asyncio.create_task(self.close())
                    return
                continue
            order.peak_bytes = max(order.peak_bytes, process.memory_bytes)
            if self._opened_bytes == 0 and self._job is not None:
                self._opened_bytes = process.memory_bytes
            failure = self._verdict(order, process, now)
            if failure is not None and not order.answer.done():
                order.answer.set_exception(failure)

    def _ready_done(self) -> bool:
        return self._ready is not None and self._ready.done()

    def _verdict(self, order: _Order, process: BlenderProcess, now: float) -> AttemptFailed | None:
        """Return why an order has to be given up now, None while all is well."""
        limit = self.options.memory_bytes
        if limit and process.memory_bytes > limit:
            return self._failed(
                FailureKind.MEMORY,
                f"Blender used {process.memory_bytes >> 20} MiB of memory, "
                f"more than the {limit >> 20} MiB this node allows.",
            )
        if order.deadline is not None and now > order.deadline:
            return self._failed(FailureKind.TOO_LONG, "The frame took longer than its limit.")
        if now - process.last_life > order.silent_seconds:
            still = now - self._last_beat > BEAT_LOST_SECONDS
            what = "its process stands still" if still else "it waits for something"
            return self._failed(
                FailureKind.HANG,
                f"Blender gave no sign of life for {order.silent_seconds:.0f} s: {what}.",
            )
        return None

    async def _kill(self, *, gently: bool = False) -> None:
        """End the process tree and forget it."""
        process = self._process
        if process is None:
            return
        try:
            await (process.end() if gently else process.kill())
        except Unkillable as error:
            raise AttemptFailed(FailureKind.NODE, str(error)) from error
        finally:
            await self._forget()

    async def _forget(self) -> None:
        tasks, self._tasks = self._tasks, []
        listening = [task for task in tasks if task is not asyncio.current_task()]
        if listening:
            # The listener ends by itself and says to whoever waits why.
            await asyncio.wait(listening[:1], timeout=2 * DRAIN_SECONDS)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        if self._ready is not None and self._ready.done() and not self._ready.cancelled():
            self._ready.exception()
        self._process, self._job, self._report = None, None, None

    # --- failures -----------------------------------------------------------------------------

    def _failed(self, kind: FailureKind, reason: str) -> AttemptFailed:
        log = tuple(self._process.log) if self._process is not None else ()
        return AttemptFailed(kind, reason, log)

    def _explain_exit(
        self, process: BlenderProcess, returncode: int
    ) -> AttemptFailed | AttemptAborted:
        if self._aborting:
            return AttemptAborted("Blender was ended on request.")
        return unexpected_end(process, returncode)

    # --- small parts --------------------------------------------------------------------------

    def _has_grown(self) -> bool:
        grown = self.memory_bytes - self._opened_bytes
        return bool(self._opened_bytes and grown > self.options.growth_bytes)

    def _opening(self, spec: JobSpec, workspace: Path) -> dict[str, Any]:
        return {
            "spec": spec_fields(spec),
            "workspace": str(workspace),
            "threads": self.options.threads,
            "gpus": [asdict(gpu) for gpu in self._gpus_for(spec)],
        }

    def _gpus_for(self, spec: JobSpec) -> tuple[Gpu, ...]:
        if spec.requires.device is not Device.GPU or self._blender is None:
            return ()
        for backend in BACKENDS:
            gpus = tuple(gpu for gpu in self._blender.gpus if gpu.backend == backend)
            if gpus:
                return gpus
        return ()

    def _log_mark(self) -> int:
        return self._process.log_count if self._process is not None else 0

    def _log_since(self, mark: int) -> tuple[str, ...]:
        if self._process is None:
            return ()
        new = min(self._process.log_count - mark, LOG_LINES_MAX, len(self._process.log))
        return tuple(self._process.log)[-new:] if new else ()


_BLENDER_LIVES_ON = frozenset({FailureKind.SCENE, FailureKind.NODE, FailureKind.OUTPUT})
"""Failures that Blender itself reported, after which it can go on."""


def _without_seconds(report: OpenReport) -> OpenReport:
    return OpenReport(seconds=0.0, warnings=report.warnings, size=report.size, engine=report.engine)
