"""Between the farm's thread and Blender's main thread: events in, redraws out.

One persistent timer takes the events that wait, for a few milliseconds at most, and asks for a
redraw only when something a panel shows has changed. Nothing here waits for the network. The state
lives in this module: Blender throws its own properties away when another file is opened.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bpy

from . import fluidity

if TYPE_CHECKING:
    from ..client.following import Command, FarmThread
    from .farm_state import FarmState

BUDGET_SECONDS = 0.005
"""A third of a frame at 60 Hz: drawing and playback never feel it."""
BUSY_SECONDS = 0.05
IDLE_SECONDS = 0.25
"""Pause of the timer when something was there and when nothing was."""
HEADLESS_PAUSE_SECONDS = 0.02

log = logging.getLogger(__name__)

_REDRAWN = ("PROPERTIES", "PREFERENCES", "STATUSBAR")


class ClientMissing(RuntimeError):
    """The part of Rendermill that talks to the farm cannot be loaded; the text says why."""


_state: FarmState | None = None
_thread: FarmThread | None = None
_is_connecting = False
_joining: tuple[int, str] | None = None
"""Request and address of a farm that is being joined."""
_is_loading = False
_problem = ""


def state() -> FarmState:
    """Return what is known of the farm. Raises `ClientMissing`."""
    global _state  # noqa: PLW0603 - the one place where it is made
    if _state is None:
        try:
            from .farm_state import FarmState
        # Wheels that are missing, or of another platform (OSError from the loader).
        except (ImportError, OSError) as error:
            raise ClientMissing(
                f"Rendermill cannot be used in this Blender: {error}. Install the extension zip "
                "made for this Blender version and this operating system."
            ) from error
        # Here, where the thread that loads the client comes by: later an artist is at work.
        fluidity.begin()
        _state = FarmState()
    return _state


def state_if_loaded() -> FarmState | None:
    """Return the state when the client is loaded: drawing must not wait for an import."""
    return _state


def problem() -> str:
    """Why the client could not be loaded, one sentence; '' when nothing is wrong."""
    return _problem


def send(command: Command) -> int:
    """Hand a command to the farm's thread, starting it first. Raises `ClientMissing`."""
    global _thread  # noqa: PLW0603 - the one place where it is made
    state()
    if _thread is None:
        from ..client.following import FarmThread

        _thread = FarmThread()
    _thread.start()
    return _thread.send(command)


def connect(url: str | None = None, *, again: bool = False) -> None:
    """Begin to follow the farm; harmless when that has begun, unless ``again``."""
    global _is_connecting  # noqa: PLW0603
    if _is_connecting and not again:
        return
    from ..client.following import Connect, ResumeDeliveries
    from .farm_state import Link

    current = state()
    current.silent_requests.add(send(Connect(url)))
    current.link = Link.SEARCHING
    current.link_text = ""
    if not bpy.app.background and not _is_connecting:
        # Frames of jobs that were sent before Blender was closed.
        current.silent_requests.add(send(ResumeDeliveries()))
    _is_connecting = True


def join(url: str, token: str) -> int:
    """Join a farm and follow it once that is done; returns the request of the joining.

    Raises `ClientMissing`.
    """
    global _joining  # noqa: PLW0603
    from ..client.following import Join

    request = send(Join(url, token))
    state().notice = ""
    _joining = request, url
    return request


def connect_if_joined() -> None:
    """Follow the farm that was being joined, before which it would let nobody in, and go on with
    deliveries that ended because it did not."""
    global _joining, _is_connecting  # noqa: PLW0603
    if _joining is None:
        return
    request, url = _joining
    outcome = state().outcome(request)
    if outcome is None:
        return
    _joining = None
    if not outcome:
        _is_connecting = False
        connect(url or None)


def drain(budget_seconds: float = BUDGET_SECONDS) -> bool:
    """Take over events for at most ``budget_seconds``; whether a panel has to be drawn anew."""
    if _thread is None:
        return False
    current = state()
    end = time.perf_counter() + budget_seconds
    changed = False
    for event in _thread.drain():
        changed |= current.apply(event)
        if time.perf_counter() >= end:
            break
    return changed


def wait_for(is_over: Callable[[], bool], seen: Callable[[], None]) -> None:
    """Take over events until ``is_over``; ``seen`` is called after each lot. For headless use."""
    while not is_over():
        if drain(budget_seconds=0.1):
            seen()
        elif _thread is None or not _thread.is_running:
            raise ClientMissing("The connection to the farm has ended; run the operator again.")
        else:
            time.sleep(HEADLESS_PAUSE_SECONDS)
    drain(budget_seconds=0.1)
    seen()


