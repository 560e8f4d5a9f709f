"""What is blamed, what is tried again, what is kept: these events, exactly these decisions."""

from __future__ import annotations

import pytest
from farm_builders import GIB, assigned, done, hello, machine, sent, spec, stored
from kept_farm import ALIVE, Kept
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import (
    DeleteJob,
    Disconnect,
    SaveAttempt,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
)
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobCancelled,
    JobRemoved,
    NodeDisabled,
    NodeDisconnected,
    NodeDrained,
    NodeEnabled,
    NodeJoined,
    Refusal,
    RetryRequested,
    ScoutsApproved,
)
from rendermill.protocol.job import Limits
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameAccepted,
    FrameRef,
    FrameRefused,
    FrameStarted,
    LeasesReturned,
    Revoke,
    SetDraining,
    Welcome,
)
from rendermill.protocol.states import FrameState, JobState, NodeState


def test_a_result_is_stored_before_it_is_acknowledged_and_a_repeat_changes_nothing() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    ref = farm.held("a")[0]
    decisions = farm.say("a", done(ref))
    assert [type(one) for one in stored(decisions)] == [SaveJob, SaveFrames, SaveAttempt]
    assert sent(decisions)[0] == ("a", FrameAccepted(frame=ref))
    again = farm.say("a", done(ref))
    assert stored(again) == []
    assert sent(again) == [("a", FrameAccepted(frame=ref))]


def test_a_frame_fails_after_three_distinct_nodes_and_the_good_ones_are_kept() -> None:
    farm = Kept("a", "b", "c", "d")
    farm.submit(wanted=spec("1, 2"))
    farm.say("b", done(farm.held("b")[0]))
    for node in ("a", "b", "c", "d"):
        if farm.held(node) and farm.view().state is JobState.RENDERING:
            farm.fail(node)
    assert farm.view().state is JobState.FAILED
    assert (farm.view().counts.done, farm.view().counts.failed) == (1, 1)
    assert farm.view().problem.endswith("It broke.")
    assert farm.frame(1).failures == 3


def test_with_one_node_a_frame_is_tried_three_times() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    for attempt in range(3):
        assert farm.view().state is JobState.RENDERING, attempt
        farm.fail("a")
    assert farm.view().state is JobState.FAILED


def finish_all(farm: Kept, node: str, but: int = 0) -> None:
    """Let a node render all that it is given, until it begins frame ``but``."""
    while farm.held(node) and farm.held(node)[0].frame != but:
        farm.say(node, done(farm.held(node)[0]))


def test_a_node_that_the_job_avoids_is_no_other_node_that_a_frame_could_wait_for() -> None:
    """Found by kills of seed 109: the job stood still until the avoided node was forgiven."""
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-8"))
    farm.fail("b")
    farm.fail("b")
    failed = farm.held("a")[0].frame
    farm.fail("a")
    farm.fail("b")
    # What it holds already it may keep.
    finish_all(farm, "b")
    finish_all(farm, "a")
    assert farm.view().state is JobState.DONE
    assert farm.frame(failed).failures == 1


def test_a_frame_that_only_one_node_may_try_fails_after_three_attempts_there() -> None:
    """It does not go round until the node that the job avoids is forgiven."""
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-8"))
    for _ in range(3):
        farm.fail("b")
    failed = farm.held("a")[0].frame
    farm.fail("a")
    finish_all(farm, "b")
    finish_all(farm, "a", but=failed)
    for _ in range(2):
        assert [ref.frame for ref in farm.held("a")] == [failed]
        farm.fail("a")
    assert farm.view().state is JobState.FAILED
    assert farm.frame(failed).failures == 3
    assert farm.view().counts.done == 7


def test_a_node_that_failed_a_frame_does_not_get_it_again_while_others_are_left() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1"))
    decisions = farm.fail("a")
    assert assigned(decisions) == {"b": "1"}


