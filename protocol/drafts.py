"""Submitting from a browser: files are uploaded, looked at on the farm, and become a job.

A draft is what was uploaded and not submitted yet. The coordinator reads the .blend as data
(`DraftView.scenes`, known at once), then a node opens it in a throw-away Blender with its scripts
disabled and captures every scene as the add-on would (`SceneFindings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .job import FrameOrder, JobKind, JobSpec

TREE_ROOT = "scene"
"""Where the uploaded files stand in the job's tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftFile:
    """One file of the upload."""

    path: str
    """Relative to the folder that was dropped; POSIX, as `manifest.check_path` allows."""
    chunks: tuple[tuple[str, int], ...]
    """SHA-256 and length of each chunk, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDraft:
    """Body of ``POST /api/v1/drafts``; every chunk has been uploaded before."""

    files: tuple[DraftFile, ...]
    blend: str
    """Path of the scene's .blend among the files."""


class DraftState(str, Enum):
    """How far a draft is."""

    READING = "reading"
    WAITING = "waiting"
    """No node with a fitting Blender is free to look at it; see `DraftView.problem`."""
    INSPECTING = "inspecting"
    READY = "ready"
    FAILED = "failed"
    """It cannot be submitted; `DraftView.problem` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSummary:
    """What the bytes of the .blend say of a scene, without any Blender."""

    name: str
    engine: str
    first: int
    last: int
    step: int
    width: int
    """Pixels, after percentage."""
    height: int
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a check of the scene has found."""

    severity: str
    """``error``, ``warning`` or ``info``."""
    what: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFindings:
    """One scene as a node's Blender has captured it."""

    spec: JobSpec
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()
    """Files the scene needs that were not uploaded, with who needs them."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftView:
    """``GET /api/v1/drafts/{id}``."""

    id: str
    state: DraftState
    problem: str
    """Why it failed, or what it waits for; one sentence."""
    blend: str
    version: str
    """Of the Blender that saved the file, as far as the file says: "4.5"."""
    scene: str
    """The scene the file was saved with."""
    scenes: tuple[SceneSummary, ...]
    inspected: tuple[SceneFindings, ...]
    """The same scenes, once a node has looked at them."""
    node: str
    """Name of the node that looks, or has looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitDraft:
    """Body of ``POST /api/v1/drafts/{id}/submit``: the choices a person has made."""

    scene: str
    name: str = ""
    kind: JobKind = JobKind.ANIMATION
    frames: str = ""
    """In the grammar of `protocol.frames`; '': the scene's own."""
    priority: int = 50
    order: FrameOrder = FrameOrder.FORWARD
    tags: tuple[str, ...] = ()
    scouts: bool = False
    anyway: bool = False
    """Although the checks found errors, such as files that are missing."""
