"""What the interface knows of the farm: views, submissions and deliveries, built from events.

Plain data without bpy, kept in the module `pump` so that it survives the loading of files. Panels
read it, nobody but `FarmState.apply` and the operators' own submissions changes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ...protocol.states import NodeState
from ...protocol.views import FarmView, JobView, NodeView, Visitor
from ..client import following
from ..client.connection_trial import Tried
from ..client.submission import Stage, SubmitProgress, Submitted
from .wording import duration_text, size_text

_STAGE_WORDS = {
    Stage.READING: "Reading and sending",
    Stage.SENDING: "Sending",
    Stage.QUEUEING: "Queueing",
}
JOBS_SHOWN = 6
"""Jobs in the panel; the status page has them all."""
LEFT_AFTER_SECONDS = 1.5
"""Before that the speed of a stage is a guess."""


class Link(Enum):
    """Whether the farm answers."""

    OFF = "off"
    """Nobody asked for it yet."""
    SEARCHING = "searching"
    CONNECTED = "connected"


class Step(Enum):
    """How far a submission is."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    """The farm has the job; its frames come as they are finished, if asked for."""
    DONE = "done"
    """Nothing more will happen: accepted without delivery, or every frame is here."""
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Submission:
    """One press of the button, from the hand-over to the last frame."""

    request: int
    name: str
    deliver: bool
    step: Step = Step.SENDING
    stage: str = "Looking for the farm"
    """What it does now, in two or three words."""
    text: str = "Looking for the farm"
    """The same with how far it is, or the sentence it ended with."""
    fraction: float = 0.0
    submitted: Submitted | None = None
    stage_began: float = 0.0
    """When the stage began, on the clock of `FarmState.apply`, and with how many bytes done."""
    stage_bytes: int = 0

    def move(self, progress: SubmitProgress, now: float) -> None:
        """Take over how far it is; ``now`` in seconds of a clock that only goes on."""
        word = _STAGE_WORDS[progress.stage]
        if word != self.stage:
            self.stage, self.stage_began, self.stage_bytes = word, now, progress.bytes_done
        self.text, self.fraction = word, progress.fraction
        if progress.stage is Stage.QUEUEING or not progress.bytes_total:
            return
        self.text += f" {size_text(progress.bytes_done)} of {size_text(progress.bytes_total)}"
        elapsed, moved = now - self.stage_began, progress.bytes_done - self.stage_bytes
        left = progress.bytes_total - progress.bytes_done
        if elapsed >= LEFT_AFTER_SECONDS and moved > 0 and left > 0:
            self.text += f", about {duration_text(left * elapsed / moved)} left"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.step in (Step.DONE, Step.FAILED, Step.CANCELLED)

    @property
    def is_sending(self) -> bool:
        """Whether there is no job on the farm yet, and none to come without more work."""
        return self.step is Step.SENDING

    @property
    def job(self) -> str:
        """Id of the job; '' while there is none."""
        return self.submitted.job.id if self.submitted is not None else ""


@dataclass(slots=True)
class Delivery:
    """The frames of one job on their way home."""

    job: str
    frames_here: int = 0
    newest: Path | None = None
    newest_frame: int | None = None
    arrivals: int = 0
    """Grows with each file that comes: a frame that is rendered anew keeps its name."""
    is_over: bool = False
    film: Path | None = None
    kept: int = 0
    """Files that lay there before and were not replaced."""
    folders: tuple[Path, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a job's newest frame, on this machine."""

    frame: int
    path: Path
    number: int
    """Tells it from one of the same path that came before."""


