"""How close the farm comes to the best possible time: 250 frames on 8 unequal nodes.

The real farm code in virtual time (tests/coordinator/farm/farm_simulation.py), 30 seeds, for frame
times that rise over the film (ramp) and for a few very long ones among short ones (heavy tail).
Printed: time until the last frame over the lower bound, which is the larger of all work spread
perfectly over all nodes and the longest frame on the fastest node. Beside it, for the same films in
the same run: self-scheduling (each node takes the next frame when it is free: what a plain queue
does), fixed chunks (the film cut into as many equal runs as there are nodes: what splitting by hand
does), and the longest frame first with all frame times known beforehand, which no farm can know.

    python scripts/bench_makespan.py [--seeds N] [--silent]

``--silent``: nodes report no progress inside a frame.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "coordinator" / "farm"))

from farm_builders import spec
from farm_simulation import Simulation
from rendermill.coordinator.farm.events import JobSubmitted

FRAMES = 250
SLOWNESSES = [1.0, 1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0]


def ramp(draw: random.Random) -> list[float]:
    """Return frame times that rise fivefold over the film, with 10 % of noise."""
    return [(20 + 80 * i / FRAMES) * draw.uniform(0.9, 1.1) for i in range(FRAMES)]


def heavy_tail(draw: random.Random) -> list[float]:
    """Return frame times of a Pareto law: most near 20 s, a few twenty times longer."""
    return [min(20 * draw.paretovariate(1.5), 400.0) for _ in range(FRAMES)]


def lower_bound(seconds: list[float]) -> float:
    """Return the time no schedule can beat."""
    pace = sum(1 / slowness for slowness in SLOWNESSES)
    return max(sum(seconds) / pace, max(seconds) * min(SLOWNESSES))


def self_scheduled(seconds: list[float]) -> float:
    """Return the time when each node takes the next frame as soon as it is free, without copies."""
    free = [(0.0, node) for node in range(len(SLOWNESSES))]
    heapq.heapify(free)
    for frame in seconds:
        at, node = heapq.heappop(free)
        heapq.heappush(free, (at + frame * SLOWNESSES[node], node))
    return max(at for at, _ in free)


def chunked(seconds: list[float]) -> float:
    """Return the time when each node gets one run of as many frames."""
    count = len(SLOWNESSES)
    edges = [len(seconds) * part // count for part in range(count + 1)]
    return max(
        sum(seconds[edges[node] : edges[node + 1]]) * SLOWNESSES[node] for node in range(count)
    )


def clairvoyant(seconds: list[float]) -> float:
    """Return the time when frame times are known: the longest first, where it ends soonest."""
    at = [0.0] * len(SLOWNESSES)
    for frame in sorted(seconds, reverse=True):
        node = min(range(len(at)), key=lambda one: at[one] + frame * SLOWNESSES[one])
        at[node] += frame * SLOWNESSES[node]
    return max(at)


def ratio(seconds: list[float], seed: int, with_progress: bool) -> tuple[float, float]:
    """Return makespan over the lower bound, and the part of all work that was done twice."""
    world = Simulation(
        seed,
        SLOWNESSES,
        lambda ref: seconds[ref.frame - 1],
        validating=False,
        with_progress=with_progress,
    )
    world.run(lambda: world.farm.counts().nodes_online == len(SLOWNESSES), limit=10)
    start = world.now
    world.deliver(
        JobSubmitted(job="job", spec=spec("1-250"), manifest="m", scene_bytes=1, scene_files=1)
    )
    world.run(world.all_ended, limit=1e6)
    needed = sum(
        seconds[frame - 1] * world.nodes[record.result.node].slowness
        for (_, frame), record in world.database.frames.items()
        if record.result is not None
    )
    return (world.now - start) / lower_bound(seconds), world.busy / needed - 1


OTHERS = {
    "self-scheduling without copies": self_scheduled,
    "fixed chunks": chunked,
    "longest first, times known beforehand": clairvoyant,
}
"""What it is compared to."""


def main() -> None:
    """Print one line for each kind of film."""
    parser = argparse.ArgumentParser(description="Makespan over the lower bound.")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--silent", action="store_true", help="no progress inside a frame")
    arguments = parser.parse_args()
    print(f"{FRAMES} frames, {len(SLOWNESSES)} nodes, {arguments.seeds} seeds")
    for name, film in (("ramp", ramp), ("heavy tail", heavy_tail)):
        films = [film(random.Random(seed)) for seed in range(arguments.seeds)]
        runs = [ratio(seconds, seed, not arguments.silent) for seed, seconds in enumerate(films)]
        ratios = [run[0] for run in runs]
        print(
            f"{name:>10}: makespan / lower bound mean {statistics.mean(ratios):.3f}, "
            f"min {min(ratios):.3f}, max {max(ratios):.3f}; "
            f"rendered twice {statistics.mean(run[1] for run in runs):.1%}",
            flush=True,
        )
        for other, time_of in OTHERS.items():
            others = [time_of(seconds) / lower_bound(seconds) for seconds in films]
            print(
                f"{'':>10}  {other}: mean {statistics.mean(others):.3f}, "
                f"min {min(others):.3f}, max {max(others):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
