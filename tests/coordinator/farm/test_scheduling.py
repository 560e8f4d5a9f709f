"""Who renders what next: these events, exactly these decisions."""

from __future__ import annotations

import pytest
from farm_builders import (
    GIB,
    GPU,
    Scenario,
    assigned,
    blender,
    done,
    gpu_requirements,
    machine,
    requirements,
    sent,
    spec,
    stored,
)
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import (
    Changed,
    Decision,
    Publish,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
    Send,
)
from rendermill.coordinator.farm.events import (
    JobCancelled,
    JobChanged,
    JobPaused,
    JobResumed,
    JobSubmitted,
    ScoutsApproved,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.frames import BinaryOrder
from rendermill.protocol.job import Capability, FrameOrder, JobSpec
from rendermill.protocol.messages import (
    Assign,
    FrameProgress,
    FrameRef,
    FrameStarted,
    LeasesReturned,
    Revoke,
)
from rendermill.protocol.states import FrameState, JobState, WaitingKind


@pytest.fixture
def farm() -> Scenario:
    return Scenario(Farm(FarmConfig()))


def submit(
    farm: Scenario, job: str, wanted: JobSpec | None = None, manifest: str = "m"
) -> list[Decision]:
    return farm.apply(
        JobSubmitted(
            job=job, spec=wanted or spec(), manifest=manifest, scene_bytes=10, scene_files=2
        )
    )


def view(farm: Scenario, job: str):
    found = farm.farm.job_view(job, farm.now)
    assert found is not None
    return found


def test_a_job_on_an_idle_node_is_stored_leased_and_sent_in_that_order(farm: Scenario) -> None:
    farm.join("a")
    wanted = spec("1-3")
    decisions = submit(farm, "j", wanted)
    refs = tuple(FrameRef(job="j", generation=1, frame=frame, epoch=frame) for frame in (1, 2))
    assert [type(one) for one in decisions] == [
        SaveEpochCeiling,
        SaveJob,
        SaveFrames,
        Send,
        Publish,
        Publish,
        Publish,
    ]
    assert decisions[3] == Send(
        node="a",
        incarnation="i1",
        message=Assign(job="j", frames=refs, manifest="m", spec=wanted),
    )
    assert [one.kind for one in decisions if isinstance(one, Publish)] == [
        Changed.JOB,
        Changed.FRAME,
        Changed.NODE,
    ]
    assert view(farm, "j").state is JobState.RENDERING


def test_the_spec_travels_once_for_each_connection(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-4"))
    again = sent(farm.say("a", done(farm.held("a")[0])))
    assert [message.spec for _, message in again if isinstance(message, Assign)] == [None]


def test_a_job_of_100000_frames_is_one_row(farm: Scenario) -> None:
    decisions = submit(farm, "j", spec("1-100000"))
    assert [type(one) for one in stored(decisions)] == [SaveJob]
    decisions = farm.apply(JobCancelled(job="j"))
    assert [type(one) for one in stored(decisions)] == [SaveJob]
    assert view(farm, "j").counts.cancelled == 100_000


def test_every_idle_node_gets_a_frame_before_any_gets_two(farm: Scenario) -> None:
    for node in "abc":
        farm.join(node)
    assert assigned(submit(farm, "j", spec("1-4"))) == {"a": "1, 4", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("order", "frames"),
    [
        (FrameOrder.FORWARD, [1, 2, 3, 4, 5]),
        (FrameOrder.BACKWARD, [5, 4, 3, 2, 1]),
        (FrameOrder.BINARY, [1, 5, 3, 2, 4]),
    ],
)
def test_frames_are_handed_out_in_the_order_asked_for(
    farm: Scenario, order: FrameOrder, frames: list[int]
) -> None:
    submit(farm, "j", spec("1-5", order=order))
    farm.join("a")
    rendered = []
    while held := farm.held("a"):
        rendered.append(held[0].frame)
        farm.say("a", done(held[0]))
    assert rendered == frames
    assert view(farm, "j").state is JobState.DONE


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000])
def test_binary_order_has_every_frame_once(count: int) -> None:
    assert sorted(BinaryOrder(count)) == list(range(count))


def test_a_more_urgent_job_takes_the_next_free_node_and_no_running_frame(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "low", spec("1-5"))
    running, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=running))
    decisions = submit(farm, "high", spec("1-5", priority=90))
    revoke = Revoke(frames=(ahead,), reason="elsewhere", running_too=False)
    assert sent(decisions) == [("a", revoke)]
    decisions = farm.say("a", LeasesReturned(frames=(ahead,), reason="elsewhere"))
    assert [ref.job for ref in farm.held("a")] == ["low", "high"]
    assert assigned(decisions) == {"a": "1"}


