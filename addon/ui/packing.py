"""The open scene on its way to a job: dependencies, spec, checks, snapshot, in short steps.

The steps run in Blender's main thread, a few at a time, so that the interface stays alive; only
Blender's own save is one step of its own length. Files and folders are looked at in a thread, for a
network drive may take its time, or never answer.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import bpy

from ...protocol.frames import FrameRangeError
from ...protocol.job import JobKind
from ...protocol.manifest import ManifestError
from ...protocol.scene import CapturedScene
from ...protocol.views import NodeView
from ..scene.cache_frames import spans_of
from ..scene.capture import CaptureError, capture_steps, frame_numbers
from ..scene.checks import Finding, Severity, check_steps
from ..scene.dependencies import Dependencies, dependency_steps
from ..scene.farm_checks import unknown_nodes
from ..scene.snapshot import SnapshotError, save_snapshot, snapshot_name
from ..scene.steps import Elsewhere, Steps
from . import errands

T = TypeVar("T")
REST_SECONDS = 0.005
"""Between two looks whether a thread is done, for a caller without a window."""

CAPTURE_ERRORS = (CaptureError, FrameRangeError, ManifestError, SnapshotError)


class PackingRefused(ValueError):
    """The scene is not sent; the text says why, in one or two sentences."""


@dataclass(frozen=True, slots=True)
class Step:
    """A moment between two steps, at which Blender may go on for a while."""

    label: str
    """What is being done, for people."""
    rests: bool = False
    """Come back in a later turn: a thread is at work, or Blender must draw the label before it
    stands still."""


@dataclass(slots=True)
class Packing:
    """One scene becoming a `CapturedScene`. Use `steps` up, then take `captured`."""

    scene: Any
    kind: JobKind
    options: dict[str, Any]
    """As keyword arguments of `addon.scene.capture.capture`."""
    send_anyway: bool
    snapshots: Path
    """Folder for temporary copies of scenes; made if absent."""
    nodes: Sequence[NodeView] | None = None
    """Those of the farm, to check the scene against; None: no farm is known."""
    unknown_nodes: tuple[str, ...] = ()
    """Names of nodes that the scene asks for and the farm does not have, or has not told yet."""
    copies: bool = True
    """False: only look. Nothing is written, and `captured` is not to be sent."""
    findings: list[Finding] = field(default_factory=list)
    is_checked: bool = False
    """Whether `findings` are all there are."""
    captured: CapturedScene | None = None
    _folder: Path | None = None
    _about: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        """Remember what it is about by name: the scene itself may be gone when that is asked."""
        self._about = (self.scene.name, bpy.data.filepath)

    def steps(self) -> Iterator[Step]:
        """Do it, yielding between steps. Raises `PackingRefused`; leaves nothing behind then, nor
        when it is closed before its end."""
        try:
            yield from self._steps()
        except BaseException as error:
            self.discard()
            if isinstance(error, CAPTURE_ERRORS):
                raise PackingRefused(str(error)) from error
            if isinstance(error, OSError):
                raise PackingRefused(
                    f"The scene could not be copied: {error}. Make room, then send it again."
                ) from error
            raise

    def run(self) -> None:
        """Do it in one go, for a caller without a window. Raises `PackingRefused`."""
        for step in self.steps():
            if step.rests:
                time.sleep(REST_SECONDS)

    def _steps(self) -> Iterator[Step]:
        yield Step("Looking for files")
        frames = frame_numbers(self.scene, self.kind, self.options.get("frames"))
        found = Dependencies(spans_of(self.scene, frames))
        yield from _taken(dependency_steps(found), lambda: _looking(found))
        # Not above: the interface must register in a Blender that lacks the client's wheels.
        from ..client.artist import new_snapshot_folder

        if self.copies:
            self._folder = new_snapshot_folder(self.snapshots)
        yield Step(_CHECKING)
        # The copy is written last: a scene that is refused must not cost a save.
        captured = yield from _taken(
            capture_steps(
                self.scene,
                kind=self.kind,
                snapshot=(self._folder or self.snapshots) / snapshot_name(),
                dependencies=found,
                **self.options,
            ),
            lambda: _CHECKING,
        )
        checking = check_steps(self.findings, self.scene, captured, self.nodes)
        yield from _taken(checking, lambda: _CHECKING)
        # A look waits for the farm; what is sent cannot.
        if self.unknown_nodes and (self.nodes is not None or self.copies):
            is_known = self.nodes is not None
            self.findings.insert(0, unknown_nodes(self.unknown_nodes, is_farm_known=is_known))
        self.is_checked = True
        if self._folder is None:
            self.captured = captured
            return
        self._refuse()
        yield Step("Saving a copy of the scene", rests=True)
        save_snapshot(self._folder)
        self.captured = captured

    def _refuse(self) -> None:
        fatal = [finding for finding in self.findings if finding.severity is Severity.FATAL]
        if fatal:
            raise PackingRefused(sentence(fatal[0]) + _more(fatal))
        errors = [finding for finding in self.findings if finding.severity is Severity.ERROR]
        if errors and not self.send_anyway:
            raise PackingRefused(sentence(errors[0]) + _more(errors))

    @property
    def about(self) -> tuple[str, str]:
        """Name of the scene and path of its file."""
        return self._about

    def is_about(self, scene: Any) -> bool:
        """Whether the findings are about ``scene`` of the file that is open now."""
        return (scene.name, bpy.data.filepath) == self._about

    @property
    def may_insist(self) -> bool:
        """Whether the scene could be sent all the same."""
        severities = {finding.severity for finding in self.findings}
        return Severity.ERROR in severities and Severity.FATAL not in severities

    def discard(self) -> None:
        """Delete the temporary copy. Not after `captured` has been handed over."""
        self.captured = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


_CHECKING = "Checking the scene"


def _looking(found: Dependencies) -> str:
    at = found.looking_at
    return f"Looking for files: {at}" if at else "Looking for files"


def _taken(steps: Steps[T], label: Callable[[], str]) -> Generator[Step, None, T]:
    """Take the steps of a part, its work elsewhere included, and return what it returns."""
    go_on: Callable[[], Elsewhere | None] = partial(next, steps)
    while True:
        try:
            step = go_on()
        except StopIteration as end:
            return end.value
        if step is None:
            yield Step(label())
            go_on = partial(next, steps)
            continue
        work = errands.start(step.work)
        while not work.done():
            yield Step(label(), rests=True)
        error = work.exception()
        go_on = partial(steps.send, work.result()) if error is None else partial(steps.throw, error)


def sentence(finding: Finding) -> str:
    """Return a finding as one text."""
    return " ".join(part for part in (finding.what, finding.why, finding.fix) if part)


def _more(findings: list[Finding]) -> str:
    rest = len(findings) - 1
    if rest == 0:
        return ""
    return f" And {rest} more {'problem' if rest == 1 else 'problems'} like this."