def test_a_node_is_avoided_after_three_frames_and_forgiven_later() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-30"))
    farm.say("b", done(farm.held("b")[0]))
    for _ in range(3):
        farm.fail("a")
    assert all(ref.frame for ref in farm.held("b"))
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    assert farm.view().counts.waiting
    farm.wait(FarmConfig().avoid_seconds + 5, "a", "b")
    assert farm.held("a")


def test_out_of_memory_goes_elsewhere_and_never_back() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-9"))
    farm.fail("a", FailureKind.MEMORY)
    farm.say("a", done(farm.held("a")[0]))
    assert farm.held("a") == []
    farm.fail("b", FailureKind.MEMORY)
    assert farm.view().state is JobState.FAILED
    assert "ran out of memory" in farm.view().problem


def test_a_fault_of_the_machine_rests_the_node_and_spares_the_frame() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    farm.fail("a", FailureKind.NODE)
    assert (farm.frame(1).state, farm.frame(1).failures) == (FrameState.WAITING, 0)
    assert "It broke." in farm.view().waiting_because
    farm.wait(6, "a")
    assert [ref.frame for ref in farm.held("a")] == [1]


def test_a_job_that_cannot_work_stops_early() -> None:
    farm = Kept("a", "b", "c", "d")
    farm.submit(wanted=spec("1-1000"))
    attempts = 0
    while farm.view().state is JobState.RENDERING:
        node = next(node for node in "abcd" if farm.held(node))
        farm.fail(node, FailureKind.SCENE)
        attempts += 1
    assert attempts == 5
    assert "of which none succeeded" in farm.view().problem
    counts = farm.view().counts
    assert counts.failed
    assert counts.failed + counts.cancelled == 1000
    assert not any(farm.held(node) for node in "abcd")


def test_two_lost_nodes_do_not_count_against_a_frame_the_third_does() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    for life in (2, 3, 4):
        farm.say("a", FrameStarted(frame=farm.held("a")[0]))
        failures = farm.frame(1).failures
        farm.join("a", f"i{life}")
        assert (failures, farm.frame(1).failures) == (0, 1 if life == 4 else 0)
    lost = [one for one in farm.database.attempts.values() if one.outcome == "lost"]
    assert len(lost) == 3


def test_a_silent_node_loses_its_frames_after_the_lease_and_is_made_to_join_again() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-2"))
    farm.say("b", done(farm.held("b")[0]))
    decisions = farm.wait(44, "b")
    assert assigned(decisions) == {}
    decisions = farm.wait(6, "b")
    assert assigned(decisions) == {"b": "1"}
    assert [one.node for one in decisions if isinstance(one, Disconnect)] == ["a"]


def test_a_suspect_node_gets_nothing_new() -> None:
    farm = Kept("a")
    farm.wait(16)
    farm.submit()
    assert farm.held("a") == []
    farm.say("a", ALIVE)
    assert farm.held("a")


def test_a_late_result_counts_while_the_frame_is_open() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-2"))
    late = farm.held("a")[0]
    farm.say("a", FrameStarted(frame=late))
    farm.apply(NodeDisconnected(node="a", incarnation="i1"))
    farm.say("b", done(farm.held("b")[0]))
    farm.wait(50, "b")
    rival = farm.held("b")[0]
    assert rival.frame == late.frame
    farm.say("b", FrameStarted(frame=rival))
    farm.apply(NodeJoined(hello=hello("a", holding=(late,))))
    decisions = farm.say("a", done(late))
    assert ("a", FrameAccepted(frame=late)) in sent(decisions)
    assert ("b", Revoke(frames=(rival,), reason="elsewhere", running_too=True)) in sent(decisions)
    assert farm.view().state is JobState.DONE


def test_a_node_that_comes_back_in_time_goes_on() -> None:
    farm = Kept("a")
    farm.submit()
    held = tuple(farm.held("a"))
    farm.apply(NodeDisconnected(node="a", incarnation="i1"))
    farm.wait(20)
    decisions = farm.apply(NodeJoined(hello=hello("a", holding=held)))
    welcome = sent(decisions)[0][1]
    assert isinstance(welcome, Welcome)
    assert welcome.keep == held
    assert not assigned(decisions)


