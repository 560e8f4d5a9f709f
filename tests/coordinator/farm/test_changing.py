"""A job changed while it runs: whom it may use, how urgent it is, its order and its limits."""

from __future__ import annotations

import pytest
from farm_builders import GIB, assigned, done, hello, machine, requirements, sent, spec, stored
from kept_farm import Kept
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobCancelled,
    JobChanged,
    NodeDisconnected,
    NodeJoined,
    Refusal,
    RetryRequested,
)
from rendermill.protocol.job import FrameOrder, Limits
from rendermill.protocol.messages import Assign, FrameStarted, LeasesReturned, Revoke
from rendermill.protocol.states import JobState


def finish_all(farm: Kept, *nodes: str) -> list[int]:
    """Let nodes render all they are given; return the frames in that order."""
    rendered = []
    while any(farm.held(node) for node in nodes):
        for node in nodes:
            if farm.held(node):
                rendered.append(farm.held(node)[0].frame)
                farm.say(node, done(farm.held(node)[0]))
    return rendered


def test_a_job_moves_to_the_nodes_it_is_told_and_begun_frames_stay() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-20"))
    begun, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=begun))
    decisions = farm.apply(JobChanged(job="j", nodes=("b",)))
    assert sent(decisions) == [
        ("a", Revoke(frames=(ahead,), reason="elsewhere", running_too=False))
    ]
    farm.say("a", LeasesReturned(frames=(ahead,), reason="elsewhere"))
    farm.say("a", done(begun))
    assert farm.held("a") == []
    assert farm.view().counts.done == 1
    # The choice survives a restart, and can be taken back.
    farm.restart()
    for node in "ab":
        farm.apply(NodeJoined(hello=hello(node, holding=tuple(farm.held(node)))))
    assert farm.held("a") == []
    assert farm.farm.spec("j").requires.nodes == ("b",)  # type: ignore[union-attr]
    assert assigned(farm.apply(JobChanged(job="j", nodes=())))["a"]
    finish_all(farm, "a", "b")
    assert farm.view().state is JobState.DONE


def test_a_job_can_name_a_node_that_is_away_and_says_so() -> None:
    farm = Kept("a", "b")
    farm.apply(NodeDisconnected(node="b", incarnation="i1"))
    farm.submit(wanted=spec("1", requires=requirements(nodes=("b",))))
    assert farm.view().waiting_because == (
        "Needs one of its named nodes: 1 node is another. "
        "1 node that could render it is not connected."
    )
    assert assigned(farm.apply(NodeJoined(hello=hello("b")))) == {"b": "1"}


def test_tags_and_memory_are_changed_like_nodes() -> None:
    farm = Kept()
    farm.join("small")
    farm.join("pool", machine=machine(tags=("fast",), memory_bytes=64 * GIB))
    farm.submit(wanted=spec("1-4", requires=requirements(tags=("slow",))))
    assert 'the tag "slow"' in farm.view().waiting_because
    assert set(assigned(farm.apply(JobChanged(job="j", tags=("fast",))))) == {"pool"}
    farm.apply(JobChanged(job="j", tags=(), memory_bytes=128 * GIB))
    finish_all(farm, "small", "pool")
    assert farm.view().counts.waiting
    assert "128.0 GiB of memory: 2 nodes have less" in farm.view().waiting_because
    farm.apply(JobChanged(job="j", memory_bytes=0))
    finish_all(farm, "small", "pool")
    assert farm.view().state is JobState.DONE


