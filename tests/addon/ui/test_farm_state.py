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
    delivery_text,
    duration_text,
    frame_text,
    job_text,
    job_word,
    left_text,
    problems_of,
    size_text,
    waits_for_approval,
)
from rendermill.protocol.machine import Machine
from rendermill.protocol.states import FrameState, JobState, NodeState, WaitingKind
from rendermill.protocol.views import FarmView, FilmView, FrameCounts, JobView, NodeView

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


def test_a_film_that_was_not_made_is_told_like_a_frame():
    film = FilmView(name="shot.mp4", state=FrameState.FAILED, problem="No room on atlas.")
    failed = dataclasses.replace(JOB, state=JobState.FAILED, film=film, problem="Gave up.")
    assert problems_of(failed) == ["Gave up.", "No room on atlas."]
    same = dataclasses.replace(failed, problem="No room on atlas.")
    assert problems_of(same) == ["No room on atlas."]
    # What was wrong with frames that are done by now is no news.
    assert problems_of(dataclasses.replace(JOB, problem="A node went away.")) == []


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


def test_how_long_a_stage_takes_yet_is_said_once_it_is_known(state: FarmState):
    submission = state.submissions[7]

    def move(stage: Stage, done: int, now: float) -> str:
        state.apply(following.SubmissionMoved(7, SubmitProgress(stage, done, 100 * 1024**2)), now)
        return submission.text

    mib = 1024**2
    assert move(Stage.READING, 0, 10.0) == "Reading and sending 0 B of 100 MiB"
    assert move(Stage.READING, 1 * mib, 10.1) == "Reading and sending 1.0 MiB of 100 MiB"
    assert move(Stage.READING, 25 * mib, 15.0).endswith("of 100 MiB, about 15 s left")
    # Another stage has a speed of its own.
    assert move(Stage.SENDING, 50 * mib, 20.0) == "Sending 50 MiB of 100 MiB"
    assert move(Stage.SENDING, 60 * mib, 22.0).endswith("about 8 s left")
    assert move(Stage.SENDING, 100 * mib, 23.0) == "Sending 100 MiB of 100 MiB"


def test_pictures_are_asked_for_once_and_only_of_what_is_not_brought_here():
    state = FarmState()
    shown = dataclasses.replace(JOB, thumbnail_frame=4)
    state.apply(following.JobsListed((shown,)))
    assert state.pictures_wanted("ada@studio", "") == [], "nobody is there to ask"
    state.apply(following.Connected(FARM, "http://127.0.0.1:7878"))
    assert state.pictures_wanted("ada@studio", "") == [("j1", 4)]
    assert state.pictures_wanted("bob@studio", "") == []
    state.asked_pictures["j1"] = 4
    state.picture_requests.add(31)
    state.apply(following.Failed(31, "It has no thumbnail."))
    assert (state.notice, state.pictures_wanted("ada@studio", "")) == ("", [])
    state.apply(following.JobChanged(dataclasses.replace(shown, thumbnail_frame=5)))
    assert state.pictures_wanted("ada@studio", "") == [("j1", 5)]
    arrived = Path("/cache/j1.5.jpg")
    state.apply(following.PictureArrived(32, "j1", 5, arrived))
    picture = state.picture_of("j1")
    assert picture is not None
    assert (picture.frame, picture.path) == (5, arrived)

    newest = Path("/out/shot_0006.png")
    progress = DeliveryProgress(
        job=shown, frames_here=1, bytes_here=9, newest=newest, newest_frame=6
    )
    state.apply(following.DeliveryMoved(7, progress))
    picture = state.picture_of("j1")
    assert picture is not None
    assert (picture.frame, picture.path) == (6, newest)
    assert state.newest == (newest, 1)
    state.apply(following.JobChanged(dataclasses.replace(shown, thumbnail_frame=9)))
    assert state.pictures_wanted("ada@studio", "") == []


def test_jobs_of_the_open_file_stand_apart_from_the_others():
    state = FarmState()
    theirs = dataclasses.replace(JOB, id="j2", submitter="bob@studio", created=150.0)
    older = dataclasses.replace(JOB, id="j3", created=50.0)
    state.apply(following.JobsListed((JOB, theirs, older)))
    state.blend, state.blend_jobs = "/shots/a.blend", ("j2", "j3", "gone")
    here, others = state.shown_jobs("ada@studio", "/shots/a.blend")
    assert ([job.id for job in here], [job.id for job in others]) == (["j2", "j3"], ["j1"])
    here, others = state.shown_jobs("ada@studio", "/shots/b.blend")
    assert ([job.id for job in here], [job.id for job in others]) == ([], ["j1", "j3"])


def test_nodes_by_name():
    state = FarmState()
    state.apply(following.NodesListed((NODE, dataclasses.replace(NODE, id="n9", name="attic"))))
    assert state.are_nodes_known
    assert state.nodes_named(("attic", "nobody")) == (("n9",), ("nobody",))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (480.0, 840.0, "8 to 14 min left"),
        (50.0, 130.0, "50 s to 2 min left"),
        (121.0, 125.0, "about 2 min left"),
        (3600.0, 7800.0, "1 h 00 min to 2 h 10 min left"),
        (None, None, "about 2 min left"),
    ],
)
def test_the_time_left_is_a_range_where_the_farm_gives_one(
    low: float | None, high: float | None, text: str
):
    job = dataclasses.replace(JOB, eta_low_seconds=low, eta_high_seconds=high)
    assert left_text(job) == text


def test_the_mean_time_of_a_frame_and_the_word_of_scouts():
    assert frame_text(dataclasses.replace(JOB, mean_frame_seconds=None)) == ""
    assert frame_text(dataclasses.replace(JOB, mean_frame_seconds=1.25)) == "1.2 s a frame"
    assert frame_text(dataclasses.replace(JOB, mean_frame_seconds=0.02)) == "under 0.1 s a frame"
    assert frame_text(dataclasses.replace(JOB, mean_frame_seconds=80.0)) == "1 min a frame"
    assert not waits_for_approval(JOB)
    assert waits_for_approval(dataclasses.replace(JOB, waiting_kind=WaitingKind.SCOUTS))


def test_what_is_here_of_a_film_is_the_film_and_not_its_frames():
    state, film = FarmState(), Path("/out/film.mp4")
    moved = DeliveryProgress(
        job=JOB, frames_here=3, bytes_here=0, newest=None, newest_frame=None, frames_without_files=3
    )
    state.apply(following.DeliveryMoved(1, moved))
    delivery = state.deliveries[JOB.id]
    assert (delivery.frames_here, delivery_text(delivery)) == (0, "")
    delivered = Delivered(
        job=JOB, frames=3, files=(film,), kept=(), folders=(), film=film, frames_without_files=3
    )
    state.apply(following.DeliveryEnded(1, delivered))
    assert delivery_text(delivery) == "The film in the output folder"
    state.apply(following.DeliveryEnded(1, dataclasses.replace(delivered, frames_without_files=0)))
    assert delivery_text(delivery) == "The film and 3 frames in the output folder"
    other = dataclasses.replace(delivered, frames_without_files=2, film=None, kept=(film,))
    state.apply(following.DeliveryEnded(1, other))
    assert delivery_text(delivery) == "1 frame in the output folder, 1 older file left as it was"
