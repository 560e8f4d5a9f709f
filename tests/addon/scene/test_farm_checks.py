"""What a scene asks for that the farm lacks; agrees with the coordinator's own matching."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.scene.farm_checks import check_farm
from rendermill.addon.scene.findings import Severity
from rendermill.coordinator.farm.matching import mismatch
from rendermill.protocol.job import Capability, Device, Requirements
from rendermill.protocol.machine import BlenderInfo, Gpu, Machine
from rendermill.protocol.states import NodeState
from rendermill.protocol.views import NodeView

GPU = Gpu(backend="CUDA", name="A card", id="CUDA_0")
WANTED = Requirements(blender=(4, 5, 3), engine="CYCLES")


def blender(**changes: object) -> BlenderInfo:
    plain = BlenderInfo(version=(4, 5, 3), path="/b", is_module=False, engines=("CYCLES",))
    return replace(plain, **changes)


def machine(*blenders: BlenderInfo, **changes: object) -> Machine:
    plain = Machine(
        hostname="one", system="Linux", cpu="x", cores=4, memory_bytes=8 << 30, blenders=blenders
    )
    return replace(plain, **changes)


def node(name: str, its: Machine, state: NodeState = NodeState.IDLE) -> NodeView:
    return NodeView(
        id=name,
        name=name,
        state=state,
        reason="",
        machine=its,
        software="",
        last_seen=0.0,
        load=0.0,
        memory_free_bytes=0,
        disk_free_bytes=0,
        job="",
        frame=None,
        progress=0.0,
        frames_done=0,
    )


def ids(requires: Requirements, *nodes: NodeView) -> list[str]:
    return [finding.id for finding in check_farm(requires, nodes)]


def test_a_farm_that_can_is_no_finding():
    assert ids(WANTED, node("one", machine(blender()))) == []


def test_no_node_at_all():
    assert ids(WANTED) == ["no_nodes"]


def test_a_version_that_nobody_has_is_named_with_those_there_are():
    (finding,) = check_farm(WANTED, [node("one", machine(blender(version=(5, 0, 1))))])
    assert finding.id == "no_version"
    assert finding.severity is Severity.ERROR
    assert "Blender 4.5; there is 5.0." in finding.what
    assert ids(WANTED, node("bare", machine())) == ["no_version"]


def test_an_engine_brings_the_reason_of_the_node():
    problem = "BLENDER_WORKBENCH: there is no OpenGL here."
    nodes = [node("one", machine(blender(problems=(problem,))))]
    (finding,) = check_farm(replace(WANTED, engine="BLENDER_WORKBENCH"), nodes)
    assert finding.id == "no_engine"
    assert "Workbench" in finding.what
    assert problem in finding.why


def test_a_gpu_and_each_capability_are_told_apart():
    wants = replace(
        WANTED, device=Device.GPU, capabilities=(Capability.OPENIMAGEDENOISE, Capability.OSL)
    )
    plain = node("plain", machine(blender()))
    assert ids(wants, plain) == ["no_gpu", "no_openimagedenoise", "no_osl"]
    gpu = node("gpu", machine(blender(gpus=(GPU,), capabilities=(Capability.OSL,))))
    assert ids(wants, plain, gpu) == ["no_openimagedenoise"]


def test_what_no_single_node_has():
    wants = replace(WANTED, device=Device.GPU, capabilities=(Capability.OSL,))
    gpu = node("gpu", machine(blender(gpus=(GPU,))))
    osl = node("osl", machine(blender(capabilities=(Capability.OSL,))))
    (finding,) = check_farm(wants, [gpu, osl])
    assert finding.id == "no_combination"
    assert "a GPU, osl" in finding.what


def test_tags_chosen_nodes_and_memory():
    one = node("one", machine(blender()))
    assert ids(replace(WANTED, tags=("studio",)), one) == ["no_such_node"]
    assert ids(replace(WANTED, nodes=("two",)), one) == ["no_such_node"]
    assert ids(replace(WANTED, memory_bytes=64 << 30), one) == ["no_such_node"]
    assert ids(WANTED, node("gpu", machine(blender(), gpu_only=True))) == ["no_such_node"]


def test_what_no_node_lacks_is_not_asked_for():
    one = node("one", machine(blender()))
    (finding,) = check_farm(replace(WANTED, tags=("studio",)), [one])
    assert finding.what == "No node of the farm has the tags studio."
    (finding,) = check_farm(WANTED, [node("gpu", machine(blender(), gpu_only=True))])
    assert finding.what == "No node of the farm renders on its processors."


def test_a_node_that_is_away_is_named():
    away = node("attic", machine(blender()), NodeState.OFFLINE)
    (finding,) = check_farm(WANTED, [away, node("bare", machine())])
    assert finding.id == "nodes_offline"
    assert "attic" in finding.what
    assert ids(WANTED, away, node("here", machine(blender()), NodeState.UNAVAILABLE)) == []


def test_another_patch_is_worth_a_note():
    other = node("one", machine(blender(version=(4, 5, 9))))
    (finding,) = check_farm(WANTED, [other])
    assert (finding.id, finding.severity) == ("other_patch", Severity.INFO)
    assert "4.5.9" in finding.what
    assert "4.5.3" in finding.what
    assert ids(WANTED, other, node("two", machine(blender()))) == []


capabilities = st.lists(st.sampled_from([Capability.OSL, Capability.USD]), unique=True).map(tuple)
blenders = st.builds(
    blender,
    version=st.sampled_from([(4, 5, 3), (5, 0, 1)]),
    engines=st.sampled_from([("CYCLES",), ("CYCLES", "BLENDER_WORKBENCH"), ()]),
    gpus=st.sampled_from([(), (GPU,)]),
    capabilities=capabilities,
)
machines = st.builds(
    lambda some, tags, gpu_only: machine(*some, tags=tags, gpu_only=gpu_only),
    st.lists(blenders, max_size=2),
    st.sampled_from([(), ("studio",)]),
    st.booleans(),
)
wishes = st.builds(
    Requirements,
    blender=st.just((4, 5, 3)),
    engine=st.sampled_from(["CYCLES", "BLENDER_WORKBENCH"]),
    device=st.sampled_from(Device),
    capabilities=capabilities,
    tags=st.sampled_from([(), ("studio",)]),
    nodes=st.sampled_from([(), ("0",), ("1",)]),
    memory_bytes=st.sampled_from([0, 8 << 30, 9 << 30]),
)


@given(wishes, st.lists(machines, max_size=3))
def test_says_just_what_the_coordinator_would_do(wanted: Requirements, some: list[Machine]):
    nodes = [node(str(number), its) for number, its in enumerate(some)]
    can = any(mismatch(wanted, each.id, each.machine) is None for each in nodes)
    told = [each for each in check_farm(wanted, nodes) if each.severity is not Severity.INFO]
    assert can == (not told), told
    for each in told:
        assert each.may_send
        for text in (each.what, each.why, each.fix):
            assert text[0].isupper()
            assert text.endswith(".")
