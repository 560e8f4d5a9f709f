"""The film of a job: encoded once every frame is done, by one node at a time, like a frame."""

from __future__ import annotations

import pytest
from farm_builders import Scenario, assigned, done, spec
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobCancelled,
    JobPaused,
    JobResumed,
    RetryRequested,
    Tick,
)
from rendermill.protocol.frames import FILM_FRAME
from rendermill.protocol.job import Film, JobSpec
from rendermill.protocol.messages import (
    FailureKind,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameRefused,
    FrameStarted,
)
from rendermill.protocol.states import FrameState, JobState
from rendermill.protocol.views import FilmView
from test_failures import Kept


def film_job(frames: str = "1-3") -> JobSpec:
    return spec(frames, film=Film(name="shot.mp4", folder="/out", fps=24))


def rendered(*nodes: str, frames: str = "1-3") -> Kept:
    """Return a farm whose frames are all done, so that the film is due."""
    farm = Kept(*nodes)
    farm.submit(wanted=film_job(frames))
    while not any(ref.frame == FILM_FRAME for node in nodes for ref in farm.held(node)):
        node = next(node for node in nodes if farm.held(node))
        farm.say(node, done(farm.held(node)[0]))
    return farm


def the_film(farm: Scenario) -> FilmView:
    view = farm.view().film
    assert view is not None
    return view


def holder(farm: Scenario, *nodes: str) -> tuple[str, FrameRef]:
    (found,) = [(node, ref) for node in nodes for ref in farm.held(node)]
    assert found[1].frame == FILM_FRAME
    return found


def failed(ref: FrameRef, kind: FailureKind = FailureKind.OUTPUT) -> FrameFailed:
    return FrameFailed(frame=ref, kind=kind, reason="No film.")


def test_it_is_given_out_when_the_last_frame_is_done_and_counted_nowhere() -> None:
    farm = Kept("a")
    farm.submit(wanted=film_job("1-2"))
    first, second = farm.held("a")
    farm.say("a", done(first))
    assert the_film(farm) == FilmView(name="shot.mp4", state=FrameState.WAITING)
    decisions = farm.say("a", done(second))
    assert assigned(decisions) == {"a": str(FILM_FRAME)}
    film = farm.held("a")[0]
    assert (film.frame, film.generation) == (FILM_FRAME, 1)
    assert farm.view().state is JobState.ASSEMBLING
    assert farm.view().counts.done == 2
    assert farm.view().counts.leased == 0
    farm.say("a", FrameStarted(frame=film))
    farm.say("a", FrameProgress(frame=film, fraction=0.4, text="Encoding"))
    assert the_film(farm).progress == 0.4
    node = farm.farm.node_view("a", farm.now)
    assert node is not None
    assert (node.frame, node.reason) == (None, "Encodes the film.")
    farm.say("a", done(film))
    assert farm.view().state is JobState.DONE
    assert the_film(farm).sha256
    page = farm.farm.frames("j")
    assert page is not None
    assert [one.frame for one in page.frames] == [1, 2]


def test_it_goes_to_another_node_when_one_is_lost_and_survives_a_restart() -> None:
    farm = rendered("a", "b")
    node, film = holder(farm, "a", "b")
    farm.restart()
    assert farm.view().state is JobState.ASSEMBLING
    other = "b" if node == "a" else "a"
    farm.join(other)
    farm.wait(farm.farm.state.config.lease_seconds + 1, other)
    assert holder(farm, "a", "b")[0] == other
    again = holder(farm, "a", "b")[1]
    assert again.epoch > film.epoch
    farm.say(other, done(again))
    assert farm.view().state is JobState.DONE


def test_it_fails_after_three_nodes_and_a_retry_only_encodes_again() -> None:
    nodes = ("a", "b", "c", "d")
    farm = rendered(*nodes)
    seen = []
    for _ in range(3):
        node, film = holder(farm, *nodes)
        seen.append(node)
        farm.say(node, failed(film))
    assert len(set(seen)) == 3
    assert farm.view().state is JobState.FAILED
    assert farm.view().problem == f"The film on {seen[-1]}: No film."
    assert farm.view().counts.done == 3
    assert (the_film(farm).state, the_film(farm).problem) == (FrameState.FAILED, "No film.")
    farm.apply(RetryRequested(job="j"))
    assert farm.view().state is JobState.ASSEMBLING
    node, film = holder(farm, *nodes)
    farm.say(node, done(film))
    assert farm.view().state is JobState.DONE


def test_a_film_that_comes_after_all_ends_a_failed_job() -> None:
    farm = rendered("a")
    film = farm.held("a")[0]
    for _ in range(3):
        farm.say("a", failed(farm.held("a")[0]))
    assert farm.view().state is JobState.FAILED
    farm.say("a", done(film))
    assert farm.view().state is JobState.DONE


def test_pause_and_cancel_stop_it_and_a_retry_begins_it_anew() -> None:
    farm = Kept("a")
    farm.submit(wanted=film_job("1"))
    ref = farm.held("a")[0]
    farm.apply(JobPaused(job="j"))
    farm.say("a", done(ref))
    assert farm.view().waiting_because == "Paused."
    assert not farm.held("a")
    farm.apply(JobResumed(job="j"))
    film = farm.held("a")[0]
    assert film.frame == FILM_FRAME
    with pytest.raises(FarmRefusal, match="being encoded"):
        farm.apply(RetryRequested(job="j"))
    farm.apply(JobCancelled(job="j"))
    assert the_film(farm).state is FrameState.CANCELLED
    decisions = farm.say("a", done(film))
    assert any(isinstance(getattr(one, "message", None), FrameRefused) for one in decisions)
    assert farm.view().state is JobState.CANCELLED
    farm.apply(RetryRequested(job="j"))
    farm.say("a", done(farm.held("a")[0]))
    assert farm.view().state is JobState.DONE


def test_frames_rendered_anew_make_a_new_film() -> None:
    farm = rendered("a")
    first = farm.held("a")[0]
    farm.say("a", done(first))
    farm.apply(RetryRequested(job="j", frames=(2,)))
    assert not the_film(farm).sha256
    farm.say("a", done(farm.held("a")[0]))
    film = farm.held("a")[0]
    assert (film.frame, film.generation) == (FILM_FRAME, 2)
    decisions = farm.say("a", done(first))
    assert any(isinstance(getattr(one, "message", None), FrameRefused) for one in decisions)
    farm.say("a", done(film))
    assert farm.view().state is JobState.DONE


def test_without_all_frames_there_is_no_film_and_a_sentence() -> None:
    farm = Kept("a")
    farm.submit(wanted=film_job("1-2"))
    while farm.view().state is not JobState.FAILED:
        ref = farm.held("a")[0]
        farm.say("a", failed(ref) if ref.frame == 1 else done(ref))
    assert the_film(farm).problem == (
        "No film was made, for 1 frame is missing; retry the job to render them."
    )


def test_a_film_that_nobody_encodes_says_why() -> None:
    farm = Kept("a")
    farm.submit(wanted=film_job("1"))
    farm.say("a", done(farm.held("a")[0]))
    for _ in range(2):
        farm.say("a", failed(farm.held("a")[0], FailureKind.NODE))
        assert "No node that could render it takes work now" in farm.view().waiting_because
        farm.now += farm.farm.state.config.node_fault_longest_seconds
        farm.join("a")
        farm.apply(Tick())
    assert farm.held("a")