@dataclass(slots=True)
class FarmState:
    """All of it."""

    link: Link = Link.OFF
    link_text: str = ""
    """Why the farm does not answer; '' while it does."""
    url: str = ""
    farm: FarmView | None = None
    jobs: dict[str, JobView] = field(default_factory=dict)
    nodes: dict[str, NodeView] = field(default_factory=dict)
    are_nodes_known: bool = False
    visitor: Visitor | None = None
    """As whom the farm knows this user; None before it has said so."""
    tried: Tried | None = None
    """What the last trial of the connection has shown; None while one goes on, or before any."""
    is_trying: bool = False
    blend: str = ""
    """The open file `blend_jobs` is about."""
    blend_jobs: tuple[str, ...] = ()
    """Ids of jobs that were sent of it from here."""
    unfolded: dict[str, bool] = field(default_factory=dict)
    """Jobs that the artist has unfolded in the panel, or folded."""
    is_blend_stale: bool = False
    """Whether `blend_jobs` has to be found anew: a job was sent."""
    newest: tuple[Path, int] | None = None
    """The file that came home last of all, and a number that grows with each."""
    thumbnails: dict[str, Picture] = field(default_factory=dict)
    """By job: small pictures from the farm."""
    asked_pictures: dict[str, int] = field(default_factory=dict)
    """By job: the frame whose picture was asked for last, whether it came or not."""
    picture_requests: set[int] = field(default_factory=set)
    packing: str = ""
    """What is being done to the scene before it is sent; '' when nothing is."""
    submissions: dict[int, Submission] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    notice: str = ""
    """The last failure of anything else that was asked for, one sentence."""
    wishes: dict[int, str] = field(default_factory=dict)
    """Requests of buttons that act on a job, and what they were: ``Approve "shot"``."""
    silent_requests: set[int] = field(default_factory=set)
    """Requests whose end nobody waits to read: connecting, resuming deliveries."""
    outcomes: dict[int, str] = field(default_factory=dict)
    delivering: dict[int, str] = field(default_factory=dict)
    """Requests of deliveries asked for by hand, and their jobs."""

    def begin(self, submission: Submission) -> None:
        """Follow a submission that was just handed over."""
        self.submissions[submission.request] = submission

    def apply(  # noqa: PLR0912, PLR0915 - one branch for each kind of event
        self, event: following.FarmEvent, now: float | None = None
    ) -> bool:
        """Take over an event; whether anything a panel shows has changed.

        ``now``: seconds of a clock that only goes on; None: `time.monotonic`.
        """
        match event:
            case following.Connected(farm=farm, url=url):
                self.link, self.link_text, self.farm, self.url = Link.CONNECTED, "", farm, url
            case following.Disconnected(sentence=sentence):
                self.link, self.link_text = Link.SEARCHING, sentence
            case following.SignedIn(visitor=visitor):
                self.visitor = visitor
            case following.ConnectionTried(tried=tried):
                self.tried, self.is_trying = tried, False
            case following.PictureArrived(request=number, job=job_id, frame=frame, picture=path):
                self.thumbnails[job_id] = Picture(frame, path, number)
            case following.JobsListed(jobs=jobs):
                self.jobs = {job.id: job for job in jobs}
            case following.NodesListed(nodes=nodes):
                self.nodes = {node.id: node for node in nodes}
                self.are_nodes_known = True
            case following.JobChanged(job=job):
                self.jobs[job.id] = job
            case following.JobRemoved(job=job_id):
                self.jobs.pop(job_id, None)
                self.deliveries.pop(job_id, None)
                self.thumbnails.pop(job_id, None)
                self.asked_pictures.pop(job_id, None)
            case following.NodeChanged(node=node):
                before = self.nodes.get(node.id)
                self.nodes[node.id] = node
                # Heartbeats change loads that no panel shows.
                return before is None or before.state is not node.state
            case following.FrameChanged():
                return False
            case following.SubmissionMoved(request=request, progress=progress):
                submission = self.submissions.get(request)
                if submission is None:
                    return False
                submission.move(progress, time.monotonic() if now is None else now)
            case following.JobAccepted(request=request, submitted=submitted):
                self._accepted(request, submitted)
            case following.DeliveryMoved(progress=progress):
                delivery = self._delivery(progress.job.id)
                frames_here = progress.frames_here - progress.frames_without_files
                has_moved = frames_here != delivery.frames_here
                if has_moved or progress.newest != delivery.newest:
                    delivery.arrivals += 1
                    if progress.newest is not None and progress.bytes_here:
                        number = 0 if self.newest is None else self.newest[1]
                        self.newest = progress.newest, number + 1
                delivery.frames_here = frames_here
                delivery.newest = progress.newest or delivery.newest
                delivery.newest_frame = progress.newest_frame or delivery.newest_frame
                delivery.problem = ""
                self.jobs[progress.job.id] = progress.job
            case following.DeliveryEnded(delivered=delivered):
                delivery = self._delivery(delivered.job.id)
                delivery.frames_here = delivered.frames - delivered.frames_without_files
                delivery.film = delivered.film
                delivery.is_over = True
                delivery.kept = len(delivered.kept)
                delivery.folders = delivered.folders
                self.jobs[delivered.job.id] = delivered.job
            case following.Finished(request=request):
                self._finished(request)
            case following.Failed(request=request, sentence=sentence, cancelled=cancelled):
                self._failed(request, sentence, cancelled)
        return True

    def _accepted(self, request: int, submitted: Submitted) -> None:
        self.jobs[submitted.job.id] = submitted.job
        self.is_blend_stale = True
        submission = self.submissions.get(request)
        if submission is None:
            return
        submission.submitted = submitted
        submission.step, submission.fraction = Step.ACCEPTED, 1.0
        submission.text = (
            f"Sent {size_text(submitted.sent_bytes)} of a scene of "
            f"{size_text(submitted.scene_bytes)}"
        )

    def _finished(self, request: int) -> None:
        if request in self.picture_requests:
            self.picture_requests.discard(request)
            return
        self.outcomes[request] = ""
        self.wishes.pop(request, None)
        self.silent_requests.discard(request)
        self.delivering.pop(request, None)
        submission = self.submissions.get(request)
        if submission is not None:
            submission.step = Step.DONE

    def _failed(self, request: int, sentence: str, cancelled: bool) -> None:
        if request in self.picture_requests:
            self.picture_requests.discard(request)
            return  # A picture that does not come is none that anybody misses.
        self.outcomes[request] = sentence
        wish = self.wishes.pop(request, "")
        is_silent = request in self.silent_requests
        self.silent_requests.discard(request)
        job = self.delivering.pop(request, "")
        submission = self.submissions.get(request)
        if submission is not None:
            job = submission.job
            submission.step = Step.CANCELLED if cancelled else Step.FAILED
            submission.text = "Cancelled" if cancelled else sentence
        if job and not cancelled:
            self._delivery(job).problem = sentence
        elif submission is None and not cancelled:
            if is_silent and self.link is not Link.CONNECTED:
                self.link, self.link_text = Link.OFF, sentence
            else:
                self.notice = f"{wish} was not done. {sentence}" if wish else sentence

    def _delivery(self, job: str) -> Delivery:
        return self.deliveries.setdefault(job, Delivery(job))

    def outcome(self, request: int) -> str | None:
        """How a request of a join ended: None while it lasts, '' when well, else a sentence."""
        return self.outcomes.get(request)

    @property
    def is_packing(self) -> bool:
        """Whether the open scene is on its way to a submission, in Blender's main thread."""
        return bool(self.packing)

    def nodes_named(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ids of the nodes with these names, and the names that no node has."""
        ids = tuple(node.id for node in self.nodes.values() if node.name in names)
        known = {node.name for node in self.nodes.values()}
        return ids, tuple(name for name in names if name not in known)

    # --- what panels ask -------------------------------------------------------------------

    @property
    def sending(self) -> Submission | None:
        """The submission that is on its way to the farm now, the newest of several."""
        for submission in reversed(self.submissions.values()):
            if submission.is_sending:
                return submission
        return None

    def jobs_of(self, submitter: str) -> list[JobView]:
        """Jobs of one submitter, newest first."""
        mine = [job for job in self.jobs.values() if job.submitter == submitter]
        return sorted(mine, key=lambda job: job.created, reverse=True)

    def jobs_here(self, blend: str) -> list[JobView]:
        """Jobs that were sent of the open file from here, newest first."""
        if not blend or blend != self.blend:
            return []
        here = [self.jobs[job] for job in self.blend_jobs if job in self.jobs]
        return sorted(here, key=lambda job: job.created, reverse=True)

    def shown_jobs(self, submitter: str, blend: str) -> tuple[list[JobView], list[JobView]]:
        """Return the jobs of the open file and the other jobs of this user, newest first."""
        here = self.jobs_here(blend)
        ids = {job.id for job in here}
        return here, [job for job in self.jobs_of(submitter) if job.id not in ids]

    def picture_of(self, job: str) -> Picture | None:
        """Return the newest picture of a job that is on this machine."""
        delivery, thumbnail = self.deliveries.get(job), self.thumbnails.get(job)
        if delivery is not None and delivery.newest is not None:
            frame = delivery.newest_frame
            return Picture(-1 if frame is None else frame, delivery.newest, delivery.arrivals)
        return thumbnail

    def pictures_wanted(self, submitter: str, blend: str) -> list[tuple[str, int]]:
        """Return (job, frame) of small pictures to ask for: of jobs that are shown and not
        brought here, a newer one than was asked for before."""
        if self.link is not Link.CONNECTED or self.picture_requests:
            return []
        here, others = self.shown_jobs(submitter, blend)
        wanted: list[tuple[str, int]] = []
        for job in (*here[:JOBS_SHOWN], *others[:JOBS_SHOWN]):
            delivery, frame = self.deliveries.get(job.id), job.thumbnail_frame
            if frame is None or (delivery is not None and delivery.newest is not None):
                continue
            if self.asked_pictures.get(job.id) != frame:
                wanted.append((job.id, frame))
        return wanted

    def frames_at_once(self) -> int:
        """How many frames the nodes that are ready render at the same time: one each."""
        return self.nodes_ready()

    def nodes_ready(self) -> int:
        """Nodes that render or would."""
        ready = (NodeState.IDLE, NodeState.RENDERING)
        return sum(node.state in ready for node in self.nodes.values())
