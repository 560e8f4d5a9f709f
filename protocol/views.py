"""The bodies of the REST interface: what people, scripts and the web page see.

Every field is JSON; times are seconds since 1970 (UTC) as float, durations are seconds, sizes are
bytes, ``None`` means not known (yet).
"""

from __future__ import annotations

from dataclasses import dataclass

from .job import JobSpec
from .machine import Machine
from .messages import FrameFile, FrameStats
from .node_settings import NOTHING_SET, PLAIN, FarmSettings, NodeSettings
from .states import FrameState, JobState, NodeState, WaitingKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """``GET /health``: the only answer that needs no token."""

    protocol: int
    software: str
    farm: str
    farm_id: str
    """Stays the same over restarts; tells one farm from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``application/problem+json`` (RFC 9457). ``detail`` is one sentence a user can act on."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    missing: tuple[str, ...] = ()
    """For a job whose chunks are not all here: their hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmission:
    """Body of ``POST /api/v1/jobs``. The manifest and all its chunks have been uploaded before."""

    spec: JobSpec
    manifest: str
    """SHA-256 of the manifest blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCounts:
    """Frames of a job by state; they add up to the frames of the job."""

    waiting: int = 0
    leased: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AvoidedNode:
    """A node that a job keeps away from."""

    node: str
    name: str
    until: float | None
    """When it is forgiven by itself; None: only by hand, for it has too little memory."""
    reason: str
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmView:
    """The film of a job: encoded by a node when every frame is done.

    Its tries, with their logs, are those of frame `frames.FILM_FRAME`.
    """

    name: str
    """File name that Blender would have given it."""
    state: FrameState
    """As of a frame; ``waiting`` also while frames are rendered."""
    progress: float = 0.0
    """Part of it that is encoded, 0 to 1."""
    progress_text: str = ""
    node: str = ""
    """Id of the node that encodes or encoded it; '' when none."""
    length: int = 0
    sha256: str = ""
    """Of the finished film, ``GET /api/v1/jobs/{id}/film``; '' before."""
    problem: str = ""
    """Why there is none, or why it is tried again; one sentence."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as listed."""

    id: str
    name: str
    submitter: str
    state: JobState
    paused: bool
    priority: int
    frames: str
    counts: FrameCounts
    created: float
    started: float | None
    ended: float | None
    eta_seconds: float | None
    eta_low_seconds: float | None
    eta_high_seconds: float | None
    mean_frame_seconds: float | None
    nodes: tuple[str, ...]
    """Ids of the nodes that work on it now."""
    waiting_because: str
    """Why nothing is rendered although frames wait; '' otherwise. One sentence."""
    problem: str
    """The last failure, one sentence; '' when there was none."""
    thumbnail_frame: int | None
    """Newest frame that has a thumbnail."""
    generation: int
    manifest: str
    scene_bytes: int
    scene_files: int
    avoids: tuple[AvoidedNode, ...] = ()
    """Nodes it keeps away from now, and why."""
    film: FilmView | None = None
    """None where the scene asks for pictures."""
    waiting_kind: WaitingKind = WaitingKind.NOTHING
    """What ``waiting_because`` is about, for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetail:
    """``GET /api/v1/jobs/{id}``."""

    job: JobView
    spec: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One try at a frame on one node."""

    node: str
    node_name: str
    epoch: int
    started: float
    ended: float | None
    outcome: str
    """``rendering``, ``done``, ``lost``, ``returned``, ``superseded`` or a `FailureKind` value."""
    reason: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """A frame as listed. ``progress`` is 0 to 1."""

    frame: int
    state: FrameState
    generation: int
    node: str
    """Id of the node that renders or rendered it; '' when none."""
    progress: float
    progress_text: str
    stats: FrameStats | None
    files: tuple[FrameFile, ...]
    thumbnail: str
    failures: int
    problem: str
    warnings: tuple[str, ...] = ()
    preview: str = ""
    """As `FrameDone.preview`: '' where the render output itself can be shown, or nothing can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDetail:
    """``GET /api/v1/jobs/{id}/frames/{frame}``."""

    frame: FrameView
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpan:
    """One try at a frame, as the list of all tries of a job has it: without its log."""

    frame: int
    generation: int
    epoch: int
    """Names the try within its frame."""
    node: int
    """Place of its node in `AttemptPage.nodes`."""
    started: float
    ended: float | None
    outcome: str
    """As `AttemptView.outcome`."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeName:
    """Who rendered: the node's id, and its name when it did."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPage:
    """``GET /api/v1/jobs/{id}/attempts``: tries that are over, by frame; those in progress come
    with the first page."""

    nodes: tuple[NodeName, ...]
    attempts: tuple[AttemptSpan, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node as listed."""

    id: str
    name: str
    state: NodeState
    reason: str
    """Why it takes no work, or what it prepares; '' otherwise."""
    machine: Machine
    software: str
    last_seen: float
    load: float
    memory_free_bytes: int
    disk_free_bytes: int
    job: str
    frame: int | None
    progress: float
    frames_done: int
    settings: NodeSettings = PLAIN
    """What holds for it: the farm's settings, and its own where the farm has none."""
    farm_settings: FarmSettings = NOTHING_SET
    """What was set for it here, by an administrator."""
    speed: float | None = None
    """How many times faster than the farm's average node it renders, as learned from its frames;
    None before its first."""
    changes_at: float | None = None
    """When it takes work again, or takes no more, if nobody touches it; None: unknown."""
    left_job: str = ""
    """Of a node that is offline: the job it was rendering when it went away; '' when none."""
    left_frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmView:
    """``GET /api/v1/farm``: one glance at the whole."""

    farm: str
    farm_id: str
    software: str
    protocol: int
    nodes_online: int
    nodes_rendering: int
    jobs_open: int
    frames_waiting: int
    frames_leased: int
    disk_free_bytes: int
    sequence: int
    """Number of the newest event; the event stream may be followed from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmHistory:
    """``GET /api/v1/farm/history``: the load of the last hours, one value for each minute.

    The lists are equally long; the last value is the minute in progress. Nothing is known of the
    time before the coordinator started.
    """

    start: float
    """When the first minute began."""
    minute_seconds: float
    rendering: tuple[float, ...]
    """Nodes rendering, averaged over the minute."""
    online: tuple[float, ...]
    """Nodes connected, averaged over the minute."""
    frames_done: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """``GET /api/v1/jobs``."""

    jobs: tuple[JobView, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePage:
    """``GET /api/v1/jobs/{id}/frames``."""

    frames: tuple[FrameView, ...]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePage:
    """``GET /api/v1/nodes``."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event: something changed. ``sequence`` is also the SSE id.

    ``kind`` is ``job`` (the job's view changed), ``frame`` (a frame's view changed), ``node``,
    ``log``, ``job_removed`` or ``reset`` (events were lost, or too much changed at once: fetch
    everything again, or only the job that is named). The view that fits the kind is set, the others
    are None.
    """

    sequence: int
    kind: str
    time: float
    job_id: str = ""
    job: JobView | None = None
    frame: FrameView | None = None
    node: NodeView | None = None
    node_id: str = ""
    lines: tuple[str, ...] = ()
    log_number: int = 0
    """For ``log``: number of the first of ``lines`` in the log (`logs.LogLine.number`)."""
    log_frame: int | None = None
    """For ``log``: the frame of ``job_id`` they belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """``GET /api/v1/me``: whose token this is, and what it lets its holder do."""

    id: str
    """Id of the token, as in the audit log."""
    name: str
    role: str
    """``admin``, ``submit``, ``node`` or ``view``."""
    may: tuple[str, ...]
    """Of ``see``, ``submit`` (send scenes, queue jobs), ``steer`` (jobs) and ``nodes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAttempt:
    """One frame that a node has tried and that is over."""

    job: str
    job_name: str
    frame: int
    epoch: int
    started: float
    ended: float
    outcome: str
    """As in `AttemptView`."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHistory:
    """``GET /api/v1/nodes/{id}/history``, the newest first."""

    attempts: tuple[NodeAttempt, ...]
    next: str | None
    """For ``before``: where the page of older ones begins; None when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token that lets somebody in; the token itself is known to its holder alone."""

    id: str
    """As in the audit log."""
    name: str
    """What the device or person is called."""
    role: str
    """``admin``, ``submit``, ``node`` or ``view``."""
    created: float
    nodes: tuple[str, ...] = ()
    """Ids of the nodes that it speaks for."""
    is_own: bool = False
    """Whether it is the one this was asked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPage:
    """``GET /api/v1/tokens``: all that were not revoked, the oldest first."""

    tokens: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """Something that was done, or refused."""

    number: int
    """Grows with every entry; entries are never changed and never deleted."""
    time: float
    member: str
    """Who: name, role and id of the token."""
    address: str
    """From where."""
    action: str
    subject: str
    """Id of the job, node or token it was done to."""
    outcome: str
    """``done`` or ``refused``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """``GET /api/v1/audit``, the newest first."""

    entries: tuple[AuditView, ...]
    next: int | None
    """For ``before``: where the page of older ones begins; None when there are none."""