def test_submitters_of_equal_priority_get_equal_shares(farm: Scenario) -> None:
    for node in "abcd":
        farm.join(node)
    submit(farm, "first", spec("1-100", submitter="ada"))
    submit(farm, "second", spec("1-100", submitter="bob"))
    for _ in range(6):
        for node in "abcd":
            farm.say(node, done(farm.held(node)[0]))
    jobs = [ref.job for node in "abcd" for ref in farm.held(node)]
    assert jobs.count("first") == jobs.count("second") == 4


def test_max_nodes_holds(farm: Scenario) -> None:
    for node in "abc":
        farm.join(node)
    assert assigned(submit(farm, "j", spec("1-9", max_nodes=1))) == {"a": "1-2"}


def test_the_node_that_has_the_scene_is_preferred(farm: Scenario) -> None:
    farm.join("a")
    farm.join("b", scenes=("m",))
    assert assigned(submit(farm, "j", spec("1"))) == {"b": "1"}


def test_scouts_first_and_the_rest_after_approval(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-9", scouts=True))
    rendered = []
    while held := farm.held("a"):
        rendered.append(held[0].frame)
        farm.say("a", done(held[0]))
    assert rendered == [1, 5, 9]
    assert "approve" in view(farm, "j").waiting_because
    assert view(farm, "j").waiting_kind is WaitingKind.SCOUTS
    assert assigned(farm.apply(ScoutsApproved(job="j"))) == {"a": "2-3"}


def test_a_job_waits_for_the_job_it_depends_on(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "bake", spec("1", name="bake"))
    submit(farm, "light", spec("1", depends_on=("bake",)))
    assert view(farm, "light").waiting_because == 'Waits for the job "bake".'
    assert view(farm, "light").waiting_kind is WaitingKind.JOB
    assert view(farm, "bake").waiting_kind is WaitingKind.NOTHING
    decisions = farm.say("a", done(farm.held("a")[0]))
    assert farm.held("a")[0].job == "light"
    assert assigned(decisions) == {"a": "1"}


def test_a_late_joiner_takes_over_what_waits_behind_a_running_frame(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-2"))
    running, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=running))
    decisions = farm.join("b")
    revoke = Revoke(frames=(ahead,), reason="elsewhere", running_too=False)
    assert ("a", revoke) in sent(decisions)
    decisions = farm.say("a", LeasesReturned(frames=(ahead,), reason="elsewhere"))
    assert assigned(decisions) == {"b": "2"}


def test_a_frame_begun_before_the_revocation_arrived_stays_where_it_is(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-2"))
    running, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=running))
    farm.join("b")
    farm.say("a", FrameStarted(frame=ahead))
    assert farm.held("b") == []
    assert [ref.frame for ref in farm.held("a")] == [1, 2]


def test_the_straggler_gets_a_copy_and_the_loser_is_stopped(farm: Scenario) -> None:
    farm.join("slow")
    farm.join("fast")
    submit(farm, "j", spec("1-4"))
    farm.say("slow", FrameStarted(frame=farm.held("slow")[0]))
    farm.say("fast", done(farm.held("fast")[0], seconds=1.0), after=1.0)
    farm.say("slow", done(farm.held("slow")[0], seconds=10.0), after=9.0)
    slow = farm.held("slow")[0]
    farm.say("slow", FrameStarted(frame=slow))
    farm.say("fast", done(farm.held("fast")[0], seconds=1.0), after=1.0)
    assert farm.held("fast") == []
    due = farm.farm.next_wakeup(farm.now)
    assert due == farm.now
    decisions = farm.say("slow", FrameProgress(frame=slow, fraction=0.1), after=0.1)
    assert assigned(decisions) == {"fast": str(slow.frame)}
    copy = farm.held("fast")[0]
    decisions = farm.say("fast", done(copy), after=1.0)
    assert ("slow", Revoke(frames=(slow,), reason="elsewhere", running_too=True)) in sent(decisions)
    assert farm.farm.result("j", slow.frame).epoch == copy.epoch  # type: ignore[union-attr]


def test_pause_lets_running_frames_finish_and_resume_goes_on(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-5"))
    running, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=running))
    decisions = farm.apply(JobPaused(job="j"))
    revoke = Revoke(frames=(ahead,), reason="paused", running_too=False)
    assert sent(decisions) == [("a", revoke)]
    farm.say("a", LeasesReturned(frames=(ahead,), reason="paused"))
    farm.say("a", done(running))
    assert farm.held("a") == []
    assert view(farm, "j").waiting_because == "Paused."
    assert view(farm, "j").waiting_kind is WaitingKind.PAUSED
    assert assigned(farm.apply(JobResumed(job="j"))) == {"a": "2-3"}


