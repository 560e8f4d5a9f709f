"""When this node renders and what follows from it: the settings in force, watched and acted on.

`AvailabilityRule` judges the user's wishes, `Room` the disks; here their eyes are opened every few
seconds, and what they say is done: the farm is told, frames not begun go back, the one in progress
is finished or handed back, and Blender is closed so that memory and GPU are the user's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import psutil

from ..protocol.messages import Availability, NodeMessage
from ..protocol.node_settings import NOTHING_SET, FarmSettings, NodeSettings, OnReturn, effective
from ..protocol.schedule import LocalTime
from ..wire.threads import in_thread
from .availability import AvailabilityRule, MeanLoad, Seen
from .idle import Idle, IdleSensor
from .notices import Notice, NoticeKind, Notify
from .room import Room

LOOK_SECONDS = 1.0
"""Between two looks; a user who returns waits for the machine no longer than this and the end of
Blender."""
ROOM_SECONDS = 5.0
"""Between two looks at the disks of a node that is nobody's workstation."""
LOAD_SECONDS = 5.0
"""Between two looks at the load of other processes, which read every process of the machine."""
TELL_SECONDS = 30.0
"""The farm hears of another time of change only when it has moved by so much."""

REFUSES = "availability"
"""As cause for `Renderer.refuse`."""

_PLAIN_AVAILABLE = Availability(available=True)


class Rendering(Protocol):
    """What is done to a `Renderer` here."""

    def refuse(self, reason: str, cause: str = ...) -> None:
        """Take nothing new for this reason; '' ends it."""

    def return_unstarted(self, reason: str) -> None:
        """Give back what Blender has not begun."""

    async def stop_current(self, reason: str) -> None:
        """Give back the frame that is being rendered."""

    async def wait_until_idle(self) -> None:
        """Return when nothing is rendered."""

    async def close_blender(self) -> None:
        """End Blender, which renders nothing."""


def local_time(now: float) -> datetime:
    """Return what the clock on this machine's wall shows, as `schedule.LocalTime`."""
    return datetime.fromtimestamp(now).astimezone()


class LoadSensor:
    """The part of the processors that others use: not this node, its Blender, its siblings."""

    def __init__(self, own: int | None = None) -> None:
        """``own``: the process whose tree is not "others"; None: this one."""
        self._own = own or os.getpid()
        self._at = 0.0
        self._times: tuple[float, float] | None = None
        self._known: dict[tuple[int, float], float] = {}
        self._mean = MeanLoad()

    def look(self) -> float | None:
        """Return the mean load of others; None at the first look. Blocks for some milliseconds."""
        now = time.monotonic()
        if self._times is not None and now - self._at < LOAD_SECONDS:
            return self._mean.mean
        total, busy = _processor_seconds()
        own = self._own_seconds()
        if self._times is not None and total > self._times[0]:
            others = max(0.0, busy - self._times[1] - own)
            load = min(1.0, others / (total - self._times[0]))
            self._mean.add(self._at, now, load)
        self._at, self._times = now, (total, busy)
        return self._mean.mean

    def _own_seconds(self) -> float:
        """Return the processor seconds that the own tree has used since the last look."""
        known, used = {}, 0.0
        try:
            root = psutil.Process(self._own)
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            tree = []
        for process in tree:
            try:
                times = process.cpu_times()
                key = (process.pid, process.create_time())
            except psutil.Error:
                continue
            known[key] = times.user + times.system
            used += known[key] - self._known.get(key, 0.0)
        self._known = known
        return used


def _processor_seconds() -> tuple[float, float]:
    """Return the seconds of all processors since the start, and those in which they worked."""
    times = psutil.cpu_times()
    # Guest time is counted in user time already.
    counted = [getattr(times, name) for name in times._fields if not name.startswith("guest")]
    resting = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    return sum(counted), sum(counted) - resting


