"""How long frames take: learned from those that are done, for each node and each part of a job.

Model: seconds = work of the frame x slowness of the node. Work is learned in parts of the frame
range, since neighbouring frames cost alike; slowness is learned for each node from how its frames
compare with what was expected. Both in logarithms, so that one extreme frame counts once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PARTS = 64
"""Parts of a frame range with an estimate of their own."""
_PART_MEMORY = 0.3
"""Weight of the newest frame in the estimate of its part."""
_NODE_MEMORY = 0.15
"""Least weight of the newest frame in the estimate of a node."""
_SPREAD_MEMORY = 0.05
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1e-3, 1e7
"""What a node may say of a frame and be believed: four months is the most."""
_PRIOR_FRAMES = 2
"""Frames that what is known of a node from other jobs counts for in a new one."""


@dataclass(slots=True)
class Slowness:
    """Logarithm of how many times longer than average a node takes, and from how many frames."""

    log: float = 0.0
    frames: int = 0

    def learn(self, residual: float) -> None:
        """Move by the logarithm of actual over expected."""
        self.frames += 1
        self.log += max(_NODE_MEMORY, 1 / (self.frames + 1)) * residual


@dataclass(slots=True)
class JobSpeeds:
    """What is known of the frame times of one job."""

    count: int
    """Frames of the job."""
    done: int = 0
    """Frames learned from."""
    total_seconds: float = 0.0
    nodes: dict[str, Slowness] = field(default_factory=dict)
    prepare_seconds: float = 0.0
    """Opening the scene on a node that does not have it open, as last seen."""
    spread: float = 0.5
    """Mean deviation of the logarithm of frame times from what was expected."""
    _parts: dict[int, float] = field(default_factory=dict)
    """Part of the frame range -> logarithm of the work of its frames."""
    _guesses: dict[int, float | None] = field(default_factory=dict)
    """The same for parts without a finished frame, from their neighbours, until one is learned."""

    def _part(self, position: int) -> int:
        return position * PARTS // self.count

    def part_range(self, part: int) -> tuple[int, int]:
        """Return the positions [from, to) of the frames of a part."""
        return -(-part * self.count // PARTS), -(-(part + 1) * self.count // PARTS)

    def _log_work(self, part: int) -> float | None:
        known = self._parts.get(part)
        if known is not None or not self._parts:
            return known
        if part not in self._guesses:
            self._guesses[part] = self._guess(part)
        return self._guesses[part]

    def _guess(self, part: int) -> float | None:
        below = above = None
        for distance in range(1, PARTS):
            if below is None:
                below = self._parts.get(part - distance)
            if above is None:
                above = self._parts.get(part + distance)
            if below is not None and above is not None:
                return (below + above) / 2
        return below if below is not None else above

    def work(self, part: int) -> float | None:
        """Return the seconds a frame of a part takes on an average node; None if unknown."""
        log = self._log_work(part)
        return None if log is None else math.exp(log)

    def slowness(self, node: str, elsewhere: Slowness | None = None) -> float:
        """Return how many times longer than average a node takes for this job."""
        own = self.nodes.get(node, elsewhere)
        return math.exp(own.log) if own is not None else 1.0

    def expect(self, node: str, position: int, elsewhere: Slowness | None = None) -> float | None:
        """Return the seconds expected of a frame on a node; None before any frame is done."""
        log = self._log_work(self._part(position))
        if log is None:
            return None
        return math.exp(log) * self.slowness(node, elsewhere)

    def learn(self, node: str, position: int, seconds: float, elsewhere: Slowness) -> None:
        """Take in a finished frame; ``elsewhere`` is what other jobs taught of the node."""
        seconds = min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        log = math.log(seconds)
        part = self._part(position)
        own = self.nodes.get(node)
        if own is None:
            own = Slowness(elsewhere.log, min(elsewhere.frames, _PRIOR_FRAMES))
            self.nodes[node] = own
        expected = self._log_work(part)
        if expected is not None:
            residual = log - expected - own.log
            self.spread += max(_SPREAD_MEMORY, 1 / (self.done + 1)) * (abs(residual) - self.spread)
            own.learn(residual)
            elsewhere.learn(log - expected - elsewhere.log)
        known = self._parts.get(part)
        work = log - own.log
        self._parts[part] = work if known is None else known + _PART_MEMORY * (work - known)
        self._guesses.clear()
        self.done += 1
        self.total_seconds += seconds

    def forget_nodes(self) -> None:
        """Keep the sums alone: the job has ended."""
        self.nodes.clear()
        self._parts.clear()
        self._guesses.clear()

    @property
    def mean_seconds(self) -> float | None:
        """Mean seconds of the frames done so far; None before the first."""
        return self.total_seconds / self.done if self.done else None

    def range_factor(self, frames_left: int) -> float:
        """Return by how much an estimate for this many frames may be off, as a factor of 1 or more.

        The errors of many frames even out; what the estimate itself rests on does not.
        """
        seen = max(self.done, 1)
        return math.exp(1.3 * self.spread * math.sqrt(1 / seen + 1 / max(frames_left, 1)))
