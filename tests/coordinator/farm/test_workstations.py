"""Nodes of people: what the farm does with one that comes and goes, and with its settings."""

from __future__ import annotations

import pytest
from farm_builders import (
    GPU,
    Scenario,
    assigned,
    blender,
    gpu_requirements,
    hello,
    machine,
    requirements,
    sent,
    spec,
    stored,
)
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import SaveNode
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobSubmitted,
    NodeConfigured,
    NodeDisconnected,
    NodeJoined,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.protocol.job import JobSpec
from rendermill.protocol.messages import (
    Availability,
    ConfigureNode,
    FrameStarted,
    LeasesReturned,
    MachineChanged,
    Welcome,
)
from rendermill.protocol.node_settings import FarmSettings, NodeSettings
from rendermill.protocol.states import NodeState
from rendermill.protocol.views import NodeView

AWAY = Availability(available=True, changes_at=9000.0)
THERE = Availability(available=False, reason="Its user is there.", changes_at=1600.0)


@pytest.fixture
def farm() -> Scenario:
    return Scenario(Farm(FarmConfig()))


def submit(farm: Scenario, job: JobSpec) -> dict[str, str]:
    event = JobSubmitted(job="j", spec=job, manifest="m", scene_bytes=1, scene_files=1)
    return assigned(farm.apply(event))


def view(farm: Scenario, node: str) -> NodeView:
    found = farm.farm.node_view(node, farm.now)
    assert found is not None
    return found


def test_a_node_whose_user_is_there_when_it_joins_gets_nothing(farm: Scenario) -> None:
    farm.join("n", availability=THERE)
    assert submit(farm, spec("1-4")) == {}
    shown = view(farm, "n")
    assert (shown.state, shown.reason) == (NodeState.UNAVAILABLE, "Its user is there.")
    assert shown.changes_at == 1600.0


def test_it_gets_frames_when_its_user_goes(farm: Scenario) -> None:
    farm.join("n", availability=THERE)
    submit(farm, spec("1-4"))
    assert assigned(farm.say("n", AWAY)) == {"n": "1-2"}
    shown = view(farm, "n")
    assert (shown.state, shown.reason, shown.changes_at) == (NodeState.RENDERING, "", 9000.0)


def test_a_frame_handed_back_for_its_user_counts_as_no_failure(farm: Scenario) -> None:
    farm.join("n")
    submit(farm, spec("1-4"))
    held = farm.held("n")
    farm.say("n", FrameStarted(frame=held[0]))
    assert assigned(farm.say("n", THERE)) == {}
    back = LeasesReturned(frames=tuple(held), reason="Its user is there.")
    assert assigned(farm.say("n", back)) == {}
    for frame in (1, 2):
        shown = farm.farm.frame_view("j", frame)
        assert shown is not None
        assert (shown.state.value, shown.failures, shown.problem) == ("waiting", 0, "")
    farm.join("other")
    assert {ref.frame for ref in farm.held("other")} == {1, 2}
    # Nor is anything held against the node: it is given frames as soon as it takes some.
    assert assigned(farm.say("n", AWAY, after=10.0)) == {"n": "3-4"}


def test_what_it_finishes_with_its_user_there_is_shown_with_the_reason(farm: Scenario) -> None:
    farm.join("n")
    submit(farm, spec("1"))
    farm.say("n", FrameStarted(frame=farm.held("n")[0]))
    farm.say("n", THERE)
    shown = view(farm, "n")
    assert (shown.state, shown.reason) == (NodeState.RENDERING, "Its user is there.")


def test_tags_set_here_count_at_once(farm: Scenario) -> None:
    farm.join("n")
    assert submit(farm, spec("1-4", requirements(tags=("fast",)))) == {}
    event = NodeConfigured(node="n", changes=FarmSettings(tags=("fast", "big")))
    decisions = farm.apply(event)
    assert assigned(decisions) == {"n": "1-2"}
    assert ("n", ConfigureNode(settings=FarmSettings(tags=("big", "fast")))) in sent(decisions)
    (saved,) = {one.record for one in stored(decisions) if isinstance(one, SaveNode)}
    assert saved.farm_settings == FarmSettings(tags=("big", "fast"))
    assert view(farm, "n").machine.tags == ("big", "fast")


