"""A lease while it runs: what the coordinator knows of one frame on one node."""

from __future__ import annotations

from dataclasses import dataclass

from ...protocol.frames import FILM_FRAME
from ...protocol.messages import FrameRef
from .records import LeaseRecord
from .shares import Share


@dataclass(slots=True, eq=False)
class Lease:
    """The right of one process of a node to render one frame. Key: ``epoch``."""

    job: str
    position: int
    frame: int
    generation: int
    epoch: int
    node: str
    incarnation: str
    ref: FrameRef
    """The name of this lease in messages."""
    granted: float
    active: float
    """When the node last said something about it, or its turn came."""
    is_copy: bool = False
    """Given out while another node rendered the same frame."""
    started: float | None = None
    """When Blender began it."""
    moved: float = 0.0
    """When it was begun, or its progress last grew."""
    opening: bool = False
    """Blender is being started for it, or opens its scene: what happens to the node from here on
    may have to do with it."""
    share: Share | None = None
    """Whose share of the farm it counts for; set while it is held."""
    preparing: str = ""
    fraction: float = 0.0
    text: str = ""
    revoking: bool = False
    """Asked back unless begun; the node has not answered yet."""
    asked_by: str = ""
    """The idle node that it was asked back for."""

    @property
    def is_film(self) -> bool:
        """Whether it is for the film of the job and not for a frame."""
        return self.frame == FILM_FRAME

    @property
    def name(self) -> str:
        """What it is for, at the beginning of a sentence."""
        return "The film" if self.is_film else f"Frame {self.frame}"

    @classmethod
    def of(cls, ref: FrameRef, position: int, node: str, incarnation: str, now: float) -> Lease:
        """Return a fresh lease that goes by this name."""
        return cls(
            job=ref.job,
            position=position,
            frame=ref.frame,
            generation=ref.generation,
            epoch=ref.epoch,
            node=node,
            incarnation=incarnation,
            ref=ref,
            granted=now,
            active=now,
        )

    @property
    def record(self) -> LeaseRecord:
        """What is stored of it."""
        return LeaseRecord(
            node=self.node,
            incarnation=self.incarnation,
            epoch=self.epoch,
            granted=self.granted,
        )

    def time_left(self, expected: float | None, now: float) -> float | None:
        """Return seconds until it is expected to end; None where nothing is known.

        Blender's own progress counts more the further it is; without any, a frame that is over
        its time is taken to need half of what it has had so far.
        """
        elapsed = now - self.started if self.started is not None else 0.0
        guess = None if expected is None else max(expected - elapsed, elapsed / 2)
        if self.fraction < _FRACTION_TELLS or elapsed <= 0:
            return guess
        told = elapsed * (1 - self.fraction) / self.fraction
        if guess is None:
            return told
        weight = min(1.0, self.fraction * 4)
        return weight * told + (1 - weight) * guess


_FRACTION_TELLS = 0.02
"""Below this part of a frame, its progress says nothing about its duration."""
