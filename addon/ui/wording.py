"""How jobs, sizes and times are said to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...protocol.states import JOB_ENDED, JobState, WaitingKind
from ...protocol.views import JobView

if TYPE_CHECKING:
    from .farm_state import Delivery

_UNIT = 1024


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
    left = left_text(job)
    return f"{text}, {left}" if left else text


def left_text(job: JobView) -> str:
    """How long a job takes yet: "8 to 14 min left", "about 12 min left"; '' when unknown."""
    if job.eta_seconds is None or job.state in JOB_ENDED or job.paused:
        return ""
    if job.eta_low_seconds is not None and job.eta_high_seconds is not None:
        low, high = duration_text(job.eta_low_seconds), duration_text(job.eta_high_seconds)
        if low != high:
            number, _, unit = low.partition(" ")
            # "8 to 14 min" where both are of one unit, "50 s to 2 min" where not.
            same = unit == high.partition(" ")[2]
            return f"{number if same else low} to {high} left"
    return f"about {duration_text(job.eta_seconds)} left"


def frame_text(job: JobView) -> str:
    """The mean time of a frame: "14 s a frame"; '' before the first."""
    if job.mean_frame_seconds is None:
        return ""
    seconds = job.mean_frame_seconds
    if seconds < 0.1:
        return "under 0.1 s a frame"
    return f"{seconds:.1f} s a frame" if seconds < 10 else f"{duration_text(seconds)} a frame"


def waits_for_approval(job: JobView) -> bool:
    """Whether its scout frames are rendered and the rest waits for the artist's word."""
    return job.waiting_kind is WaitingKind.SCOUTS


def problems_of(job: JobView) -> list[str]:
    """Return what went wrong with a job, sentences: a frame of it, the film. Each is said once."""
    of_frames = job.problem if job.counts.failed or job.state is JobState.FAILED else ""
    of_film = "" if job.film is None else job.film.problem
    return [problem for problem in dict.fromkeys((of_frames, of_film)) if problem]


def delivery_text(delivery: Delivery) -> str:
    """What of a job is on this computer: ``The film and 3 frames in the output folder``; '' as
    long as there is nothing."""
    count, kept = delivery.frames_here, delivery.kept
    here = ["The film"] if delivery.film is not None else []
    if count:
        here.append("1 frame" if count == 1 else f"{count} frames")
    parts = [" and ".join(here) + " in the output folder"] if here else []
    if kept:
        parts.append(
            "1 older file left as it was" if kept == 1 else f"{kept} older files left as they were"
        )
    return ", ".join(parts)


def ago_text(seconds: float) -> str:
    """How long ago something was: "just now", "3 min ago"."""
    return "just now" if seconds < 5 else f"{duration_text(seconds)} ago"


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