def test_a_node_that_does_not_know_its_lease_gets_the_frame_anew() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    farm.apply(NodeDisconnected(node="a", incarnation="i1"))
    assert assigned(farm.join("a")) == {"a": "1"}


def test_an_older_lease_of_a_frame_the_node_has_anew_is_not_renewed() -> None:
    """Found by the state machine: the node held one frame twice."""
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    old = farm.held("a")[0]
    farm.fail("a")
    new = farm.held("a")[0]
    decisions = farm.apply(NodeJoined(hello=hello("a", holding=(old, new))))
    welcome = sent(decisions)[0][1]
    assert isinstance(welcome, Welcome)
    assert welcome.keep == (new,)


def test_a_returning_node_does_not_take_a_job_beyond_its_most_nodes() -> None:
    """Found by the simulation, seed 1."""
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-9", max_nodes=1))
    held = tuple(farm.held("a"))
    farm.apply(NodeDisconnected(node="a", incarnation="i1"))
    farm.wait(50, "b")
    assert farm.held("b")
    farm.apply(NodeJoined(hello=hello("a", holding=held)))
    assert farm.held("a") == []


def test_a_restart_keeps_leases_in_full_and_epochs_grow() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-9"))
    held = tuple(farm.held("a"))
    farm.now += 500
    assert [type(one) for one in stored(farm.restart())] == []
    farm.wait(40)
    farm.apply(NodeJoined(hello=hello("a", holding=held)))
    assert tuple(farm.held("a")) == held
    decisions = farm.say("a", done(held[0]))
    assert any(isinstance(one, SaveEpochCeiling) for one in decisions)
    assert min(farm.held("a")[-1].epoch, 4096) > max(ref.epoch for ref in held)


@pytest.mark.parametrize("restarts", [False, True])
def test_before_approval_only_scouts_are_rendered_whatever_else_has_a_history(
    restarts: bool,
) -> None:
    farm = Kept()
    farm.submit(wanted=spec("1-9", scouts=True))
    farm.apply(JobCancelled(job="j"))
    # Chosen by name, frame 4 has a row of its own and waits.
    farm.apply(RetryRequested(job="j", frames=(4,)))
    farm.apply(RetryRequested(job="j"))
    if restarts:
        farm.restart()
    farm.join("a")
    rendered: list[int] = []
    while held := farm.held("a"):
        rendered.append(held[0].frame)
        farm.say("a", done(held[0]))
    assert rendered == [1, 5, 9]
    assert "approve" in farm.view().waiting_because
    assert assigned(farm.apply(ScoutsApproved(job="j"))) == {"a": "2, 4"}


def test_done_frames_chosen_again_get_a_new_generation() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-2"))
    old = farm.held("a")
    for ref in old:
        farm.say("a", done(ref))
    assert farm.view().state is JobState.DONE
    decisions = farm.apply(RetryRequested(job="j", frames=(2,)))
    assert assigned(decisions) == {"a": "2"}
    new = farm.held("a")[0]
    assert (new.generation, farm.view().generation) == (2, 2)
    assert sent(farm.say("a", done(old[1]))) == [("a", FrameAccepted(frame=old[1]))]
    farm.say("a", done(new))
    assert farm.farm.result("j", 2).generation == 2  # type: ignore[union-attr]
    assert isinstance(sent(farm.say("a", done(old[1])))[0][1], FrameRefused)
    assert farm.view().state is JobState.DONE


def test_cancelling_a_second_rendering_keeps_the_first() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    first = farm.held("a")[0]
    farm.say("a", done(first))
    farm.apply(RetryRequested(job="j", frames=(1,)))
    farm.apply(JobCancelled(job="j"))
    assert farm.frame(1).state is FrameState.DONE
    assert farm.farm.result("j", 1).epoch == first.epoch  # type: ignore[union-attr]


