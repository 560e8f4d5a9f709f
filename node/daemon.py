"""A node from start to stop: its folders, its Blenders, its farm, and the wiring between."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from .. import __version__
from ..protocol import PROTOCOL_VERSION
from ..protocol.messages import (
    LOG_LINE_MAX_CHARS,
    Assign,
    ConfigureNode,
    CoordinatorMessage,
    ForgetJob,
    FrameAccepted,
    FrameRefused,
    Heartbeat,
    Hello,
    Inspect,
    LogLines,
    MachineChanged,
    Revoke,
    SceneHeld,
    SetDraining,
    Welcome,
)
from ..protocol.node_settings import FarmSettings
from ..wire import discovery, places
from ..wire.credentials import Credentials
from ..wire.threads import in_thread, opened_in_thread
from . import hardware
from .attendance import REFUSES, Attendance, LoadSensor
from .blender.attempt import AttemptFailed
from .blender.sandbox import BUBBLEWRAP
from .blender.session import BlenderSession, SessionOptions
from .cache import ChunkCache, default_quota, remove
from .delivery import Delivery
from .equipment import Equipment, equip, probe_fully
from .identity import DataFolder, NodeError
from .idle import Idle
from .inspection import Inspection
from .link import Link
from .notices import Notice, NoticeKind, Notify
from .options import NodeOptions
from .outbox import Outbox
from .renderer import Renderer
from .reports import LogReports
from .room import Room, is_for_lack_of_room, is_of_a_broken_disk
from .scenes import SceneStore
from .settings import SettingsFile, SettingsUnreadable, describe

T = TypeVar("T")

DELIVER_SECONDS = 5.0
"""How long a node that stops goes on sending what it has finished; the rest waits for the next
start."""
GOODBYE_SECONDS = 10.0
PROBE_AGAIN_MAX_SECONDS = 3600.0
"""Longest pause before a look that left questions open is repeated."""
SESSION = "blender"
"""Below the scratch folder: what Blender itself may write to."""
PROBE = "probe"
INSPECT = "inspect"
FRAMES = f"{SESSION}/frames"
STATES = f"{SESSION}/states"
"""What of a scene's tree Blender must be able to write; see `workspace`."""

Equip = Callable[[Sequence[Path], Path, Path, Notify], Awaitable[Equipment]]
"""As `equipment.equip`."""
MakeSession = Callable[..., BlenderSession]
"""As `BlenderSession`."""


class Node:
    """One node process. `run` until `stop`; a second `stop` does not wait for the frame."""

    def __init__(
        self,
        options: NodeOptions,
        notify: Notify,
        *,
        equip: Equip = equip,
        make_session: MakeSession = BlenderSession,
        idle: Callable[[], Idle] | None = None,
    ) -> None:
        """``idle`` says how long nobody has touched the machine; None: the machine itself."""
        self._options = options
        self._notify = notify
        self._equip = equip
        self._make_session = make_session
        self._idle = idle
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def stop(self) -> None:
        """Drain and end; when called again, give the running frame back at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Live. Returns after `stop`.

        Raises `NodeError`, `CacheError` when the machine does not allow it, and `LinkRefused`
        when the farm does not.
        """
        with contextlib.ExitStack() as afterwards:
            async with opened_in_thread(DataFolder, self._options.data_folder) as data:
                # When the folder is free again, so that whoever waits for it may start the next.
                afterwards.callback(
                    self._notify, Notice(NoticeKind.STOPPED, "The node has stopped.")
                )
                self._notify(
                    Notice(
                        NoticeKind.STARTING,
                        f"Node {self._options.label} ({data.identity.node[:8]}) in {data.folder}.",
                        {
                            "node": data.identity.node,
                            "name": self._options.label,
                            "data": str(data.folder),
                        },
                    )
                )
                try:
                    await self._run_in(data)
                except OSError as error:
                    if not (is_of_a_broken_disk(error) or is_for_lack_of_room(error)):
                        raise
                    raise NodeError(
                        f"A disk of this node ({data.folder}, or its scene cache) cannot be used: "
                        f"{error.strerror}. Check it, or choose another folder with --data."
                    ) from error

    async def _run_in(self, data: DataFolder) -> None:
        options = self._options
        scratch = data.folder / "scratch"
        # Of a process that was killed. The session's folder stays: it holds the shader caches that
        # a GPU's first frame would wait for.
        await in_thread(remove, scratch / FRAMES)
        await in_thread(remove, scratch / STATES)
        await in_thread((scratch / FRAMES).mkdir, parents=True)
        quota = options.cache_bytes
        if quota is None:
            quota = await in_thread(default_quota, options.cache_folder)
        async with opened_in_thread(
            ChunkCache, options.cache_folder, quota, data.identity.incarnation
        ) as cache:
            try:
                equipment = await _first_of(
                    self._equip(
                        options.blenders,
                        scratch / PROBE,
                        _answers(self._options.slot),
                        self._notify,
                    ),
                    self._stop,
                )
                if equipment is not None:
                    gpus = [gpu for blender in equipment.blenders for gpu in blender.gpus]
                    if options.gpu_only and not gpus:
                        text = f"The slot {options.slot} sees no GPU: it gets no frames."
                        self._notify(Notice(NoticeKind.PROBLEM, text, {"slot": options.slot}))
                    await _Service(
                        options,
                        self._notify,
                        data=data,
                        cache=cache,
                        scratch=scratch,
                        equipment=equipment,
                        make_session=self._make_session,
                        idle=self._idle,
                        stop=self._stop,
                        hurry=self._hurry,
                    ).run()
            finally:
                await in_thread(remove, scratch / FRAMES)


