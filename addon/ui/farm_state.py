"""What the interface knows of the farm: views, submissions and deliveries, built from events.

Plain data without bpy, kept in the module `pump` so that it survives the loading of files. Panels
read it, nobody but `FarmState.apply` and the operators' own submissions changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ...protocol.states import JOB_ENDED, JobState, NodeState
from ...protocol.views import FarmView, JobView, NodeView
from ..client import following
from ..client.submission import Stage, SubmitProgress, Submitted

_STAGE_WORDS = {
    Stage.READING: "Reading files",
    Stage.SENDING: "Sending",
    Stage.QUEUEING: "Queueing",
}
_UNIT = 1024


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
    is_over: bool = False
    kept: int = 0
    """Files that lay there before and were not replaced."""
    folders: tuple[Path, ...] = ()
    problem: str = ""


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
    submissions: dict[int, Submission] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    notice: str = ""
    """The last failure of anything else that was asked for, one sentence."""
    silent_requests: set[int] = field(default_factory=set)
    """Requests whose end nobody waits to read: connecting, resuming deliveries."""
    outcomes: dict[int, str] = field(default_factory=dict)
    delivering: dict[int, str] = field(default_factory=dict)
    """Requests of deliveries asked for by hand, and their jobs."""

    def begin(self, submission: Submission) -> None:
        """Follow a submission that was just handed over."""
        self.submissions[submission.request] = submission

    def apply(  # noqa: PLR0912 - one branch for each kind of event
        self, event: following.FarmEvent
    ) -> bool:
        """Take over an event; whether anything a panel shows has changed."""
        match event:
            case following.Connected(farm=farm, url=url):
                self.link, self.link_text, self.farm, self.url = Link.CONNECTED, "", farm, url
            case following.Disconnected(sentence=sentence):
                self.link, self.link_text = Link.SEARCHING, sentence
            case following.JobsListed(jobs=jobs):
                self.jobs = {job.id: job for job in jobs}
            case following.NodesListed(nodes=nodes):
                self.nodes = {node.id: node for node in nodes}
            case following.JobChanged(job=job):
                self.jobs[job.id] = job
            case following.JobRemoved(job=job_id):
                self.jobs.pop(job_id, None)
                self.deliveries.pop(job_id, None)
            case following.NodeChanged(node=node):
                before = self.nodes.get(node.id)
                self.nodes[node.id] = node
                # Heartbeats change loads that no panel shows.
                return before is None or before.state is not node.state
            case following.FrameChanged():
                return False
            case following.SubmissionMoved(request=request, progress=progress):
                return self._submission_moved(request, progress)
            case following.JobAccepted(request=request, submitted=submitted):
                self._accepted(request, submitted)
            case following.DeliveryMoved(progress=progress):
                delivery = self._delivery(progress.job.id)
                delivery.frames_here = progress.frames_here
                delivery.newest = progress.newest or delivery.newest
                delivery.newest_frame = progress.newest_frame or delivery.newest_frame
                delivery.problem = ""
                self.jobs[progress.job.id] = progress.job
            case following.DeliveryEnded(delivered=delivered):
                delivery = self._delivery(delivered.job.id)
                delivery.frames_here = delivered.frames
                delivery.is_over = True
                delivery.kept = len(delivered.kept)
                delivery.folders = delivered.folders
                self.jobs[delivered.job.id] = delivered.job
            case following.Finished(request=request):
                self._finished(request)
            case following.Failed(request=request, sentence=sentence, cancelled=cancelled):
                self._failed(request, sentence, cancelled)
        return True

    def _submission_moved(self, request: int, progress: SubmitProgress) -> bool:
        submission = self.submissions.get(request)
        if submission is None:
            return False
        text = submission.stage = _STAGE_WORDS[progress.stage]
        if progress.stage is not Stage.QUEUEING and progress.bytes_total:
            text += f" {size_text(progress.bytes_done)} of {size_text(progress.bytes_total)}"
        submission.text, submission.fraction = text, progress.fraction
        return True

    def _accepted(self, request: int, submitted: Submitted) -> None:
        self.jobs[submitted.job.id] = submitted.job
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
        self.outcomes[request] = ""
        self.silent_requests.discard(request)
        self.delivering.pop(request, None)
        submission = self.submissions.get(request)
        if submission is not None:
            submission.step = Step.DONE

    def _failed(self, request: int, sentence: str, cancelled: bool) -> None:
        self.outcomes[request] = sentence
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
                self.notice = sentence

    def _delivery(self, job: str) -> Delivery:
        return self.deliveries.setdefault(job, Delivery(job))

    def outcome(self, request: int) -> str | None:
        """How a request of a join ended: None while it lasts, '' when well, else a sentence."""
        return self.outcomes.get(request)

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

    def nodes_ready(self) -> int:
        """Nodes that render or would."""
        ready = (NodeState.IDLE, NodeState.RENDERING)
        return sum(node.state in ready for node in self.nodes.values())


def job_word(job: JobView) -> str:
    """A job's state in one word."""
    if job.paused and job.state not in JOB_ENDED:
        return "Paused"
    return job.state.value.capitalize()


def job_fraction(job: JobView) -> float:
    """Part of the frames that are done, 0 to 1; of the film once that is being encoded."""
    if job.film is not None and job.state is JobState.ASSEMBLING:
        return job.film.progress
    counts = job.counts
    total = counts.waiting + counts.leased + counts.done + counts.failed + counts.cancelled
    return counts.done / total if total else 0.0


def job_total(job: JobView) -> int:
    """Frames of a job."""
    counts = job.counts
    return counts.waiting + counts.leased + counts.done + counts.failed + counts.cancelled


def job_text(job: JobView) -> str:
    """How far a job is, in a line: "87 of 250 frames, about 12 min left"."""
    if job.film is not None and job.state is JobState.ASSEMBLING:
        return f"Encoding film {job.film.progress:.0%}"
    text = f"{job.counts.done} of {job_total(job)} frames"
    if job.counts.failed:
        text += f", {job.counts.failed} failed"
    if job.state is JobState.DONE and job.started is not None and job.ended is not None:
        return f"{text}, took {duration_text(job.ended - job.started)}"
    if job.eta_seconds is not None and job.state not in JOB_ENDED and not job.paused:
        text += f", about {duration_text(job.eta_seconds)} left"
    return text


def size_text(count: int) -> str:
    """Bytes as people read them: "1.4 MiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _UNIT:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= _UNIT
    return f"{value:.1f} TiB"


def duration_text(seconds: float) -> str:
    """A duration as people read it: "12 s", "3 min", "2 h 05 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