def test_fewer_nodes_let_running_frames_end_and_start_no_others() -> None:
    farm = Kept("a", "b", "c")
    farm.submit(wanted=spec("1-30"))
    for node in "abc":
        farm.say(node, FrameStarted(frame=farm.held(node)[0]))
    ahead = {node: farm.held(node)[1] for node in "abc"}
    farm.apply(JobChanged(job="j", max_nodes=1))
    for node in "abc":
        farm.say(node, LeasesReturned(frames=(ahead[node],), reason="elsewhere"))
        assert len(farm.held(node)) == 1
    farm.restart()
    for node in "abc":
        farm.apply(NodeJoined(hello=hello(node, holding=tuple(farm.held(node)))))
    farm.say("a", done(farm.held("a")[0]))
    farm.say("b", done(farm.held("b")[0]))
    assert farm.held("a") == farm.held("b") == []
    assert len(farm.view().nodes) == 1
    # The one that is left fetches ahead again; more nodes come back when they may.
    farm.say("c", done(farm.held("c")[0]))
    assert len(farm.view().nodes) == 1
    farm.apply(JobChanged(job="j", max_nodes=0))
    assert len(farm.view().nodes) == 3


def test_the_order_of_what_is_left_is_changed() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-9"))
    farm.apply(JobChanged(job="j", order=FrameOrder.BACKWARD))
    farm.restart()
    farm.apply(NodeJoined(hello=hello("a", holding=tuple(farm.held("a")))))
    assert finish_all(farm, "a") == [1, 2, 9, 8, 7, 6, 5, 4, 3]


def test_nodes_hear_of_changed_limits_with_their_next_frame() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-9"))
    limits = Limits(silent_seconds=30)
    farm.apply(JobChanged(job="j", limits=limits))
    decisions = farm.say("a", done(farm.held("a")[0]))
    told = [one for _, one in sent(decisions) if isinstance(one, Assign)]
    assert [one.spec.limits for one in told if one.spec] == [limits]
    decisions = farm.say("a", done(farm.held("a")[0]))
    assert all(one.spec is None for _, one in sent(decisions) if isinstance(one, Assign))


def test_an_ended_job_is_changed_before_it_is_tried_again() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-3"))
    farm.apply(JobCancelled(job="j"))
    farm.apply(JobChanged(job="j", nodes=("b",), priority=90))
    farm.restart()
    for node in "ab":
        farm.join(node)
    assert assigned(farm.apply(RetryRequested(job="j"))) == {"b": "1-2"}
    assert farm.view().priority == 90


def test_what_changes_nothing_stores_nothing() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-3"))
    same = JobChanged(job="j", nodes=(), max_nodes=0, priority=50, order=FrameOrder.FORWARD)
    assert stored(farm.apply(same)) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"priority": 101}, "A priority lies between 0 and 100, not 101."),
        ({"nodes": ("nobody",)}, "There is no node nobody."),
        ({"tags": (" x",)}, "without spaces around them"),
        ({"max_nodes": -1}, "cannot be negative"),
        ({"memory_bytes": -1}, "cannot be negative"),
        ({"limits": Limits(silent_seconds=-1)}, "cannot be negative"),
        ({"limits": Limits(frame_seconds=5, shortest_seconds=9)}, "must be below its longest"),
    ],
)
def test_what_no_job_can_have_is_refused(changes: dict, sentence: str) -> None:
    farm = Kept("a")
    farm.submit()
    before = farm.farm.spec("j")
    with pytest.raises(FarmRefusal, match=sentence):
        farm.apply(JobChanged(job="j", **changes))
    assert farm.farm.spec("j") == before
    with pytest.raises(FarmRefusal) as caught:
        farm.apply(JobChanged(job="nothing", priority=1))
    assert caught.value.kind is Refusal.UNKNOWN


def test_a_picture_is_the_jobs_newest_until_its_frame_is_rendered_anew() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-2"))

    def newest() -> int | None:
        view = farm.farm.job_view("j", farm.now)
        assert view is not None
        return view.thumbnail_frame

    farm.say("a", done(farm.held("a")[0], thumbnail="ab" * 32))
    assert newest() == 1
    farm.say("a", done(farm.held("a")[0]))
    assert newest() == 1
    farm.apply(RetryRequested(job="j", frames=(1,)))
    assert newest() is None
    farm.say("a", done(farm.held("a")[0], thumbnail="cd" * 32))
    assert newest() == 1