def test_a_tag_taken_away_leaves_what_is_held_and_gives_no_more(farm: Scenario) -> None:
    settings = NodeSettings(tags=("fast",))
    farm.join("n", settings=settings, machine=machine(tags=("fast",)))
    submit(farm, spec("1-4", requirements(tags=("fast",))))
    farm.apply(NodeConfigured(node="n", changes=FarmSettings(tags=())))
    assert {ref.frame for ref in farm.held("n")} == {1, 2}
    back = LeasesReturned(frames=tuple(farm.held("n")), reason="for the test")
    assert assigned(farm.say("n", back, after=1.0)) == {}
    assert assigned(
        farm.apply(NodeConfigured(node="n", changes=FarmSettings(), reset=("tags",)), 10.0)
    ) == {"n": "1-2"}


def test_its_own_settings_hold_where_none_are_set_here(farm: Scenario) -> None:
    own = NodeSettings(tags=("desk",), schedule="mon-fri 19:00-07:30", idle_minutes=10.0)
    farm.join("n", settings=own, machine=machine(tags=("desk",)))
    farm.apply(NodeConfigured(node="n", changes=FarmSettings(idle_minutes=0.0)))
    shown = view(farm, "n")
    assert shown.settings == NodeSettings(tags=("desk",), schedule="mon-fri 19:00-07:30")
    assert shown.farm_settings == FarmSettings(idle_minutes=0.0)


def test_what_is_set_here_is_said_with_every_welcome(farm: Scenario) -> None:
    farm.join("n", settings=NodeSettings(tags=("desk",)), machine=machine(tags=("desk",)))
    farm.apply(NodeConfigured(node="n", changes=FarmSettings(tags=("fast",))))
    farm.apply(NodeDisconnected(node="n", incarnation="i1"))
    decisions = farm.apply(
        NodeJoined(hello=hello("n", "i2", machine=machine(tags=("desk",)))), after=1.0
    )
    (welcome,) = [message for _, message in sent(decisions) if isinstance(message, Welcome)]
    assert welcome.settings == FarmSettings(tags=("fast",))
    assert view(farm, "n").machine.tags == ("fast",)


def test_a_node_that_is_away_can_be_set(farm: Scenario) -> None:
    farm.join("n")
    farm.apply(NodeDisconnected(node="n", incarnation="i1"))
    decisions = farm.apply(NodeConfigured(node="n", changes=FarmSettings(tags=("fast",))))
    assert sent(decisions) == []
    assert view(farm, "n").machine.tags == ("fast",)


def test_a_new_probe_keeps_the_tags_set_here(farm: Scenario) -> None:
    farm.join("n")
    farm.apply(NodeConfigured(node="n", changes=FarmSettings(tags=("fast",))))
    farm.say("n", MachineChanged(machine=machine(blender(), blender((5, 0, 0)))))
    assert view(farm, "n").machine.tags == ("fast",)


def test_settings_of_a_node_that_is_none_are_refused(farm: Scenario) -> None:
    with pytest.raises(FarmRefusal, match="There is no node x"):
        farm.apply(NodeConfigured(node="x", changes=FarmSettings(tags=("a",))))


def test_settings_survive_a_restart_of_the_coordinator(farm: Scenario) -> None:
    farm.join("n")
    decisions = farm.apply(
        NodeConfigured(node="n", changes=FarmSettings(schedule="sat 08:00-09:00"))
    )
    records = [one.record for one in stored(decisions) if isinstance(one, SaveNode)]
    again = Farm(FarmConfig())
    again.restore([], [], records[-1:], 1, farm.now)
    shown = again.node_view("n", farm.now)
    assert shown is not None
    assert shown.settings.schedule == "sat 08:00-09:00"


def test_a_slot_for_a_gpu_gets_no_frames_for_the_processors(farm: Scenario) -> None:
    with_gpu = machine(blender(gpus=(GPU,)), gpu_only=True)
    farm.join("gpu", machine=with_gpu)
    assert submit(farm, spec("1-4")) == {}
    shown = farm.farm.job_view("j", farm.now)
    assert shown is not None
    assert "renders on its processors: 1 node is for its GPU only" in shown.waiting_because
    farm.join("cpu")
    assert {ref.frame for ref in farm.held("cpu")} == {1, 2}


def test_a_slot_for_a_gpu_gets_frames_for_one(farm: Scenario) -> None:
    farm.join("gpu", machine=machine(blender(gpus=(GPU,)), gpu_only=True))
    assert submit(farm, spec("1-4", gpu_requirements())) == {"gpu": "1-2"}
