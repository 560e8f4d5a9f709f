"""The messages between a node and the coordinator, a closed set.

They travel as msgpack over one WebSocket (see `protocol.codec`). `NodeMessage` goes from node to
coordinator, `CoordinatorMessage` the other way. Bytes of scenes and frames never travel here but
as blobs over HTTP.

A conversation: `Hello` -> `Welcome` -> (`Assign` -> `FrameStarted` -> `FrameProgress`* ->
blobs uploaded -> `FrameDone` -> `FrameAccepted`)*. A node keeps everything it made until
`FrameAccepted` or `FrameRefused`; after a reconnect it repeats each `FrameDone` that is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .job import JobSpec
from .machine import Machine
from .node_settings import FarmSettings, NodeSettings

MESSAGE_MAX_BYTES = 1024 * 1024
LOG_LINES_MAX = 200
"""Log lines in one message; of a longer burst the node says how many lines it left out."""
LOG_LINE_MAX_CHARS = 2_000


class FailureKind(str, Enum):
    """Why an attempt at a frame failed: decides what is blamed and where it is tried again."""

    SCENE = "scene"
    """Blender said no: an error in the scene, a missing file, a blocked script."""
    CRASH = "crash"
    """Blender ended by a signal or an unexpected exit."""
    HANG = "hang"
    """No sign of life for longer than allowed."""
    TOO_LONG = "too_long"
    """The frame took longer than its limit."""
    TOO_SHORT = "too_short"
    """The frame was done sooner than the shortest time its job allows; said by the coordinator."""
    MEMORY = "memory"
    """The machine had too little memory, or a limit was reached."""
    OUTPUT = "output"
    """Blender reported success, and the files are missing, empty, broken or of the wrong size."""
    NODE = "node"
    """The machine: disk full, no Blender that fits, scene could not be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """One leased frame. ``epoch`` grows with every lease the coordinator gives out."""

    job: str
    generation: int
    frame: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFile:
    """A file that a frame made, named by its output root and its path below it."""

    root: str
    path: str
    """Relative POSIX path, as `manifest.check_path` allows."""
    sha256: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStats:
    """What a frame cost. Seconds are wall-clock seconds of the node."""

    seconds: float
    """From the order to render to the files on disk."""
    prepare_seconds: float = 0.0
    """Opening the scene before this frame; 0 on a warm session."""
    peak_memory_bytes: int = 0
    """Of the Blender process."""


# --- node -> coordinator ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether the node takes frames now, and why not (user at the machine, outside its hours)."""

    available: bool
    reason: str = ""
    """One sentence; '' when it takes frames."""
    changes_at: float | None = None
    """When this changes next if nobody touches the machine, seconds since 1970; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message after connecting."""

    protocol: int
    software: str
    node: str
    """Durable id of the node, 32 hex digits."""
    incarnation: str
    """Made anew at each start of the process; leases of another incarnation are void."""
    name: str
    machine: Machine
    holding: tuple[FrameRef, ...] = ()
    """Leases this process still works on, or whose results wait in its outbox."""
    scenes: tuple[str, ...] = ()
    """Manifest hashes whose files are complete in the cache, most recent first, at most 100."""
    settings: NodeSettings | None = None
    """What the node was started with; None: only the tags of its machine."""
    availability: Availability = Availability(available=True)
    """As of now; every change comes as a message of its own."""
    inspects: bool = False
    """It answers `Inspect`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineChanged:
    """The machine was probed again: another Blender, a GPU that appeared or went."""

    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Every `Welcome.heartbeat_seconds`; any other message counts as one too."""

    load: float
    """Part of the processors in use, 0 to 1."""
    memory_free_bytes: int
    disk_free_bytes: int
    """Of the cache's disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePreparing:
    """The node fetches or opens the scene of a leased frame."""

    frame: FrameRef
    stage: str
    """``fetching``, ``starting`` or ``opening``."""
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStarted:
    """Blender has begun this frame."""

    frame: FrameRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameProgress:
    """How far the frame is, at most twice a second."""

    frame: FrameRef
    fraction: float
    """0 to 1, from samples and tiles."""
    text: str = ""
    """What Blender says: "Sample 12/64"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDone:
    """Every file of the frame is durable as a blob on the coordinator."""

    frame: FrameRef
    files: tuple[FrameFile, ...]
    stats: FrameStats
    thumbnail: str = ""
    """SHA-256 of a JPEG or PNG blob of at most 512 pixels a side; '' when there is none."""
    preview: str = ""
    """SHA-256 of a JPEG blob at full size, through the scene's view transform, for a render output
    that browsers cannot show (OpenEXR, TIFF, ...); '' when they can, or when there is none."""
    log: tuple[str, ...] = ()
    """Last lines of Blender's log for this frame."""
    warnings: tuple[str, ...] = ()
    """What was wrong without stopping the frame, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFailed:
    """This attempt is over without a result."""

    frame: FrameRef
    kind: FailureKind
    reason: str
    """One sentence."""
    log: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesReturned:
    """The node will not render these: revoked in time, cancelled, draining, or user is back."""

    frames: tuple[FrameRef, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLines:
    """Log of the node or of its Blender, as it comes."""

    lines: tuple[str, ...]
    frame: FrameRef | None = None
    """The frame they belong to, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneHeld:
    """All files of this manifest are now in the cache (or no longer, when ``held`` is False)."""

    manifest: str
    held: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScript:
    """The generated script that this node feeds to Blender for a job; kept for people to read."""

    job: str
    script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """The answer to `Inspect`."""

    id: str
    scenes: str = ""
    """JSON: a list of `drafts.SceneFindings`; '' with a problem."""
    problem: str = ""
    """Why the scene could not be looked at; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The node stops by its own will; it holds nothing any more."""

    reason: str


