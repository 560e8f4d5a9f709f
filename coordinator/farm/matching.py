"""Which node can render which job: requirements against what nodes probed, and why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...protocol.job import Device, Requirements
from ...protocol.machine import BlenderInfo, Machine

_REASONS_SHOWN = 3
"""Different reasons told in one sentence; more would not be read."""
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a node cannot render a job."""

    needs: str
    """What the job needs: "Blender 4.2"."""
    has: str
    """What the node has instead, with the verb for one node: "has 4.5 only"."""
    have: str
    """The same for several: "have 4.5 only"."""


def shared_requirements(requires: Requirements) -> Requirements:
    """Return what two jobs must have in common to fit exactly the same nodes, memory aside.

    The patch of Blender's version and the order of lists make no difference; memory differs from
    scene to scene and is compared job by job (`fits_memory`).
    """
    major, minor, _ = requires.blender
    return replace(
        requires,
        blender=(major, minor, 0),
        memory_bytes=0,
        capabilities=tuple(sorted(set(requires.capabilities))),
        tags=tuple(sorted(set(requires.tags))),
        nodes=tuple(sorted(set(requires.nodes))),
    )


def fits_memory(requires: Requirements, machine: Machine) -> bool:
    """Whether the machine has the memory the job asks for."""
    return requires.memory_bytes <= machine.memory_bytes


def mismatch(requires: Requirements, node: str, machine: Machine) -> Mismatch | None:
    """Return the first requirement a node does not meet, None when it meets all."""
    if requires.nodes and node not in requires.nodes:
        return Mismatch("one of its named nodes", "is another", "are others")
    for tag in requires.tags:
        if tag not in machine.tags:
            return Mismatch(f'the tag "{tag}"', "does not have it", "do not have it")
    if machine.gpu_only and requires.device is Device.CPU:
        needs = "a node that renders on its processors"
        return Mismatch(needs, "is for its GPU only", "are for their GPU only")
    if not fits_memory(requires, machine):
        need = f"{requires.memory_bytes / _GIB:.1f} GiB of memory"
        return Mismatch(need, "has less", "have less")
    return _blender_mismatch(requires, machine.blenders)


def _blender_mismatch(requires: Requirements, blenders: tuple[BlenderInfo, ...]) -> Mismatch | None:
    major, minor, _ = requires.blender
    version = f"Blender {major}.{minor}"
    able = [blender for blender in blenders if blender.version[:2] == (major, minor)]
    if not able:
        others = sorted({blender.version[:2] for blender in blenders})
        if not others:
            return Mismatch(version, "has no Blender", "have no Blender")
        only = ", ".join(f"{one}.{two}" for one, two in others) + " only"
        return Mismatch(version, f"has {only}", f"have {only}")
    able = [blender for blender in able if requires.engine in blender.engines]
    if not able:
        need = f"the engine {requires.engine} in {version}"
        return Mismatch(need, "cannot run it", "cannot run it")
    if requires.device is Device.GPU:
        able = [blender for blender in able if blender.gpus]
        if not able:
            return Mismatch("a GPU", "has none", "have none")
    for capability in requires.capabilities:
        able = [blender for blender in able if capability in blender.capabilities]
        if not able:
            need = f"a {version} with {capability.value}"
            return Mismatch(need, "has none", "have none")
    return None


def explain(mismatches: Iterable[Mismatch]) -> str:
    """Return one sentence for a job that no node can render: what is missing, on how many nodes."""
    counted = Counter(mismatches)
    if not counted:
        return "No node is connected."
    by_need: dict[str, list[str]] = {}
    for reason, count in counted.most_common(_REASONS_SHOWN):
        nodes = f"1 node {reason.has}" if count == 1 else f"{count} nodes {reason.have}"
        by_need.setdefault(reason.needs, []).append(nodes)
    sentence = "; ".join(f"needs {need}: {', '.join(have)}" for need, have in by_need.items())
    rest = sum(counted.values()) - sum(count for _, count in counted.most_common(_REASONS_SHOWN))
    if rest:
        sentence += f"; {rest} more do not fit either"
    return sentence[0].upper() + sentence[1:] + "."
