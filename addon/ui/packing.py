"""The open scene on its way to a job: dependencies, spec, checks, snapshot, in short steps.

The steps run in Blender's main thread, a few at a time, so that the interface stays alive; only
Blender's own save is one step of its own length.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from ...protocol.frames import FrameRangeError
from ...protocol.job import JobKind
from ...protocol.manifest import ManifestError
from ...protocol.scene import CapturedScene
from ...protocol.views import NodeView
from ..scene.cache_frames import spans_of
from ..scene.capture import CaptureError, blend_path, capture, frame_numbers
from ..scene.checks import Finding, Severity, iterate_check
from ..scene.dependencies import Dependencies, iterate_dependencies
from ..scene.snapshot import SnapshotError, save_snapshot, snapshot_name
from ..scene.tree import Tree, iterate_plant

CAPTURE_ERRORS = (CaptureError, FrameRangeError, ManifestError, SnapshotError)


class PackingRefused(ValueError):
    """The scene is not sent; the text says why, in one or two sentences."""


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

    def steps(self) -> Iterator[str]:
        """Do it, yielding what comes next. Raises `PackingRefused`; leaves nothing behind then."""
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

    def _steps(self) -> Iterator[str]:
        yield "Looking for files"
        frames = frame_numbers(self.scene, self.kind, self.options.get("frames"))
        found = Dependencies(spans_of(self.scene, frames))
        for label in iterate_dependencies(found):
            yield f"Looking for files: {label}"
        # Not above: the interface must register in a Blender that lacks the client's wheels.
        from ..client.artist import new_snapshot_folder

        if self.copies:
            self._folder = new_snapshot_folder(self.snapshots)
        tree = Tree()
        for _ in iterate_plant(tree, blend_path(), found.files):
            yield "Giving each file its place"
        yield "Checking the scene"
        # The copy is written last: a scene that is refused must not cost a save.
        captured = capture(
            self.scene,
            kind=self.kind,
            snapshot=(self._folder or self.snapshots) / snapshot_name(),
            dependencies=found,
            tree=tree,
            **self.options,
        )
        for _ in iterate_check(self.findings, self.scene, captured, self.nodes):
            # A look goes on while the artist works, and the checks need a scene that stands still.
            if self.copies:
                yield "Checking the scene"
        self.is_checked = True
        if self._folder is None:
            self.captured = captured
            return
        self._refuse()
        yield "Saving a copy of the scene"
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


def sentence(finding: Finding) -> str:
    """Return a finding as one text."""
    return " ".join(part for part in (finding.what, finding.why, finding.fix) if part)


def _more(findings: list[Finding]) -> str:
    rest = len(findings) - 1
    if rest == 0:
        return ""
    return f" And {rest} more {'problem' if rest == 1 else 'problems'} like this."
