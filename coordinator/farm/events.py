"""What comes into the farm: a closed set. `Farm.apply` takes one of these and the time.

Events that a person causes (cancel, retry, ...) may be impossible; then `Farm.apply` raises
`FarmRefusal` and nothing has changed. Events that a machine causes are never refused: what is
late, repeated or out of place is answered or ignored, as each event says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...protocol.job import FrameOrder, JobSpec, Limits
from ...protocol.messages import Hello, NodeMessage
from ...protocol.node_settings import FarmSettings


class Refusal(str, Enum):
    """Why a request cannot be carried out."""

    UNKNOWN = "unknown"
    """There is no such job, frame or node."""
    CONFLICT = "conflict"
    """It exists, and is not in a state in which this can be done."""


class FarmRefusal(Exception):
    """A request that cannot be carried out; ``str()`` is one sentence for the person."""

    def __init__(self, kind: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


# --- machines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined:
    """A node said `Hello`. Answered with `Welcome` (and `SetDraining` where it is drained)."""

    hello: Hello


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDisconnected:
    """The connection ended, whoever ended it. Its leases run on until they expire."""

    node: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """Any message but `Hello` from a node that joined. Each counts as a sign of life.

    A `FrameDone` comes here only when all its blobs, thumbnail included, are durable on this
    coordinator and hash to their names; otherwise the shell answers it by itself with
    ``FrameRefused(retry=True)``. `LogLines` and `JobScript` are the shell's to keep; they come
    here as signs of life only.
    """

    node: str
    incarnation: str
    message: NodeMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; due when `Farm.next_wakeup` says so. A tick too many does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsLost:
    """Files of finished frames are gone from the coordinator's disk, or damaged on it.

    Those frames are rendered again under a new generation; an ended job opens for it.
    """

    job: str
    frames: tuple[tuple[int, int], ...]
    """Number of the frame and generation of the result that is lost."""
    reason: str
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoodStill:
    """The coordinator did not listen for so long: its disk was full, or it did not run.

    Silence and slowness of that time mean nothing: every lease runs anew in full.
    """

    seconds: float


# --- people ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """A job whose whole scene is durable. ``job`` is a fresh id of 32 hex digits."""

    job: str
    spec: JobSpec
    manifest: str
    scene_bytes: int
    scene_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """Stop everything; finished frames are kept."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaused:
    """Start no more frames; those that render may finish."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResumed:
    """Go on."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    """Render frames again: those named, even when done, or (None) all failed and cancelled ones.

    Of a job whose film failed, and nothing else, only the film is encoded again.
    """

    job: str
    frames: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanged:
    """Change what is set here, and leave what is None as it is; running frames go on.

    Frames fetched ahead are asked back where they may no longer be. A job that has ended can be
    changed before it is tried again. ``nodes`` and ``tags`` replace those of
    `protocol.job.Requirements`; empty: any node.
    """

    job: str
    priority: int | None = None
    nodes: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    max_nodes: int | None = None
    memory_bytes: int | None = None
    order: FrameOrder | None = None
    limits: Limits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutsApproved:
    """The scout frames look right: render the rest."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutsRejected:
    """The scout frames look wrong: cancel the job, keeping them."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRemoved:
    """Forget an ended job and its results."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDrained:
    """Finish the frame in progress, then take nothing."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDisabled:
    """Stop at once and take nothing; the frames go to other nodes."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnabled:
    """Take work again; what jobs held against the node is forgiven."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForgiven:
    """Forget what jobs hold against a node; ``job``: only this one. The node rests no longer."""

    node: str
    job: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfigured:
    """Change what the farm sets for a node; checked with `node_settings.change` before."""

    node: str
    changes: FarmSettings
    """What is None stays as it is."""
    reset: tuple[str, ...] = ()
    """Names of settings that are the node's own again."""


FarmEvent = (
    NodeJoined
    | NodeDisconnected
    | MessageReceived
    | Tick
    | ResultsLost
    | StoodStill
    | JobSubmitted
    | JobCancelled
    | JobPaused
    | JobResumed
    | RetryRequested
    | JobChanged
    | ScoutsApproved
    | ScoutsRejected
    | JobRemoved
    | NodeDrained
    | NodeDisabled
    | NodeEnabled
    | NodeForgiven
    | NodeConfigured
)
