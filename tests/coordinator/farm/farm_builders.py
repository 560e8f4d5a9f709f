"""Jobs, machines and messages for tests of the farm; what does not matter is filled in."""

from __future__ import annotations

from rendermill.coordinator.farm.decisions import Decision, Publish, Send
from rendermill.coordinator.farm.events import MessageReceived, NodeJoined
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.validate import validate
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.frames import format_frames
from rendermill.protocol.job import Device, FrameImage, JobKind, JobSpec, Requirements
from rendermill.protocol.machine import BlenderInfo, Gpu, Machine
from rendermill.protocol.messages import (
    Assign,
    FrameDone,
    FrameFile,
    FrameRef,
    FrameStats,
    Hello,
    NodeMessage,
)

GIB = 1024**3
GPU = Gpu(backend="OPTIX", name="RTX", id="OPTIX_0")


def requirements(**changes: object) -> Requirements:
    fields: dict[str, object] = {"blender": (4, 5, 15), "engine": "CYCLES"}
    return Requirements(**(fields | changes))  # type: ignore[arg-type]


def spec(frames: str = "1-10", requires: Requirements | None = None, **changes: object) -> JobSpec:
    fields: dict[str, object] = {
        "name": "shot",
        "submitter": "ada@desk",
        "kind": JobKind.ANIMATION,
        "blend": "scene/shot.blend",
        "scene": "Scene",
        "frames": frames,
        "requires": requirements() if requires is None else requires,
        "roots": (),
        "outputs": (),
        "image": FrameImage(width=64, height=36, file_format="PNG"),
    }
    return JobSpec(**(fields | changes))  # type: ignore[arg-type]


def blender(version: tuple[int, int, int] = (4, 5, 3), **changes: object) -> BlenderInfo:
    fields: dict[str, object] = {
        "version": version,
        "path": "/opt/blender/blender",
        "is_module": False,
        "engines": ("CYCLES",),
    }
    return BlenderInfo(**(fields | changes))  # type: ignore[arg-type]


def machine(*blenders: BlenderInfo, **changes: object) -> Machine:
    fields: dict[str, object] = {
        "hostname": "box",
        "system": "Linux",
        "cpu": "x86",
        "cores": 8,
        "memory_bytes": 16 * GIB,
        "blenders": blenders or (blender(),),
    }
    return Machine(**(fields | changes))  # type: ignore[arg-type]


def hello(node: str, incarnation: str = "i1", **changes: object) -> Hello:
    fields: dict[str, object] = {
        "protocol": PROTOCOL_VERSION,
        "software": "0.1.0",
        "node": node,
        "incarnation": incarnation,
        "name": node,
        "machine": machine(),
    }
    return Hello(**(fields | changes))  # type: ignore[arg-type]


def done(ref: FrameRef, seconds: float = 1.0, thumbnail: str = "") -> FrameDone:
    """A result whose file names the lease it was made under, so that results can be told apart."""
    file = FrameFile(root="main", path=f"{ref.frame:04d}.png", sha256=f"{ref.epoch:064x}", length=9)
    stats = FrameStats(seconds=seconds)
    return FrameDone(frame=ref, files=(file,), stats=stats, thumbnail=thumbnail)


def gpu_requirements() -> Requirements:
    return requirements(device=Device.GPU)


class Scenario:
    """A farm whose invariants are checked after every event, and what it decided last."""

    def __init__(self, farm: Farm, now: float = 1000.0) -> None:
        self.farm = farm
        self.now = now
        self.incarnations: dict[str, str] = {}

    def apply(self, event: object, after: float = 0.0) -> list[Decision]:
        self.now += after
        decisions = self.farm.apply(event, self.now)  # type: ignore[arg-type]
        validate(self.farm)
        return decisions

    def join(self, node: str, incarnation: str = "i1", **changes: object) -> list[Decision]:
        self.incarnations[node] = incarnation
        return self.apply(NodeJoined(hello=hello(node, incarnation, **changes)))

    def say(self, node: str, message: NodeMessage, after: float = 0.0) -> list[Decision]:
        incarnation = self.incarnations[node]
        return self.apply(
            MessageReceived(node=node, incarnation=incarnation, message=message), after
        )

    def held(self, node: str) -> list[FrameRef]:
        """Leases of a node, the one it works on first."""
        return [lease.ref for lease in self.farm.state.nodes[node].leases.values()]


def sent(decisions: list[Decision]) -> list[tuple[str, object]]:
    """Node and message of everything that is sent, in order."""
    return [(one.node, one.message) for one in decisions if isinstance(one, Send)]


def assigned(decisions: list[Decision]) -> dict[str, str]:
    """Node -> frames it was given, as a range."""
    frames: dict[str, list[int]] = {}
    for node, message in sent(decisions):
        if isinstance(message, Assign):
            frames.setdefault(node, []).extend(ref.frame for ref in message.frames)
    return {node: format_frames(some) for node, some in frames.items()}


def stored(decisions: list[Decision]) -> list[Decision]:
    """What is written to the database."""
    return [one for one in decisions if type(one).__name__.startswith(("Save", "Delete"))]


def published(decisions: list[Decision]) -> list[Publish]:
    return [one for one in decisions if isinstance(one, Publish)]
