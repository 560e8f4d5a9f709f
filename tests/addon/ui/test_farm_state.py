"""Events in, what panels show out; no Blender needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rendermill.addon.client import following
from rendermill.addon.client.delivery import Delivered, DeliveryProgress
from rendermill.addon.client.submission import Stage, SubmitProgress, Submitted
from rendermill.addon.ui.farm_state import (
    FarmState,
    Link,
    Step,
    Submission,
)
from rendermill.addon.ui.wording import (
    duration_text,
    job_text,
    job_word,
    size_text,
)
from rendermill.protocol.machine import Machine
from rendermill.protocol.states import JobState, NodeState
from rendermill.protocol.views import FarmView, FrameCounts, JobView, NodeView

JOB = JobView(
    id="j1",
    name="shot",
    submitter="ada@studio",
    state=JobState.RENDERING,
    paused=False,
    priority=50,
    frames="1-10",
    counts=FrameCounts(waiting=6, leased=1, done=3),
    created=100.0,
    started=110.0,
    ended=None,
    eta_seconds=130.0,
    eta_low_seconds=None,
    eta_high_seconds=None,
    mean_frame_seconds=None,
    nodes=(),
    waiting_because="",
    problem="",
    thumbnail_frame=None,
    generation=1,
    manifest="ab" * 32,
    scene_bytes=1000,
    scene_files=1,
)
NODE = NodeView(
    id="n1",
    name="atlas",
    state=NodeState.IDLE,
    reason="",
    machine=Machine(hostname="atlas", system="Linux", cpu="x", cores=2, memory_bytes=1),
    software="0.1.0",
    last_seen=0.0,
    load=0.0,
    memory_free_bytes=0,
    disk_free_bytes=0,
    job="",
    frame=None,
    progress=0.0,
    frames_done=0,
)
FARM = FarmView(
    farm="Studio",
    farm_id="f1",
    software="0.1.0",
    protocol=1,
    nodes_online=1,
    nodes_rendering=0,
    jobs_open=0,
    frames_waiting=0,
    frames_leased=0,
    disk_free_bytes=0,
    sequence=1,
)
SUBMITTED = Submitted(
    job=JOB,
    files=3,
    chunks=9,
    scene_bytes=5 * 1024**2,
    new_chunks=1,
    new_bytes=4096,
    sent_bytes=2048,
    seconds=0.5,
)


@pytest.fixture
def state() -> FarmState:
    made = FarmState()
    made.begin(Submission(7, "shot", deliver=True))
    return made


def test_a_submission_from_the_first_byte_to_the_last_frame(state: FarmState):
    submission = state.submissions[7]
    assert state.sending is submission
    state.apply(following.SubmissionMoved(7, SubmitProgress(Stage.SENDING, 1024**2, 4 * 1024**2)))
    assert (submission.text, submission.fraction) == ("Sending 1.0 MiB of 4.0 MiB", 0.25)
    state.apply(following.JobAccepted(7, SUBMITTED))
    assert (submission.step, submission.job, state.sending) == (Step.ACCEPTED, "j1", None)
    assert submission.text == "Sent 2.0 KiB of a scene of 5.0 MiB"
    newest = Path("/out/shot_0003.png")
    progress = DeliveryProgress(job=JOB, frames_here=3, bytes_here=9, newest=newest, newest_frame=3)
    state.apply(following.DeliveryMoved(7, progress))
    assert state.deliveries["j1"].newest == newest
    ended = dataclasses.replace(JOB, state=JobState.DONE)
    delivered = Delivered(job=ended, frames=10, files=(newest,), kept=(), folders=(newest.parent,))
    state.apply(following.DeliveryEnded(7, delivered))
    state.apply(following.Finished(7))
    assert submission.is_over
    assert state.deliveries["j1"].is_over
    assert state.jobs["j1"].state is JobState.DONE


def test_a_cancelled_submission_says_so_and_nothing_else(state: FarmState):
    state.apply(following.Failed(7, "Cancelled.", cancelled=True))
    assert (state.submissions[7].step, state.submissions[7].text) == (Step.CANCELLED, "Cancelled")
    assert state.notice == ""


def test_a_delivery_that_fails_is_said_at_its_job(state: FarmState):
    state.apply(following.JobAccepted(7, SUBMITTED))
    state.apply(following.Failed(7, "The disk is full."))
    assert state.submissions[7].step is Step.FAILED
    assert state.deliveries["j1"].problem == "The disk is full."


def test_an_action_that_fails_becomes_a_notice(state: FarmState):
    state.apply(following.Failed(99, "The job has ended."))
    assert state.notice == "The job has ended."


def test_no_farm_is_said_where_the_farm_stands_not_as_a_failure():
    state = FarmState()
    state.silent_requests.add(1)
    state.apply(following.Disconnected("No coordinator found."))
    assert (state.link, state.link_text) == (Link.SEARCHING, "No coordinator found.")
    state.apply(following.Failed(1, "The token is not known."))
    assert (state.link, state.link_text, state.notice) == (Link.OFF, "The token is not known.", "")
    state.apply(following.Connected(FARM, "http://127.0.0.1:7878"))
    assert (state.link, state.link_text, state.url) == (
        Link.CONNECTED,
        "",
        "http://127.0.0.1:7878",
    )


def test_heartbeats_and_frames_draw_nothing_anew():
    state = FarmState()
    assert state.apply(following.NodesListed((NODE,)))
    assert not state.apply(following.NodeChanged(dataclasses.replace(NODE, load=0.9)))
    assert state.apply(following.NodeChanged(dataclasses.replace(NODE, state=NodeState.OFFLINE)))
    assert state.nodes_ready() == 0


def test_jobs_of_one_submitter_newest_first():
    state = FarmState()
    other = dataclasses.replace(JOB, id="j2", submitter="bob@studio")
    newer = dataclasses.replace(JOB, id="j3", created=200.0)
    state.apply(following.JobsListed((JOB, other, newer)))
    assert [job.id for job in state.jobs_of("ada@studio")] == ["j3", "j1"]
    state.apply(following.JobRemoved("j3"))
    assert [job.id for job in state.jobs_of("ada@studio")] == ["j1"]


@pytest.mark.parametrize(
    ("changes", "word", "text"),
    [
        ({}, "Rendering", "3 of 10 frames, about 2 min left"),
        ({"paused": True}, "Paused", "3 of 10 frames"),
        (
            {"state": JobState.DONE, "counts": FrameCounts(done=10), "ended": 175.0},
            "Done",
            "10 of 10 frames, took 1 min",
        ),
        (
            {"state": JobState.FAILED, "counts": FrameCounts(done=8, failed=2)},
            "Failed",
            "8 of 10 frames, 2 failed",
        ),
    ],
)
def test_a_job_in_words(changes: dict[str, object], word: str, text: str):
    job = dataclasses.replace(JOB, **changes)
    assert (job_word(job), job_text(job)) == (word, text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (50 * 1024**2, "50 MiB"), (2**41, "2.0 TiB")],
)
def test_sizes(count: int, text: str):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.4, "59 s"), (125, "2 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str):
    assert duration_text(seconds) == text
