"""The failure rules, each a small function: what is blamed, and when it is enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ...protocol.job import Device
from ...protocol.messages import FailureKind
from .config import FarmConfig
from .records import FrameRecord, JobRecord

BLAMES_FRAME = frozenset(FailureKind) - {FailureKind.NODE}
"""Kinds that count against the frame. Memory counts too, or a frame that fits no machine would
go round for ever."""


def fails_for_good(
    config: FarmConfig, failed_on: Collection[str], failures: int, usable: Collection[str]
) -> bool:
    """Whether a frame is set aside.

    After `FarmConfig.distinct_nodes_to_fail` distinct nodes; where the farm does not have as many
    that could render it, after that many attempts once every one of them has failed it. ``usable``
    are the nodes that could render it now and that its job does not avoid; while there are none, it
    waits.
    """
    enough = config.distinct_nodes_to_fail
    if len(failed_on) >= enough:
        return True
    return (
        0 < len(usable) < enough
        and failures >= enough
        and all(node in failed_on for node in usable)
    )


def memory_needed(job: JobRecord, frame: FrameRecord) -> int:
    """Return more than which memory a frame seems to need, in bytes: that of the largest machine
    where it ran out; 0 where that never happened, or where it was the memory of a GPU."""
    if job.spec.requires.device is Device.GPU:
        return 0
    return max(
        (
            one.memory_bytes
            for one in job.penalties
            if one.too_small and frame.frame in one.frames and one.node in frame.failed_on
        ),
        default=0,
    )


def may_try(failed_on: Collection[str], node: str, usable: Collection[str]) -> bool:
    """Whether a node may have a frame: one that failed it only when no other is left."""
    return node not in failed_on or all(other in failed_on for other in usable)


def rest_seconds(config: FarmConfig, faults: int) -> float:
    """Return how long a node rests after its ``faults``-th fault in a row (1 or more)."""
    doublings = min(faults - 1, 32)
    return min(config.node_fault_first_seconds * 2**doublings, config.node_fault_longest_seconds)


@dataclass(slots=True)
class Failures:
    """Attempts that failed since the job was last opened, as long as none has succeeded."""

    attempts: int = 0
    frames: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)

    def add(self, frame: int, node: str) -> None:
        """Count one more."""
        self.attempts += 1
        self.frames.add(frame)
        self.nodes.add(node)


@dataclass(slots=True)
class Breaker:
    """Stops a job that cannot work, before it has burnt every node for every frame.

    It only looks at jobs of which no frame has ever succeeded since they were (re)opened: one good
    frame proves that scene and farm fit together.
    """

    closed: bool = True
    """False once a frame succeeded: the breaker no longer looks."""
    scene: Failures = field(default_factory=Failures)
    any: Failures = field(default_factory=Failures)

    def succeeded(self) -> None:
        """A frame is done."""
        self.closed = False
        self.scene = Failures()
        self.any = Failures()

    def restore(self, attempts: int, frame: int, nodes: Iterable[str]) -> None:
        """Take over what is stored of the failures of a frame; their kinds are not."""
        if not self.closed:
            return
        self.any.attempts += attempts
        self.any.frames.add(frame)
        self.any.nodes.update(nodes)

    def failed(self, kind: FailureKind, frame: int, node: str) -> None:
        """An attempt failed."""
        if not self.closed:
            return
        self.any.add(frame, node)
        if kind is FailureKind.SCENE:
            self.scene.add(frame, node)

    def trips(self, config: FarmConfig, frames: int, usable: int) -> str:
        """Return why the job is to be stopped, '' when it is not.

        ``frames`` is how many the job has, ``usable`` how many nodes could render it.
        """
        for failures, enough in (
            (self.scene, config.breaker_scene_attempts),
            (self.any, config.breaker_attempts),
        ):
            if (
                failures.attempts >= enough
                and len(failures.frames) >= min(config.breaker_frames, frames)
                and len(failures.nodes) >= min(config.breaker_nodes, max(usable, 1))
            ):
                return (
                    f"Stopped after {failures.attempts} attempts, "
                    f"{_several(len(failures.frames), 'frame')} on "
                    f"{_several(len(failures.nodes), 'node')}, of which none succeeded"
                )
        return ""


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
