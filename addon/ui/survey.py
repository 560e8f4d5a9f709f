"""A look at the open scene before it is sent: its files, what changed since, what the checks say.

It begins when a file is opened or saved, when an option or a repair changes what it would find, and
when the artist asks. It goes on in short steps of the pump's timer, like the packing it is made of.
It changes nothing, and a look that is overtaken by another file is dropped; one that a change to
this file overtakes begins anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bpy

from ...protocol.frames import FrameRangeError
from ...protocol.scene import CapturedScene
from ..scene.checks import Finding
from . import errands, pump, viewer
from .packing import Packing, PackingRefused, Step

if TYPE_CHECKING:
    from ..client.sent_scenes import SceneSize

STEP_SECONDS = 0.008
"""Half a frame at 60 Hz: it is done while the artist works."""
DIALOG_SECONDS_MAX = 10.0
"""From pressing a button until Blender shows the dialog that it opens."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What a look has found."""

    scene: str
    blend: str
    taken: float
    """Seconds since 1970."""
    packing: Packing
    size: SceneSize | None = None
    """None while files are still being looked at."""
    problem: str = ""
    """Why the scene cannot be sent at all, one sentence."""

    @property
    def findings(self) -> list[Finding]:
        """What the checks have found, worst first."""
        return self.packing.findings

    @property
    def is_checked(self) -> bool:
        """Whether the checks were made at all."""
        return self.packing.is_checked

    @property
    def captured(self) -> CapturedScene | None:
        """The scene as it would be sent; None where it cannot be."""
        return self.packing.captured

    def is_about(self, scene: Any) -> bool:
        """Whether it is about ``scene`` of the file that is open now."""
        return (scene.name, bpy.data.filepath) == (self.scene, self.blend)


@dataclass(slots=True)
class Dialog:
    """A file dialog of Blender that a repair has opened; nothing tells when the artist is done."""

    asked: float
    """When it was asked for, on the clock that `is_over` is told."""
    was_seen: bool = False

    def is_over(self, now: float) -> bool:
        """Whether it was there and is closed, or has not come at all."""
        if _is_file_dialog_open():
            self.was_seen = True
            return False
        return self.was_seen or now - self.asked > DIALOG_SECONDS_MAX


def _is_file_dialog_open() -> bool:
    manager: Any = bpy.context.window_manager
    return any(
        area.type == "FILE_BROWSER" and area.spaces.active.active_operator is not None
        for window in manager.windows
        for area in window.screen.areas
    )


latest: Report | None = None
_packing: Packing | None = None
_steps: Iterator[Step] | None = None
_is_wanted = False
_has_repaired = False
"""Whether a button of the checks has changed the open file, which the artist may undo."""
_dialog: Dialog | None = None


def want() -> None:
    """Look at the open scene as soon as there is time."""
    global _is_wanted, _steps
    _is_wanted, _steps = True, None


def want_after_repair(*, opens_dialog: bool) -> None:
    """Look again now, and whenever a repair may be undone; or once Blender's dialog is closed."""
    global _has_repaired, _dialog  # noqa: PLW0603
    _has_repaired = True
    if opens_dialog:
        _dialog = Dialog(time.monotonic())
    want()


def is_under_way() -> bool:
    """Whether a look is going on, or about to."""
    return _is_wanted or _steps is not None


def forget() -> None:
    """Drop what is known and what is under way."""
    global latest, _packing, _steps, _is_wanted, _has_repaired, _dialog
    latest, _packing, _steps, _is_wanted = None, None, None, False
    _has_repaired, _dialog = False, None


def work(budget_seconds: float = STEP_SECONDS) -> bool:
    """Go on for a while; whether a panel has to be drawn anew. Call it in the main thread."""
    global _steps, _is_wanted, _packing, _dialog  # noqa: PLW0603
    if _dialog is not None and _dialog.is_over(time.monotonic()):
        _dialog = None
        want()
    end = time.perf_counter() + budget_seconds
    if _is_wanted:
        current, scene = pump.state_if_loaded(), _open_scene()
        if current is None or scene is None or current.is_packing:
            return False
        _is_wanted = False
        _packing = _new_packing(scene, current)
        _steps = _packing.steps()
    if _steps is None or _packing is None:
        return False
    # What is shown of another job is no part of this scene.
    viewer.set_aside()
    try:
        while time.perf_counter() < end:
            step = next(_steps, None)
            if step is None:
                _take(_packing, "")
                return True
            if step.rests:
                break
    except (PackingRefused, FrameRangeError) as error:
        _take(_packing, str(error))
        return True
    except ReferenceError:
        # The scene, or something in it, was deleted meanwhile, or undone away.
        want()
    except Exception:
        _steps = None
        log.exception("the scene could not be looked at")
    finally:
        viewer.put_back()
    return False


def _open_scene() -> Any:
    """The scene of the first window: a timer belongs to none."""
    manager: Any = bpy.context.window_manager
    return manager.windows[0].scene if manager.windows else bpy.context.scene


def _new_packing(scene: Any, current: Any) -> Packing:
    from ..client import artist
    from .render_operators import job_options

    return Packing(
        scene=scene,
        **job_options(scene, current),
        snapshots=artist.snapshots_dir(),
        send_anyway=True,
        copies=False,
    )


def adopt(packing: Packing) -> None:
    """Take over what the packing of the scene has found: it is newer than any look."""
    global _is_wanted  # noqa: PLW0603
    if packing.is_checked:
        _is_wanted = False
        _take(packing, "")


def _take(packing: Packing, problem: str) -> None:
    global latest, _steps  # noqa: PLW0603
    _steps = None
    scene, blend = packing.about
    before, latest = latest, Report(scene, blend, time.time(), packing, problem=problem)
    # Shown until the files are measured anew.
    if before is not None and (before.scene, before.blend) == (scene, blend):
        latest.size = before.size
    measure_again()


def measure_again() -> None:
    """Take the sizes anew, and what has changed since the scene was sent."""
    from ..client.sent_scenes import measure

    report = latest
    captured = report.captured if report is not None else None
    if report is None or captured is None:
        return
    # The first is the copy of the .blend, which a look does not make.
    paths = [file.source for file in captured.files[1:]]

    def show(size: SceneSize) -> None:
        report.size = size

    def failed(error: Exception) -> None:
        report.problem = f"The files of the scene cannot be looked at: {error}."

    errands.begin(lambda: measure(captured.blend, captured.spec.scene, paths), show, failed)


@bpy.app.handlers.persistent
def _on_file(*_: Any) -> None:
    want()


@bpy.app.handlers.persistent
def _on_undo(*_: Any) -> None:
    # Not after every undo of modelling: a look takes its time in a scene that is large.
    if _has_repaired:
        want()


def _handlers() -> tuple[tuple[Any, Any], ...]:
    handlers = bpy.app.handlers
    return (
        (handlers.load_post, _on_file),
        (handlers.save_post, _on_file),
        (handlers.undo_post, _on_undo),
        (handlers.redo_post, _on_undo),
    )


def register() -> None:
    """Look again whenever a file was opened or saved, or a repair undone."""
    for handlers, function in _handlers():
        handlers.append(function)
    want()


def unregister() -> None:
    """Stop looking."""
    for handlers, function in _handlers():
        if function in handlers:
            handlers.remove(function)
    forget()
