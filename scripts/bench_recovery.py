"""How long a farm stands still when its coordinator is killed with many frames open.

    python scripts/bench_recovery.py [--frames 100000] [--done 2000] [--nodes 50] [--rounds 3]

kill -9 in the midst of work, then the same command again: seconds from its start until it answers,
and until the first frame is leased to a node that was waiting for it. The start of Python and the
check of the blob store are part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

from fake_nodes import FakeNodes, LoadScene
from measured_coordinator import measured_coordinator, spread
from rendermill.wire.connection import FarmConnection

COMPARED = (
    "compare: Flamenco's workers notice a new job after 0 to 22 s and get 60 s to report after a "
    "restart; leases here are renewed in full"
)


async def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    answering: list[float] = []
    leasing: list[float] = []
    costs: list[float] = []
    with measured_coordinator() as coordinator:
        async with FarmConnection(coordinator.credentials) as farm:
            scene = LoadScene()
            await scene.upload(farm)
            await scene.submit(farm, arguments.frames)
        for number in range(arguments.rounds):
            with contextlib.suppress(ConnectionError):
                async with FakeNodes(coordinator.credentials, arguments.nodes) as load:
                    await load.until_accepted(arguments.done)
                    # Not in a thread: the nodes would go on meanwhile.
                    coordinator.kill()
                    raise ConnectionAbortedError
            begin = time.perf_counter()
            await asyncio.to_thread(coordinator.start)
            answering.append(time.perf_counter() - begin)
            async with FakeNodes(coordinator.credentials, 1, finishing=False) as load:
                await load.until_assigned(1)
                leasing.append(time.perf_counter() - begin)
                costs.append(coordinator.usage().cpu_seconds)
            print(
                f"  round {number + 1}: {leasing[-1]:.2f} s, {costs[-1]:.2f} s of CPU", flush=True
            )
    print(
        f"recovery with {arguments.frames:,} frames ({arguments.done:,} more done each round): "
        f"answers after {spread(answering, 2)} s, first frame leased after {spread(leasing, 2)} s\n"
        f"  CPU of the coordinator until then, Python's start included: {spread(costs, 2)} s\n"
        f"  {COMPARED}"
    )


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description="Time until the first frame after kill -9.")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--done", type=int, default=2000, help="frames rendered before each kill")
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
