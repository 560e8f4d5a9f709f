"""Reports of nodes applied together: in order, each answered, decided once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import (
    Decision,
    Disconnect,
    SaveAttempt,
    SaveFrames,
    SaveJob,
)
from rendermill.coordinator.farm.events import (
    FarmEvent,
    JobCancelled,
    JobSubmitted,
    MessageReceived,
    NodeDisconnected,
    Tick,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.validate import validate
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameRefused,
    FrameStarted,
    Heartbeat,
    NodeMessage,
)
from rendermill.protocol.states import FrameState, JobState

from .farm_builders import Scenario, assigned, done, sent, spec


def working(nodes: str = "ab", frames: str = "1-20") -> Scenario:
    """A job, and nodes that hold two frames of it each."""
    farm = Scenario(Farm(FarmConfig()))
    for node in nodes:
        farm.join(node)
    farm.apply(
        JobSubmitted(job="j", spec=spec(frames), manifest="0" * 64, scene_bytes=1, scene_files=1)
    )
    return farm


def report(node: str, message: NodeMessage, incarnation: str = "i1") -> MessageReceived:
    return MessageReceived(node=node, incarnation=incarnation, message=message)


def together(farm: Scenario, events: Sequence[FarmEvent]) -> list[Decision]:
    assert all(farm.farm.is_report(event) for event in events)
    decisions = farm.farm.apply_reports(events, farm.now)
    validate(farm.farm)
    return decisions


def answers(decisions: list[Decision]) -> list[tuple[str, FrameRef]]:
    """Node and frame of what was accepted, in order."""
    return [
        (node, message.frame)
        for node, message in sent(decisions)
        if isinstance(message, FrameAccepted)
    ]


def states(farm: Scenario) -> dict[int, FrameState]:
    table = farm.farm.state.jobs["j"].table
    return {table.number(at): table.state(at) for at in range(len(table))}


def test_what_tells_how_a_frame_goes_on_is_a_report_and_nothing_else_is():
    ref = FrameRef(job="j", generation=1, frame=1, epoch=1)
    reports = [FrameStarted(frame=ref), FrameProgress(frame=ref, fraction=0.5), done(ref)]
    assert all(Farm.is_report(report("a", message)) for message in reports)
    others: list[FarmEvent] = [
        report("a", Heartbeat(load=0.0, memory_free_bytes=0, disk_free_bytes=0)),
        report("a", FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="It crashed.")),
        NodeDisconnected(node="a", incarnation="i1"),
        JobCancelled(job="j"),
        Tick(),
    ]
    assert not any(map(Farm.is_report, others))
    for event in others:
        with pytest.raises(AssertionError, match="only reports"):
            Farm(FarmConfig()).apply_reports([event], 1.0)


def test_they_are_answered_in_the_order_in_which_they_came():
    farm = working()
    a, b = farm.held("a"), farm.held("b")
    order = [("b", b[0]), ("a", a[0]), ("a", a[1]), ("b", b[1])]
    decisions = together(farm, [report(node, done(ref)) for node, ref in order])
    assert answers(decisions) == order
    attempts = [one.record for one in decisions if isinstance(one, SaveAttempt)]
    assert [(one.node, one.frame) for one in attempts] == [(node, ref.frame) for node, ref in order]


def test_frames_are_given_out_once_for_all_of_them():
    farm = working()
    refs = [(node, ref) for node in "ab" for ref in farm.held(node)]
    decisions = together(farm, [report(node, done(ref)) for node, ref in refs])
    orders = [message for _, message in sent(decisions) if isinstance(message, Assign)]
    assert len(orders) == 2
    # The ones after the four that are done, each node the one it begins and the one after it.
    assert {frame for one in orders for frame in (ref.frame for ref in one.frames)} == {5, 6, 7, 8}
    assert sorted(assigned(decisions)) == ["a", "b"]
    (saved,) = [one.records for one in decisions if isinstance(one, SaveFrames)]
    assert sorted(record.frame for record in saved) == list(range(1, 9))


def test_together_they_lead_where_one_after_the_other_leads():
    one, other = working(), working()
    events: list[FarmEvent] = []
    for node in "ab":
        first, second = one.held(node)
        assert [first, second] == other.held(node)
        events += [
            report(node, FrameStarted(frame=first)),
            report(node, FrameProgress(frame=first, fraction=0.5, text="half")),
            report(node, done(first)),
            report(node, FrameStarted(frame=second)),
            report(node, FrameProgress(frame=second, fraction=0.25)),
        ]
    together(one, events)
    for event in events:
        other.apply(event)
    assert states(one) == states(other)
    for node in "ab":
        mine, theirs = (farm.farm.state.nodes[node] for farm in (one, other))
        assert len(mine.leases) == len(theirs.leases) == 2
        assert mine.frames_done == theirs.frames_done == 1
        assert mine.head is not None
        assert theirs.head is not None
        assert (mine.head.frame, mine.head.fraction) == (theirs.head.frame, theirs.head.fraction)


def test_a_bad_one_harms_no_other():
    farm = working()
    a, b = farm.held("a"), farm.held("b")
    stale = replace(a[0], generation=7)
    never = replace(a[0], epoch=10**9)
    decisions = together(
        farm,
        [
            report("a", done(replace(a[0], job="another"))),
            report("a", done(replace(a[0], frame=10**6))),
            report("a", done(stale)),
            report("a", done(never)),
            report("nobody", done(a[0])),
            report("b", FrameStarted(frame=a[0])),
            report("b", FrameProgress(frame=replace(b[0], epoch=10**9), fraction=0.9)),
            report("a", done(a[0])),
            report("b", done(b[0])),
        ],
    )
    assert answers(decisions) == [("a", a[0]), ("b", b[0])]
    refused = [message for _, message in sent(decisions) if isinstance(message, FrameRefused)]
    assert [one.reason for one in refused] == [
        "The job is gone.",
        "The job is gone.",
        "The frame is being rendered anew.",
        "This frame was never given out under that number.",
    ]
    assert [one.node for one in decisions if isinstance(one, Disconnect)] == ["nobody"]
    assert [frame for frame, state in states(farm).items() if state is FrameState.DONE] == [
        a[0].frame,
        b[0].frame,
    ]


def test_the_first_of_two_results_stays_and_both_are_acknowledged():
    farm = working()
    ref = farm.held("a")[0]
    first, second = done(ref), replace(done(ref), warnings=("the second",))
    decisions = together(farm, [report("a", first), report("a", second)])
    assert answers(decisions) == [("a", ref), ("a", ref)]
    record = farm.farm.state.jobs["j"].table.records[0]
    assert record.result is not None
    assert record.result.warnings == ()
    assert farm.farm.state.nodes["a"].frames_done == 1


def test_what_comes_after_the_end_of_a_frame_changes_nothing():
    farm = working(nodes="a")
    first = farm.held("a")[0]
    together(
        farm,
        [
            report("a", done(first)),
            report("a", FrameStarted(frame=first)),
            report("a", FrameProgress(frame=first, fraction=0.5)),
        ],
    )
    assert states(farm)[first.frame] is FrameState.DONE
    assert all(lease.started is None for lease in farm.farm.state.leases.values())


def test_the_last_of_them_ends_the_job():
    farm = working(frames="1-4")
    refs = [(node, ref) for node in "ab" for ref in farm.held(node)]
    assert len(refs) == 4
    decisions = together(farm, [report(node, done(ref)) for node, ref in refs])
    (job,) = [one.record for one in decisions if isinstance(one, SaveJob)]
    assert job.state is JobState.DONE
    assert len(answers(decisions)) == 4


def test_none_at_all_is_no_event():
    farm = working()
    assert together(farm, []) == []