NodeMessage = (
    Hello
    | MachineChanged
    | Heartbeat
    | ScenePreparing
    | FrameStarted
    | FrameProgress
    | FrameDone
    | FrameFailed
    | LeasesReturned
    | LogLines
    | SceneHeld
    | JobScript
    | Availability
    | Inspected
    | Goodbye
)


# --- coordinator -> node ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The node is part of the farm."""

    farm: str
    heartbeat_seconds: float
    lease_seconds: float
    """Silence after which the coordinator gives this node's frames to others."""
    keep: tuple[FrameRef, ...] = ()
    """Of `Hello.holding`, the leases that still hold. Rendering of the others stops; finished
    results may still be offered."""
    settings: FarmSettings | None = None
    """What an administrator has set for this node; None: the coordinator does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Frames to render, in this order; the first now, the next while the last one is sent.

    A job's spec comes with its first frames on a connection.
    """

    job: str
    frames: tuple[FrameRef, ...]
    manifest: str
    """SHA-256 of the manifest blob."""
    spec: JobSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """Stop these and forget them; answered by `LeasesReturned`, within a second when running."""

    frames: tuple[FrameRef, ...]
    reason: str
    """``cancelled``, ``paused``, ``elsewhere`` (another node was faster), ``drain``, or
    ``too_long`` (the farm gave the attempt up)."""
    running_too: bool
    """False: only those not begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameAccepted:
    """The result is committed (or was before): the node may drop it from its outbox."""

    frame: FrameRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRefused:
    """The result is not wanted: other generation, job gone, files that do not check."""

    frame: FrameRef
    reason: str
    retry: bool = False
    """True: upload the blobs and say `FrameDone` again; the coordinator lacks some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetJob:
    """The job has ended: close its scene; its files may leave the cache when space is short."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDraining:
    """Finish what you hold and take nothing new (or take work again)."""

    draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Open this .blend in a throw-away Blender with its scripts disabled and say what is in it.

    Answered by `Inspected`. Only for nodes whose `Hello.inspects` is set; one at a time.
    """

    id: str
    manifest: str
    blend: str
    """Path of the .blend in the tree."""
    blender: tuple[int, int]
    """Major and minor version of the Blender to open it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureNode:
    """An administrator has changed what the farm sets for this node; the whole of it."""

    settings: FarmSettings


CoordinatorMessage = (
    Welcome
    | Assign
    | Revoke
    | FrameAccepted
    | FrameRefused
    | ForgetJob
    | SetDraining
    | ConfigureNode
    | Inspect
)