class Attendance:
    """Keeps a node to its settings. `run` once, in the node's loop."""

    def __init__(
        self,
        own: NodeSettings,
        *,
        room: Room,
        send: Callable[[NodeMessage], None],
        notify: Notify,
        idle: Callable[[], Idle] | None = None,
        load: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.time,
        local: LocalTime = local_time,
        look_seconds: float = LOOK_SECONDS,
        room_seconds: float = ROOM_SECONDS,
    ) -> None:
        """Take the node's own settings; ``idle`` and ``load`` are looked at in threads."""
        self._own = own
        self._farm = NOTHING_SET
        self._send = send
        self._notify = notify
        self._idle = idle or IdleSensor().look
        self._load = load or LoadSensor().look
        self._clock = clock
        self._local = local
        self._look_seconds = look_seconds
        self._room = room
        self._room_seconds = room_seconds
        self._hands_back = False
        self._rule = AvailabilityRule(own, local)
        self._changed = asyncio.Event()
        room.on_refused = self._changed.set
        self._said_of_idle: tuple[object, ...] | None = None
        self._done: tuple[bool, bool] | None = None
        self._resting: asyncio.Task[None] | None = None
        self._closing = False
        self.may_work = asyncio.Event()
        """Set while the node is available."""
        self._withheld = asyncio.Event()
        # What keeps a node from rendering holds until somebody has looked.
        self.availability = (
            Availability(available=False, reason="Looking whether its user is away.")
            if own.is_workstation
            else _PLAIN_AVAILABLE
        )
        self._let_work(self.availability.available)

    @property
    def own(self) -> NodeSettings:
        """What the node was started with."""
        return self._own

    @property
    def settings(self) -> NodeSettings:
        """What holds."""
        return self._rule.settings

    def adopt(self, farm: FarmSettings) -> bool:
        """Take over what the farm sets for this node; whether it is something else than before."""
        if farm == self._farm:
            return False
        self._farm = farm
        self._rule = AvailabilityRule(effective(self._own, farm), self._local)
        self._changed.set()
        return True

    async def wait_unavailable(self) -> None:
        """Return when the node may not work any more."""
        await self._withheld.wait()

    async def look(self) -> Availability:
        """Look at the machine and judge."""
        settings = self._rule.settings
        idle = await in_thread(self._idle) if settings.idle_minutes else None
        if idle is not None:
            self._tell_of_idle(idle)
        load = await in_thread(self._load) if settings.max_load else None
        found = self._rule.judge(
            Seen(
                now=self._clock(),
                idle_seconds=idle.seconds if idle else None,
                idle_trouble=idle.trouble if idle else "",
                load=load,
            )
        )
        # A frame that is in progress may still fit: only its user takes it from a machine.
        self._hands_back = not found.available and settings.on_return is OnReturn.HAND_BACK
        full = self._room.judge(await in_thread(self._room.measure))
        if not full:
            return found
        reason = f"{found.reason} {full}".strip()
        # What the clock will change does not end before the disk has room.
        return Availability(available=False, reason=reason)

    def _tell_of_idle(self, idle: Idle) -> None:
        """Say how this machine's user is watched: at the start, and when that changes."""
        what = (idle.seconds is None, idle.sources, idle.trouble)
        if what == self._said_of_idle:
            return
        self._said_of_idle = what
        if idle.seconds is None:
            text = (
                f"Whether its user is away cannot be told here: {idle.trouble} Until that changes "
                "this node renders nothing; without --when-idle it renders whoever is there."
            )
            self._notify(Notice(NoticeKind.PROBLEM, text, {"trouble": idle.trouble}))
        else:
            sources = ", ".join(idle.sources)
            text = f"Watching whether its user is away by: {sources}."
            self._notify(Notice(NoticeKind.AVAILABILITY, text, {"sources": sources}))

    async def run(self, renderer: Rendering) -> None:
        """Look and act until cancelled. A look that fails is told, and the node does not render."""
        try:
            while True:
                self._changed.clear()
                try:
                    found = await self.look()
                except Exception as error:  # noqa: BLE001 - whatever it is, the user goes first
                    reason = f"This machine could not be looked at: {error!r}"
                    found = Availability(available=False, reason=reason)
                    self._hands_back = self._rule.settings.on_return is OnReturn.HAND_BACK
                await self._act(renderer, found)
                await self._pause()
        finally:
            if self._resting is not None:
                self._resting.cancel()
                await asyncio.wait([self._resting])

    async def _pause(self) -> None:
        # Without a rule only new settings and the disks change anything.
        is_workstation = self._rule.settings.is_workstation
        seconds = self._look_seconds if is_workstation else self._room_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _act(self, renderer: Rendering, found: Availability) -> None:
        before, self.availability = self.availability, found
        # The first look is acted on whatever it finds: nothing has been told yet.
        is_news = self._done is None or (found.available, found.reason) != (
            before.available,
            before.reason,
        )
        moved = _moved(before.changes_at, found.changes_at)
        if not is_news and not moved:
            self.availability = before
        if is_news:
            text = found.reason or "Available: taking frames."
            if self._done is not None or not found.available:
                facts = {"available": found.available}
                self._notify(Notice(NoticeKind.AVAILABILITY, text, facts))
        doing = (found.available, self._hands_back)
        was_doing, self._done = self._done, doing
        if found.available:
            if was_doing is None or not was_doing[0]:
                await self._end_rest()
                renderer.refuse("", REFUSES)
                self._let_work(True)
            if is_news or moved:
                self._send(found)
            return
        if is_news or moved:
            # First, so that the frames that come back do not come here again.
            self._send(found)
        self._let_work(False)
        renderer.refuse(found.reason, REFUSES)
        if was_doing == doing:
            return
        renderer.return_unstarted(found.reason)
        if self._hands_back:
            await renderer.stop_current(found.reason)
        if self._resting is None:
            self._resting = asyncio.create_task(self._rest(renderer), name="rest")

    def _let_work(self, may: bool) -> None:
        (self.may_work if may else self._withheld).set()
        (self._withheld if may else self.may_work).clear()

    async def _rest(self, renderer: Rendering) -> None:
        """Once nothing is rendered any more, give memory and GPU back."""
        await renderer.wait_until_idle()
        self._closing = True
        try:
            await renderer.close_blender()
        finally:
            self._closing = False

    async def _end_rest(self) -> None:
        resting, self._resting = self._resting, None
        if resting is None:
            return
        if not self._closing:
            resting.cancel()
        # A Blender on its way out must be gone before the next one starts.
        await asyncio.wait([resting])
        if not resting.cancelled() and (error := resting.exception()) is not None:
            text = f"Blender could not be closed: {error}"
            self._notify(Notice(NoticeKind.PROBLEM, text))


def _moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > TELL_SECONDS
