"""What the owner of a `following.FarmThread` says to it, and what it hears: two closed sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...protocol.scene import CapturedScene
from ...protocol.views import FarmView, FrameView, JobView, NodeView, Visitor
from .connection_trial import Tried
from .delivery import Delivered, DeliveryProgress
from .submission import SubmitProgress, Submitted

JOBS_SHOWN = 200
"""Newest jobs that are listed when a connection begins; later ones arrive as events."""


# --- commands ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Find the coordinator and follow the farm. Replaces the connection there was.

    While there is no coordinator it is looked for again and again; `Disconnected` says why.
    """

    url: str | None = None
    """None: as `wire.discovery.resolve` finds it."""


@dataclass(frozen=True, slots=True)
class Join:
    """Join a farm with the token its coordinator prints, remember it, then `Connect` to it."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a scene and queue its job. The scene's scratch folder is deleted in the end.

    A `Cancel` before `JobAccepted` means that there is no job; after it, it ends the delivery and
    leaves the job alone (`Act` cancels that)."""

    captured: CapturedScene
    send_anyway: bool = False
    idempotency_key: str | None = None
    deliver: bool = True
    """Bring the frames home as well. The request then ends when the job has ended and all is here;
    `JobAccepted` comes in between."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Bring the frames of a job home. A second one for the same job and folder replaces the
    first."""

    job: str
    destination: Path | None = None
    overwrite: bool | None = None


@dataclass(frozen=True, slots=True)
class ResumeDeliveries:
    """Go on with every delivery that was begun on this machine and is not complete.

    Each goes on under this request's number; it ends when all of them have."""


@dataclass(frozen=True, slots=True)
class Act:
    """Do something to a job: ``cancel``, ``pause``, ``resume``, ``retry`` or ``delete``."""

    job: str
    action: str
    """Also ``approve`` and ``reject``, of scout frames."""
    frames: str | None = None
    """For ``retry``: these frames, even those that are done."""


@dataclass(frozen=True, slots=True)
class SetPriority:
    """Give a job another priority, `PRIORITY_MIN` to `PRIORITY_MAX`."""

    job: str
    priority: int


@dataclass(frozen=True, slots=True)
class FetchPicture:
    """Fetch the small picture of a finished frame; it comes as `PictureArrived`."""

    job: str
    frame: int


@dataclass(frozen=True, slots=True)
class TryConnection:
    """Go the way a submission would go and say how it went: `ConnectionTried`."""

    url: str | None = None
    """None: as `wire.discovery.resolve` finds it."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a request. Harmless when it has ended."""

    request: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the thread; what runs is cancelled. Sent by `FarmThread.stop`."""


Command = (
    Connect
    | Join
    | Submit
    | Deliver
    | ResumeDeliveries
    | Act
    | SetPriority
    | FetchPicture
    | TryConnection
    | Cancel
    | Stop
)


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """The farm answers (again). Where views must be taken anew `JobsListed` and `NodesListed`
    follow; after a short break they do not, since no change was missed."""

    farm: FarmView
    url: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The farm does not answer (yet). It is tried again; views known so far may be out of date."""

    sentence: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """As whom the farm knows this user."""

    visitor: Visitor


@dataclass(frozen=True, slots=True)
class JobsListed:
    """The jobs of the farm, newest first, at most `JOBS_SHOWN`."""

    jobs: tuple[JobView, ...]


@dataclass(frozen=True, slots=True)
class NodesListed:
    """The nodes of the farm."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job is new or has changed."""

    job: JobView


@dataclass(frozen=True, slots=True)
class JobRemoved:
    """A job was deleted."""

    job: str


@dataclass(frozen=True, slots=True)
class FrameChanged:
    """A frame of a job has changed."""

    job: str
    frame: FrameView


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node is new or has changed."""

    node: NodeView


@dataclass(frozen=True, slots=True)
class PictureArrived:
    """The small picture of a finished frame is here."""

    request: int
    job: str
    frame: int
    picture: Path


@dataclass(frozen=True, slots=True)
class ConnectionTried:
    """The answer to `TryConnection`."""

    request: int
    tried: Tried


@dataclass(frozen=True, slots=True)
class SubmissionMoved:
    """How far a `Submit` is."""

    request: int
    progress: SubmitProgress


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """The farm has the whole scene and has queued the job, durably."""

    request: int
    submitted: Submitted


@dataclass(frozen=True, slots=True)
class DeliveryMoved:
    """How far a delivery is."""

    request: int
    progress: DeliveryProgress


@dataclass(frozen=True, slots=True)
class DeliveryEnded:
    """The job has ended and all of its files are here."""

    request: int
    delivered: Delivered


@dataclass(frozen=True, slots=True)
class Finished:
    """The request is done. Terminal."""

    request: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ended without success. Terminal. ``sentence`` is for the artist."""

    request: int
    sentence: str
    error: Exception | None = None
    """`FarmError` or `ClientError`, for who wants to tell them apart (`MissingFiles.missing`)."""
    cancelled: bool = False


FarmEvent = (
    Connected
    | Disconnected
    | SignedIn
    | JobsListed
    | NodesListed
    | JobChanged
    | JobRemoved
    | FrameChanged
    | NodeChanged
    | PictureArrived
    | ConnectionTried
    | SubmissionMoved
    | JobAccepted
    | DeliveryMoved
    | DeliveryEnded
    | Finished
    | Failed
)