def test_retry_renders_only_what_is_missing() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-5"))
    farm.say("a", done(farm.held("a")[0]))
    farm.apply(JobCancelled(job="j"))
    farm.apply(RetryRequested(job="j"))
    rendered = []
    while held := farm.held("a"):
        rendered.append(held[0].frame)
        farm.say("a", done(held[0]))
    assert sorted(rendered) == [2, 3, 4, 5]
    assert farm.view().state is JobState.DONE
    with pytest.raises(FarmRefusal, match="nothing to render again"):
        farm.apply(RetryRequested(job="j"))


def test_draining_finishes_the_running_frame_disabling_does_not() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-9"))
    running, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=running))
    decisions = farm.apply(NodeDrained(node="a"))
    assert [one for _, one in sent(decisions)][:2] == [
        SetDraining(draining=True),
        Revoke(frames=(ahead,), reason="drain", running_too=False),
    ]
    farm.say("a", LeasesReturned(frames=(ahead,), reason="drain"))
    farm.say("a", done(running))
    assert farm.held("a") == []
    assert farm.farm.node_view("a", farm.now).state is NodeState.DRAINING  # type: ignore[union-attr]
    held = tuple(farm.held("b"))
    decisions = farm.apply(NodeDisabled(node="b"))
    assert ("b", Revoke(frames=held, reason="drain", running_too=True)) in sent(decisions)
    farm.restart()
    for node in "ab":
        assert not assigned(farm.join(node))
    assert assigned(farm.apply(NodeEnabled(node="a")))


def test_a_frame_over_the_limit_its_job_sets_is_taken_away() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1", limits=Limits(frame_seconds=60)))
    ref = farm.held("a")[0]
    farm.say("a", FrameStarted(frame=ref))
    decisions = farm.wait(2 * 60 + FarmConfig().limit_grace_seconds + 5, "a", "b")
    assert ("a", Revoke(frames=(ref,), reason="too_long", running_too=True)) in sent(decisions)
    assert assigned(decisions) == {"b": "1"}


def test_a_handed_back_frame_is_not_given_to_the_same_node_at_once() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    decisions = farm.say("a", LeasesReturned(frames=(farm.held("a")[0],), reason="User is back."))
    assert not assigned(decisions)
    assert assigned(farm.wait(6, "a")) == {"a": "1"}


def test_only_an_ended_job_is_removed() -> None:
    farm = Kept("a")
    farm.submit()
    with pytest.raises(FarmRefusal, match="cancel it first"):
        farm.apply(JobRemoved(job="j"))
    ref = farm.held("a")[0]
    farm.apply(JobCancelled(job="j"))
    assert stored(farm.apply(JobRemoved(job="j"))) == [DeleteJob(job="j")]
    assert isinstance(sent(farm.say("a", done(ref)))[0][1], FrameRefused)
    with pytest.raises(FarmRefusal) as caught:
        farm.apply(JobCancelled(job="j"))
    assert caught.value.kind is Refusal.UNKNOWN


def test_another_protocol_is_turned_away_with_a_sentence() -> None:
    farm = Kept()
    decisions = farm.apply(NodeJoined(hello=hello("a", protocol=99)))
    assert [type(one) for one in decisions] == [Disconnect]
    assert "install the same version" in decisions[0].reason  # type: ignore[union-attr]


def test_a_result_that_was_never_asked_for_is_refused() -> None:
    farm = Kept("a")
    farm.submit()
    ref = FrameRef(job="j", generation=1, frame=1, epoch=10_000)
    assert isinstance(sent(farm.say("a", done(ref)))[0][1], FrameRefused)


def test_a_machine_that_changes_gets_other_jobs() -> None:
    farm = Kept()
    farm.join("a", machine=machine(memory_bytes=GIB))
    assert not any(
        isinstance(one, Assign) for _, one in sent(farm.submit(wanted=spec("1", tags())))
    )
    assert assigned(farm.join("a", machine=machine(tags=("big",)))) == {"a": "1"}


def tags():
    from farm_builders import requirements

    return requirements(tags=("big",))