def test_cancel_stops_running_frames_and_keeps_the_finished(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-5"))
    farm.say("a", done(farm.held("a")[0]))
    held = tuple(farm.held("a"))
    decisions = farm.apply(JobCancelled(job="j"))
    assert sent(decisions)[0] == ("a", Revoke(frames=held, reason="cancelled", running_too=True))
    counts = view(farm, "j").counts
    assert (counts.done, counts.cancelled) == (1, 4)
    assert stored(farm.apply(JobCancelled(job="j"))) == []


def test_a_changed_priority_counts_at_once(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "one", spec("1-9"))
    submit(farm, "two", spec("1-9"))
    farm.apply(JobChanged(job="two", priority=80))
    farm.say("a", done(farm.held("a")[0]))
    assert farm.held("a")[-1].job == "two"


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (
            spec(requires=requirements(blender=(4, 2, 0))),
            "Needs Blender 4.2: 2 nodes have 4.5 only.",
        ),
        (spec(requires=gpu_requirements()), "Needs a GPU: 2 nodes have none."),
        (
            spec(requires=requirements(engine="BLENDER_WORKBENCH")),
            "Needs the engine BLENDER_WORKBENCH in Blender 4.5: 2 nodes cannot run it.",
        ),
        (
            spec(requires=requirements(capabilities=(Capability.OSL,))),
            "Needs a Blender 4.5 with osl: 2 nodes have none.",
        ),
        (
            spec(requires=requirements(memory_bytes=64 * GIB)),
            "Needs 64.0 GiB of memory: 2 nodes have less.",
        ),
        (
            spec(requires=requirements(tags=("big",))),
            'Needs the tag "big": 2 nodes do not have it.',
        ),
        (
            spec(requires=requirements(nodes=("c",))),
            "Needs one of its named nodes: 2 nodes are others.",
        ),
    ],
)
def test_a_job_that_nothing_can_run_says_why(farm: Scenario, job: JobSpec, reason: str) -> None:
    farm.join("a")
    farm.join("b")
    assert not assigned(submit(farm, "j", job))
    assert view(farm, "j").waiting_because == reason
    assert view(farm, "j").waiting_kind is WaitingKind.NO_NODE


def test_a_job_behind_another_waits_for_its_turn(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "first", spec("1-9"))
    submit(farm, "second", spec("1-9"))
    assert view(farm, "second").waiting_because == "Waits for a free node."
    assert view(farm, "second").waiting_kind is WaitingKind.TURN


def test_every_requirement_is_met_by_the_node_that_meets_it(farm: Scenario) -> None:
    able = blender((4, 5, 99), gpus=(GPU,), capabilities=(Capability.OSL,))
    farm.join("a")
    farm.join("b", machine=machine(blender((4, 2, 1)), able, tags=("big",), memory_bytes=64 * GIB))
    needs = requirements(
        capabilities=(Capability.OSL,), tags=("big",), nodes=("b",), memory_bytes=32 * GIB
    )
    assert assigned(submit(farm, "j", spec("1", needs))) == {"b": "1"}


def test_frame_times_that_cannot_be_do_no_harm(farm: Scenario) -> None:
    farm.join("a")
    submit(farm, "j", spec("1-400"))
    for seconds in (1e-3, 1.7e308, -5.0, 0.0, 1.7e308, 1.0):
        farm.say("a", done(farm.held("a")[0], seconds))
    job = view(farm, "j")
    assert job.eta_seconds is not None
    assert 0 < job.eta_seconds < 1e12
    assert job.mean_frame_seconds is not None
    assert 0 < job.mean_frame_seconds <= 1e7


def test_eta_has_a_range_and_counts_all_nodes(farm: Scenario) -> None:
    for node in "ab":
        farm.join(node)
    submit(farm, "j", spec("1-100"))
    for _ in range(10):
        for node in "ab":
            farm.say(node, done(farm.held(node)[0], seconds=10.0), after=5.0)
    one = view(farm, "j")
    assert one.eta_seconds == pytest.approx(400, rel=0.1)
    assert one.eta_low_seconds is not None
    assert one.eta_high_seconds is not None
    assert one.eta_low_seconds < one.eta_seconds < one.eta_high_seconds


def test_listing_pages_newest_first(farm: Scenario) -> None:
    for number in range(5):
        submit(farm, f"j{number}", spec("1-3"))
    page = farm.farm.jobs(farm.now, limit=2)
    assert [job.id for job in page.jobs] == ["j4", "j3"]
    page = farm.farm.jobs(farm.now, limit=9, after=page.next)
    assert ([job.id for job in page.jobs], page.next) == (["j2", "j1", "j0"], None)
    frames = farm.farm.frames("j0", state=FrameState.WAITING, after=1, limit=1)
    assert frames is not None
    assert ([one.frame for one in frames.frames], frames.next) == ([2], 2)
