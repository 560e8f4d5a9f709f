"""Frames a second through a real coordinator: its own process, one core, full durability.

    python scripts/bench_dispatch.py [--nodes 200] [--frames 6000] [--rounds 3] [--unique]

Nodes that finish at once (scripts/fake_nodes.py) work through one job. Included in a frame: the
order, `FrameStarted`, `FrameDone` and `FrameAccepted` over the WebSocket, the check of its file,
two durable changes of its row and one attempt in SQLite (synchronous=FULL). With ``--unique`` the
upload of a PNG of its own, fsynced, is part of it too.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from fake_nodes import FakeNodes, LoadScene, Pictures
from measured_coordinator import MeasuredCoordinator, measured_coordinator, percentile, spread
from rendermill.wire.connection import FarmConnection

AIM_FRAMES_PER_SECOND = 1500
PEERS = (
    "compare, empty tasks per second: Afanasy 18 (40 nodes, measured by us), Ray 443 to 602, "
    "Slurm ~500 jobs, OpenCue's new scheduler 975 (dry run), dask ~1,000, Nomad ~1,500"
)


async def one_round(
    coordinator: MeasuredCoordinator, nodes: int, frames: int, pictures: Pictures
) -> tuple[float, float, list[float]]:
    """Return frames a second, milliseconds of CPU a frame, and the gaps in seconds."""
    scene = LoadScene()
    async with FarmConnection(coordinator.credentials) as farm:
        await scene.upload(farm)
        async with FakeNodes(coordinator.credentials, nodes, pictures) as load:
            before = coordinator.usage()
            await scene.submit(farm, frames)
            await load.until_accepted(frames)
            after = coordinator.usage()
            seconds = after.wall - before.wall
            cpu = after.cpu_seconds - before.cpu_seconds
            return frames / seconds, 1000 * cpu / frames, load.gaps


async def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    kinds = [Pictures.UNIQUE] if arguments.unique else [Pictures.SHARED]
    for pictures in kinds:
        rates: list[float] = []
        costs: list[float] = []
        gaps: list[float] = []
        with measured_coordinator() as coordinator:
            for _ in range(arguments.rounds):
                begin = time.perf_counter()
                rate, cost, waited = await one_round(
                    coordinator, arguments.nodes, arguments.frames, pictures
                )
                print(
                    f"  round of {time.perf_counter() - begin:.1f} s: {rate:,.0f} frames/s, "
                    f"{cost:.2f} ms of CPU a frame",
                    flush=True,
                )
                rates.append(rate)
                costs.append(cost)
                gaps += waited
        print(
            f"dispatch, {arguments.nodes} nodes, {arguments.frames} frames, {pictures.value} "
            f"pictures: {spread(rates)} frames/s; aim {AIM_FRAMES_PER_SECOND:,}\n"
            f"  CPU of the coordinator: {spread(costs, 2)} ms a frame\n"
            f"  FrameDone to the next Assign: p50 {1000 * percentile(gaps, 50):.1f} ms, "
            f"p99 {1000 * percentile(gaps, 99):.1f} ms\n  {PEERS}"
        )


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description="Frames a second through a real coordinator.")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--unique", action="store_true", help="upload a picture for each frame")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
