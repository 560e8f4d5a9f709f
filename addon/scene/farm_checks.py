"""What a scene asks for that no node of the farm has: a pure look at requirements and nodes.

The farm refuses no such job, it waits until a node joins that has it all. So an artist should know
before the scene is sent, and not after lunch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...protocol.job import Capability, Device, Requirements
from ...protocol.machine import BlenderInfo, Machine
from ...protocol.states import NodeState
from ...protocol.views import NodeView
from .findings import Finding, Severity, listed

_WAITS = "The job would wait until a node joins that has it."

_CAPABILITIES = {
    Capability.OPENIMAGEDENOISE: "denoise with OpenImageDenoise",
    Capability.OSL: "run Open Shading Language",
    Capability.ALEMBIC: "read Alembic",
    Capability.USD: "read USD",
    Capability.OPENVDB: "read OpenVDB",
    Capability.OPENGL: "draw with a graphics context (EEVEE, Workbench, grease pencil)",
    Capability.FFMPEG: "read and write video",
    Capability.AUDASPACE: "mix sound",
    Capability.FLUID: "read fluid simulations",
}
"""What each capability is for, after "can"."""

_ENGINES = {
    "CYCLES": "Cycles",
    "BLENDER_EEVEE": "EEVEE",
    "BLENDER_EEVEE_NEXT": "EEVEE",
    "BLENDER_WORKBENCH": "Workbench",
}


def check_farm(requires: Requirements, nodes: Iterable[NodeView]) -> list[Finding]:
    """Return what of ``requires`` the farm lacks, in the order in which it is to be mended.

    ``nodes`` are all nodes the farm knows. Those that are offline count only where no other could
    render the job. Of a farm that can render it, at most notes come back.
    """
    known = tuple(nodes)
    online = tuple(node for node in known if node.state is not NodeState.OFFLINE)
    lacking = list(_lacking(requires, online))
    if not lacking:
        return list(_other_patch(requires, online))
    away = [node.name for node in known if not list(_lacking(requires, (node,)))]
    if away:
        return [
            Finding(
                Severity.WARNING,
                f"The only nodes that can render this are offline: {listed(sorted(away))}.",
                "The job would wait until one of them is back.",
                "Start one of them.",
                id="nodes_offline",
            )
        ]
    return lacking


def unknown_nodes(names: Iterable[str], *, is_farm_known: bool) -> Finding:
    """Return what is to be said of nodes that the scene names and nobody has heard of."""
    listed_names = ", ".join(f'"{name}"' for name in names)
    return Finding(
        Severity.FATAL,
        f"The farm {'has' if is_farm_known else 'is not found, so there is'} no node called "
        f"{listed_names}.",
        "Only the nodes named in the options of the job may take it.",
        "Choose other nodes under Output > Farm > Options.",
        id="unknown_nodes",
    )


def _lacking(requires: Requirements, nodes: tuple[NodeView, ...]) -> Iterator[Finding]:
    """Yield why none of these nodes can render the job; nothing where one can."""
    if not nodes:
        yield Finding(
            Severity.WARNING,
            "The farm has no node at the moment.",
            "The job would wait until one joins.",
            "Let this computer render for the farm (preferences), or start a node on another.",
            id="no_nodes",
        )
        return
    able = tuple(node for node in nodes if _may_run(requires, node))
    if not able:
        yield _nobody_asked(requires, nodes)
        return
    versions = [(node, blender) for node in able for blender in _of_version(requires, node.machine)]
    if not versions:
        yield _no_version(requires, able)
        return
    engines = [pair for pair in versions if requires.engine in pair[1].engines]
    if not engines:
        yield _no_engine(requires, versions)
        return
    yield from _parts(requires, engines)


def _may_run(requires: Requirements, node: NodeView) -> bool:
    machine = node.machine
    return (
        (not requires.nodes or node.id in requires.nodes)
        and set(requires.tags) <= set(machine.tags)
        and not (machine.gpu_only and requires.device is Device.CPU)
        and requires.memory_bytes <= machine.memory_bytes
    )


def _nobody_asked(requires: Requirements, nodes: tuple[NodeView, ...]) -> Finding:
    asked: list[str] = []
    if requires.nodes:
        asked.append("is one of the chosen nodes")
    if requires.tags:
        asked.append(f"has the tags {listed(list(requires.tags))}")
    if requires.memory_bytes:
        asked.append(f"has {requires.memory_bytes / 2**30:.1f} GiB of memory")
    # Seldom what it is about: most nodes do.
    if requires.device is Device.CPU and any(node.machine.gpu_only for node in nodes):
        asked.append("renders on its processors")
    return Finding(
        Severity.ERROR,
        f"No node of the farm {' and '.join(asked)}.",
        "The job would wait until one joins that does.",
        "Ask for less in Output > Farm > Options.",
        id="no_such_node",
    )


def _of_version(requires: Requirements, machine: Machine) -> tuple[BlenderInfo, ...]:
    wanted = requires.blender[:2]
    return tuple(blender for blender in machine.blenders if blender.version[:2] == wanted)


def _no_version(requires: Requirements, nodes: tuple[NodeView, ...]) -> Finding:
    major, minor, _ = requires.blender
    present = sorted({blender.version[:2] for node in nodes for blender in node.machine.blenders})
    has = listed([f"{one}.{two}" for one, two in present])
    return Finding(
        Severity.ERROR,
        f"No node of the farm has Blender {major}.{minor}"
        + (f"; there is {has}." if has else ", nor any other."),
        "Another version would render other pictures. " + _WAITS,
        f"Install Blender {major}.{minor} on a node, or work in a version that the farm has.",
        id="no_version",
    )


def _no_engine(requires: Requirements, able: list[tuple[NodeView, BlenderInfo]]) -> Finding:
    engine = _ENGINES.get(requires.engine, requires.engine)
    reasons = [
        problem for _, blender in able for problem in blender.problems if requires.engine in problem
    ]
    return Finding(
        Severity.ERROR,
        f"No node of the farm can render with {engine}.",
        " ".join(filter(None, (*reasons[:1], _WAITS))),
        "Choose another engine, or give a node what it lacks (the farm's web page says what).",
        id="no_engine",
    )


def _parts(requires: Requirements, able: list[tuple[NodeView, BlenderInfo]]) -> Iterator[Finding]:
    """Yield what no Blender of the right version and engine has; a mixture, where each has some."""
    found = False
    if requires.device is Device.GPU and not any(blender.gpus for _, blender in able):
        found = True
        yield Finding(
            Severity.ERROR,
            "Cycles is set to GPU Compute, and no node of the farm has a GPU.",
            "The farm does not change the device by itself. " + _WAITS,
            "Set the device to CPU, or let a computer with a GPU join.",
            id="no_gpu",
        )
    for capability in requires.capabilities:
        if any(capability in blender.capabilities for _, blender in able):
            continue
        found = True
        yield Finding(
            Severity.ERROR,
            f"No node of the farm can {_CAPABILITIES[capability]}.",
            "Its frames would come out wrong there, so none is tried. " + _WAITS,
            "Turn it off in the scene, or let a node join whose Blender was built with it.",
            id=f"no_{capability.value}",
        )
    if not found and not any(_has_all(requires, blender) for _, blender in able):
        wanted = [capability.value for capability in requires.capabilities]
        if requires.device is Device.GPU:
            wanted.insert(0, "a GPU")
        yield Finding(
            Severity.ERROR,
            f"No single node of the farm has all of {listed(wanted)}.",
            "Each is on some node, and a frame is rendered on one. " + _WAITS,
            "Turn one of them off in the scene, or give one node all of them.",
            id="no_combination",
        )


def _has_all(requires: Requirements, blender: BlenderInfo) -> bool:
    has_device = requires.device is Device.CPU or bool(blender.gpus)
    return has_device and set(requires.capabilities) <= set(blender.capabilities)


def _other_patch(requires: Requirements, nodes: tuple[NodeView, ...]) -> Iterator[Finding]:
    """Say where the nodes that can render the job have another patch of the same Blender."""
    versions = {
        blender.version
        for node in nodes
        if _may_run(requires, node)
        for blender in _of_version(requires, node.machine)
        if requires.engine in blender.engines and _has_all(requires, blender)
    }
    others = sorted(versions - {requires.blender})
    if others and requires.blender not in versions:
        names = listed([".".join(map(str, version)) for version in others])
        mine = ".".join(map(str, requires.blender))
        yield Finding(
            Severity.INFO,
            f"The farm renders with Blender {names}, and this is {mine}.",
            "Patches of one version should make the same pictures, apart from bugs that they mend.",
            id="other_patch",
        )