@dataclass(frozen=True, slots=True)
class _Work:
    """What exists once the farm is known."""

    delivery: Delivery
    renderer: Renderer
    rendering: asyncio.Task[None]
    attending: asyncio.Task[None]


class _Service:
    """A node that has its Blenders, from the search for its farm to the goodbye."""

    def __init__(
        self,
        options: NodeOptions,
        notify: Notify,
        *,
        data: DataFolder,
        cache: ChunkCache,
        scratch: Path,
        equipment: Equipment,
        make_session: MakeSession,
        idle: Callable[[], Idle] | None,
        stop: asyncio.Event,
        hurry: asyncio.Event,
    ) -> None:
        notify = self._also_to_the_log(notify)
        self._options = options
        self._notify = notify
        self._data = data
        self._cache = cache
        self._scratch = scratch
        self._equipment = equipment
        machine = hardware.describe(equipment.blenders, options.settings.tags, equipment.sandbox)
        self._machine = replace(
            machine,
            cores=min(machine.cores, options.threads or machine.cores),
            memory_bytes=int(machine.memory_bytes * options.memory_share),
            gpu_only=options.gpu_only,
        )
        self._stop = stop
        self._hurry = hurry
        self._has_joined = False
        self._link = Link(
            self._resolve,
            prepare=self._prepare,
            hello=self._hello,
            beat=self._beat,
            on_welcome=self._on_welcome,
            on_message=self._on_message,
            notify=notify,
            ping_seconds=options.ping_seconds,
            retry_first_seconds=options.retry_first_seconds,
        )
        self._log = LogReports(self._link.send)
        self._room = Room({"the node's frames": data.folder, "its scene cache": cache.folder})
        self._attendance = Attendance(
            options.settings,
            room=self._room,
            send=self._link.send,
            notify=notify,
            idle=idle,
            load=LoadSensor(options.load_root).look,
            look_seconds=options.look_seconds,
            room_seconds=options.room_seconds,
        )
        self._greeted_with = self._attendance.availability
        self._settings_file: SettingsFile | None = None
        self._saving: set[asyncio.Task[None]] = set()
        self._scenes = SceneStore(
            cache,
            self._link.ask,
            self._tell_scene_held,
            # Only there Blender sees the scenes on a disk it cannot write to.
            writable=scratch / STATES if equipment.sandbox == BUBBLEWRAP else None,
        )
        loop = asyncio.get_running_loop()

        def evicted(manifest: str) -> None:
            loop.call_soon_threadsafe(self._tell_scene_held, manifest, False)

        cache.on_evicted = evicted
        self._session = make_session(
            scratch / SESSION,
            on_log=self._log.add,
            options=SessionOptions(
                readable=(cache.folder,),
                sandbox=equipment.sandbox,
                threads=options.threads,
                silent_seconds=options.silent_seconds,
                frame_seconds=options.frame_seconds,
                memory_bytes=options.memory_limit,
                low_priority=options.low_priority,
            ),
        )
        self._inspection = Inspection(
            self._link.ask,
            cache_folder=cache.folder,
            cache_bytes=cache.quota_bytes,
            user=data.identity.incarnation,
            scratch=scratch / INSPECT,
            level=equipment.sandbox,
            blenders=lambda: self._equipment.blenders,
        )
        self._inspecting: set[asyncio.Task[None]] = set()
        self._work: _Work | None = None
        self._ended = asyncio.Event()
        """Set when the renderer ended, which it never should before it is told to."""

    async def _inspect(self, order: Inspect) -> None:
        self._link.send(await self._inspection.inspect(order))

    def _also_to_the_log(self, notify: Notify) -> Notify:
        """Tell the farm too what this node tells the person who started it, but for progress."""

        def tell(notice: Notice) -> None:
            notify(notice)
            if notice.kind is not NoticeKind.PROGRESS:
                self._link.send(LogLines(lines=(notice.text[:LOG_LINE_MAX_CHARS],)))

        return tell

    async def run(self) -> None:
        """Connect and render until told to stop. Raises `LinkRefused`."""
        link = asyncio.create_task(self._link.run(), name="link")
        link.add_done_callback(lambda _: self._ended.set())
        probing = asyncio.create_task(self._probe_when_idle(), name="probe")
        probing.add_done_callback(self._after_probe)
        try:
            await _first_of(self._ended.wait(), self._stop)
            if link.done():
                link.result()
            if not self._ended.is_set():
                await self._drain()
        finally:
            probing.cancel()
            await asyncio.wait([probing])
            await self._end(link)

    def _after_probe(self, probing: asyncio.Task[None]) -> None:
        if not probing.cancelled() and (error := probing.exception()) is not None:
            text = f"The Blenders here could not be probed fully: {error!r}"
            self._notify(Notice(NoticeKind.PROBLEM, text))

    async def _probe_when_idle(self) -> None:
        """Find out what a quick look has left out, without taking time from any frame."""
        if not self._equipment.candidates and not self._equipment.silent:
            return
        loop, options = asyncio.get_running_loop(), self._options
        pause, not_before = options.probe_again_seconds, 0.0
        while not self._stop.is_set():
            await self._link.wait_connected()
            renderer = self._known().renderer
            await renderer.wait_until_idle()
            # A user who is there does not wait for a probe either.
            if not await _first_of(self._attendance.may_work.wait(), self._stop):
                continue
            idle_seconds = max(options.probe_idle_seconds, not_before - loop.time())
            came = await _first_of(renderer.wait_until_busy(), self._stop, idle_seconds)
            if came or self._stop.is_set():
                continue
            equipment = await self._probe_until_busy(renderer)
            if equipment is None:
                continue
            self._adopt(equipment)
            if not equipment.has_open_questions:
                return
            not_before = loop.time() + pause
            pause = min(PROBE_AGAIN_MAX_SECONDS, 2 * pause)

    async def _probe_until_busy(self, renderer: Renderer) -> Equipment | None:
        """Probe fully; None when a frame came before the end: its processor time is the frame's."""
        probing = asyncio.create_task(
            probe_fully(
                self._equipment, self._scratch / PROBE, _answers(self._options.slot), self._notify
            )
        )
        others = [
            asyncio.create_task(renderer.wait_until_busy()),
            asyncio.create_task(self._attendance.wait_unavailable()),
        ]
        try:
            await asyncio.wait([*others, probing], return_when=asyncio.FIRST_COMPLETED)
            return probing.result() if probing.done() else None
        finally:
            for task in (*others, probing):
                task.cancel()
            await asyncio.gather(*others, probing, return_exceptions=True)

    def _adopt(self, equipment: Equipment) -> None:
        """Render with what a probe has found, and tell the farm where that is something else."""
        changed = equipment.blenders != self._equipment.blenders
        self._equipment = equipment
        if changed:
            self._machine = replace(self._machine, blenders=equipment.blenders)
            self._known().renderer.blenders = equipment.blenders
            self._link.send(MachineChanged(machine=self._machine))

    # --- the farm ------------------------------------------------------------------------------

    async def _resolve(self, url: str | None) -> Credentials:
        """Find the coordinator, joining its farm first where that was asked for."""
        url = url or self._options.coordinator
        token = self._options.join
        if token is None:
            return await discovery.resolve(url)
        # The farm of the token, wherever it is today: not another one this machine knows.
        found = await discovery.resolve_or_join(
            url, token, name=self._options.label, kind="node", may_join=not self._has_joined
        )
        self._has_joined = True
        return found

    async def _prepare(self, credentials: Credentials) -> None:
        """The farm is known: look for what an earlier process of this node has finished for it."""
        # The farm's id comes from the network and becomes a folder's name.
        farm = hashlib.sha256(credentials.farm_id.encode()).hexdigest()[:32]
        self._settings_file = SettingsFile(self._data.folder / "settings" / f"{farm}.json")
        try:
            self._attendance.adopt(await in_thread(self._settings_file.load))
        except SettingsUnreadable as error:
            self._notify(Notice(NoticeKind.PROBLEM, str(error)))
        outbox = Outbox(self._data.folder / "outbox" / farm)
        parcels, problems = await in_thread(outbox.load)
        for problem in problems:
            self._notify(Notice(NoticeKind.PROBLEM, problem))
        delivery = Delivery(outbox, self._link.ask, self._link.send, self._notify)
        renderer = Renderer(
            session=self._session,
            scenes=self._scenes,
            outbox=outbox,
            delivery=delivery,
            ask=self._link.ask,
            send=self._link.send,
            notify=self._notify,
            log=self._log,
            scratch=self._scratch / FRAMES,
            room=self._room,
            blenders=self._equipment.blenders,
        )
        delivery.add(parcels)
        if parcels:
            text = f"Finished before and not delivered yet: {len(parcels)} frames."
            self._notify(Notice(NoticeKind.RENDERED, text, {"frames": len(parcels)}))
        rendering = asyncio.create_task(renderer.run(), name="renderer")
        rendering.add_done_callback(lambda _: self._ended.set())
        if not self._attendance.availability.available:
            renderer.refuse(self._attendance.availability.reason, REFUSES)
        attending = asyncio.create_task(self._attendance.run(renderer), name="attendance")
        attending.add_done_callback(lambda _: self._ended.set())
        self._work = _Work(delivery, renderer, rendering, attending)

    def _known(self) -> _Work:
        if self._work is None:
            raise RuntimeError("the link speaks before its farm was prepared for")
        return self._work

    def _hello(self) -> Hello:
        work = self._known()
        held = (
            *work.renderer.holding(),
            *work.delivery.holding(),
            *self._link.unsent_failures(),
        )
        self._greeted_with = self._attendance.availability
        return Hello(
            protocol=PROTOCOL_VERSION,
            software=__version__,
            node=self._data.identity.node,
            incarnation=self._data.identity.incarnation,
            name=self._options.label,
            machine=self._machine,
            holding=tuple(dict.fromkeys(held)),
            inspects=True,
            scenes=self._cache.complete_scenes(),
            settings=self._options.settings,
            availability=self._greeted_with,
        )

    def _beat(self) -> Heartbeat:
        return hardware.load(self._cache.folder).heartbeat()

    def _tell_scene_held(self, manifest: str, held: bool) -> None:
        self._link.send(SceneHeld(manifest=manifest, held=held))

    def _on_welcome(self, welcome: Welcome) -> None:
        work = self._known()
        work.renderer.keep_only(welcome.keep)
        work.delivery.offer_again()
        if welcome.settings is not None:
            self._configure(welcome.settings)
        if self._attendance.availability != self._greeted_with:
            # It changed while the line could not carry it yet.
            self._link.send(self._attendance.availability)
        self._notify(Notice(NoticeKind.READY, "Ready for frames.", {"farm": welcome.farm}))

    def _on_message(self, message: CoordinatorMessage) -> None:
        work = self._known()
        match message:
            case Assign():
                work.renderer.assign(message)
            case Revoke():
                work.renderer.revoke(message)
            case FrameAccepted():
                work.delivery.accepted(message.frame)
            case FrameRefused():
                work.delivery.refused(message.frame, message.reason, retry=message.retry)
            case ForgetJob():
                work.renderer.forget_job(message.job)
            case Inspect():
                looking = asyncio.create_task(self._inspect(message), name="inspection")
                self._inspecting.add(looking)
                looking.add_done_callback(self._inspecting.discard)
            case SetDraining():
                work.renderer.refuse("the node is draining" if message.draining else "")
                text = "Draining: taking no new frames." if message.draining else "Taking frames."
                self._notify(Notice(NoticeKind.DRAINING, text, {"draining": message.draining}))
            case ConfigureNode():
                self._configure(message.settings)
            case Welcome():
                work.renderer.keep_only(message.keep)

    def _configure(self, settings: FarmSettings) -> None:
        """Hold to what the farm sets for this node, now and after the next start."""
        if self._settings_file is None or not self._attendance.adopt(settings):
            return
        text = f"Settings: {describe(self._attendance.settings)}."
        self._notify(Notice(NoticeKind.AVAILABILITY, text))
        saving = asyncio.create_task(in_thread(self._settings_file.store, settings))
        self._saving.add(saving)
        saving.add_done_callback(self._saved)

    def _saved(self, saving: asyncio.Task[None]) -> None:
        self._saving.discard(saving)
        if not saving.cancelled() and (error := saving.exception()) is not None:
            text = f"What the farm has set for this node could not be kept here: {error}"
            self._notify(Notice(NoticeKind.PROBLEM, text))

    # --- the end -------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Finish or give back what is held, as far as the grace goes, and say goodbye."""
        if self._work is None:
            return
        renderer, delivery = self._work.renderer, self._work.delivery
        reason = "the node stops"
        renderer.refuse(reason)
        renderer.return_unstarted(reason)
        if renderer.busy:
            seconds = self._options.grace_seconds
            text = (
                f"Stopping: the frame in progress has {seconds:.0f} s to finish "
                "(stop again to give it back at once)."
            )
            self._notify(Notice(NoticeKind.DRAINING, text, {"seconds": seconds}))
            await _first_of(renderer.wait_until_idle(), self._hurry, seconds)
            await renderer.stop_current(reason)
            await renderer.wait_until_idle()
        if self._link.connected:
            await _first_of(delivery.wait_until_empty(), self._hurry, DELIVER_SECONDS)
        await self._link.goodbye(reason, GOODBYE_SECONDS)

    async def _end(self, link: asyncio.Task[None]) -> None:
        """Stop everything, Blender first: nothing may outlive the node."""
        link.cancel()
        for looking in self._inspecting:
            looking.cancel()
        await asyncio.gather(*self._inspecting, return_exceptions=True)
        await asyncio.wait([link])
        work = self._work
        try:
            if work is not None:
                work.attending.cancel()
                await asyncio.wait([work.attending])
                await work.renderer.stop_current("the node stops")
                work.rendering.cancel()
                await asyncio.wait([work.rendering])
        finally:
            try:
                await self._session.close()
            except AttemptFailed as error:
                self._notify(Notice(NoticeKind.PROBLEM, error.reason))
        if work is not None:
            await work.delivery.close()
        await self._scenes.close()
        await asyncio.gather(*self._saving, return_exceptions=True)
        for task in () if work is None else (work.rendering, work.attending):
            if not task.cancelled():
                task.result()


def _answers(slot: str) -> Path:
    """File of what is known of this machine's Blenders, for all nodes of this user.

    A slot sees other GPUs than the next one, and has a file of its own.
    """
    return places.cache_dir() / (f"blenders-{slot}.json" if slot else "blenders.json")


async def _first_of(
    work: Awaitable[T], event: asyncio.Event, seconds: float | None = None
) -> T | None:
    """Return what ``work`` gives, or None when the event is set or the time is over before."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([task, waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