def redraw() -> None:
    """Ask for the areas that show the farm to be drawn anew."""
    manager: Any = bpy.context.window_manager
    for window in manager.windows:
        for area in window.screen.areas:
            if area.type in _REDRAWN:
                area.tag_redraw()


def tell(text: str) -> None:
    """Show one sentence in the panel, until something else is asked for."""
    state().notice = text


def work() -> bool:
    """Do what waits, for a few milliseconds; whether a panel has to be drawn anew."""
    from ..client import artist
    from . import errands, pictures, preferences, survey, viewer
    from .farm_state import JOBS_SHOWN

    current = state()
    changed = drain()
    connect_if_joined()
    changed |= errands.drain()
    changed |= survey.work()
    _look_around(current)
    _ask_for_pictures(current)
    here, others = current.shown_jobs(artist.submitter(), _blend())
    for job in (*here[:JOBS_SHOWN], *others[:JOBS_SHOWN]):
        picture = current.picture_of(job.id)
        if picture is not None:
            changed |= pictures.prepare(picture)
    if current.newest is not None and preferences.get().show_newest:
        viewer.follow(*current.newest)
    return changed


def _blend() -> str:
    return os.path.normpath(bpy.data.filepath) if bpy.data.filepath else ""


def _look_around(current: FarmState) -> None:
    """Have looked at what lies on disks: which node runs here, which jobs the open file has."""
    from . import errands, node_here, preferences, survey

    if node_here.is_time_to_look() and preferences.stored() is not None:
        node_here.look(then=redraw)
    blend = _blend()
    if current.farm is None or (current.blend == blend and not current.is_blend_stale):
        return
    if current.blend != blend:
        current.blend, current.blend_jobs = blend, ()
    current.is_blend_stale = False
    survey.measure_again()
    farm_id = current.farm.farm_id
    if not blend:
        return

    def find() -> tuple[str, ...]:
        from ..client.sent_jobs import jobs_of_blend

        return jobs_of_blend(blend, farm_id)

    def show(jobs: tuple[str, ...]) -> None:
        if current.blend == blend:
            current.blend_jobs = jobs

    def failed(error: Exception) -> None:
        log.warning("the jobs of the open file cannot be found: %s", error)

    errands.begin(find, show, failed)


def _ask_for_pictures(current: FarmState) -> None:
    from ..client import artist
    from ..client.following import FetchPicture

    for job, frame in current.pictures_wanted(artist.submitter(), _blend()):
        current.asked_pictures[job] = frame
        current.picture_requests.add(send(FetchPicture(job, frame)))


def _tick() -> float:
    if _state is None:
        return IDLE_SECONDS
    try:
        from . import survey

        if work():
            redraw()
        elif not survey.is_under_way():
            return IDLE_SECONDS
    except Exception:
        # Blender would take a timer that raises away, and the farm would seem to stand still.
        log.exception("the farm's news could not be taken")
        return IDLE_SECONDS
    return BUSY_SECONDS


def _load() -> None:
    """Import the client away from the main thread: it takes a third of a second."""
    global _problem, _is_loading  # noqa: PLW0603
    try:
        state()
    except ClientMissing as error:
        _problem = str(error)
    finally:
        _is_loading = False


def _begin() -> float | None:
    """First steps once Blender has its windows: load the client, then look for the farm."""
    global _is_loading  # noqa: PLW0603
    from . import node_here, preferences

    if _state is None and not _problem:
        if not _is_loading:
            _is_loading = True
            threading.Thread(target=_load, name="rendermill-load", daemon=True).start()
        return IDLE_SECONDS
    if not _problem:
        wanted = preferences.get()
        if wanted.connect_at_start:
            connect(wanted.coordinator_url or None)
        node_here.look(then=_start_node)
    redraw()
    return None


def _start_node() -> None:
    """Start the node on this computer where the artist wants one and none runs."""
    from . import node_here, preferences

    wanted = preferences.get()
    if wanted.node_here and node_here.here.node is None:
        node_here.start(wanted, then=redraw)
    redraw()


def register() -> None:
    """Start the timer. In the background nothing runs until an operator wants the farm."""
    if bpy.app.background:
        return
    bpy.app.timers.register(_tick, first_interval=IDLE_SECONDS, persistent=True)
    bpy.app.timers.register(_begin, first_interval=IDLE_SECONDS, persistent=True)


def unregister() -> None:
    """Stop timer and thread, and forget everything."""
    global _state, _thread, _is_connecting, _problem, _joining
    from . import errands, node_here, upkeep

    fluidity.end()
    errands.forget()
    node_here.forget()
    upkeep.forget()
    for timer in (_tick, _begin):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _thread is not None:
        _thread.stop()
    _state, _thread, _is_connecting, _problem, _joining = None, None, False, "", None
