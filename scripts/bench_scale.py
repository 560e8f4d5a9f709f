"""Does it stay flat? A real coordinator with many nodes, many frames, many jobs.

    python scripts/bench_scale.py [--only nodes,frames,jobs] [--nodes 5000] [--frames 1000,10000,
                                   100000] [--jobs 100,1000,10000] [--seconds 60]

nodes    connected and sending a heartbeat every 5 s: the part of one core the coordinator needs,
         and its memory for each. Its own process, real WebSockets.
frames   one job of so many frames: time to submit it, to list a page of its frames from the middle,
         to cancel it; frames a second while 200 nodes work on it; memory for a frame that waits
         and for one that is done.
jobs     so many jobs in the queue: time to submit one more, to list a page of jobs; frames a second
         with 200 nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from fake_nodes import FakeNodes, LoadScene
from measured_coordinator import MeasuredCoordinator, measured_coordinator, spread
from rendermill.protocol.views import FramePage, JobPage, JobView
from rendermill.wire.connection import FarmConnection

AIM_CORE = 0.5
NODES = 200
DISPATCHED_FRAMES = 2000
TIMES = 5
SUBMITTING_AT_ONCE = 8
COMPARED = (
    "compare: 14.8 kB for an idle aiohttp WebSocket; Afanasy's server cycle is 1 s at 40 nodes"
)


async def milliseconds(call: Callable[[], Awaitable[object]], times: int = TIMES) -> str:
    """Return how long a call takes: median and range over a few times."""
    taken: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        await call()
        taken.append(1000 * (time.perf_counter() - begin))
    return f"{spread(taken, 1)} ms"


async def dispatch_rate(
    coordinator: MeasuredCoordinator, frames: int, nodes: int
) -> tuple[str, float]:
    """Let nodes render so many frames of what is queued.

    Return the rate and what it cost, and the bytes of memory a frame that is done.
    """
    async with FakeNodes(coordinator.credentials, nodes) as load:
        await load.until_accepted(min(nodes, frames // 2))
        done, before, empty = load.accepted, coordinator.usage(), coordinator.memory_bytes()
        await load.until_accepted(frames)
        count, after = load.accepted - done, coordinator.usage()
        memory = (coordinator.memory_bytes() - empty) / count
    cpu = after.cpu_seconds - before.cpu_seconds
    rate = count / (after.wall - before.wall)
    return f"{rate:,.0f} frames/s ({1000 * cpu / count:.2f} ms of CPU a frame)", memory


async def measure_nodes(count: int, seconds: float) -> None:
    """Print what connected nodes cost that have nothing to do."""
    with measured_coordinator() as coordinator:
        async with FarmConnection(coordinator.credentials) as farm:
            await farm.get("/api/v1/jobs", JobPage)
            empty = coordinator.memory_bytes()
            begin = time.perf_counter()
            async with FakeNodes(coordinator.credentials, count):
                joined = time.perf_counter() - begin
                await asyncio.sleep(seconds / 6)
                cores: list[float] = []
                for _ in range(3):
                    before = coordinator.usage()
                    await asyncio.sleep(seconds / 3)
                    cores.append(100 * coordinator.usage().cores_since(before))
                memory = coordinator.memory_bytes() - empty
    print(
        f"{count} nodes with heartbeats: {spread(cores, 1)} % of one core; aim {100 * AIM_CORE:g}\n"
        f"  memory {memory / count / 1000:.1f} kB a node; all connected after {joined:.1f} s\n"
        f"  {COMPARED}",
        flush=True,
    )


async def measure_frames(counts: Sequence[int], nodes: int, dispatched: int) -> None:
    """Print the curve over the frames of one job."""
    for count in counts:
        with measured_coordinator() as coordinator:
            async with FarmConnection(coordinator.credentials) as farm:
                scene = LoadScene()
                await scene.upload(farm)
                idle = (await scene.submit(farm, count)).id
                await farm.post(f"/api/v1/jobs/{idle}/cancel", JobView)
                before = coordinator.memory_bytes()
                begin = time.perf_counter()
                job = (await scene.submit(farm, count)).id
                submitted = 1000 * (time.perf_counter() - begin)
                waiting = (coordinator.memory_bytes() - before) / count
                path = f"/api/v1/jobs/{job}/frames"
                params = {"after": count // 2, "limit": 100}
                listing = await milliseconds(
                    lambda path=path, params=params: farm.get(path, FramePage, params=params)
                )
                frames = min(dispatched, count)
                rate, done = await dispatch_rate(coordinator, frames, nodes)
                begin = time.perf_counter()
                if frames < count:
                    await farm.post(f"/api/v1/jobs/{job}/cancel", JobView)
                cancelled = 1000 * (time.perf_counter() - begin)
        print(
            f"{count:>7} frames in one job: submit {submitted:.0f} ms, page of 100 {listing}, "
            f"cancel {cancelled:.0f} ms, {rate};\n          memory {waiting:.0f} bytes a waiting "
            f"frame, {done:.0f} a frame that is done",
            flush=True,
        )


async def measure_jobs(counts: Sequence[int], nodes: int, dispatched: int) -> None:
    """Print the curve over the jobs in the queue."""
    with measured_coordinator() as coordinator:
        async with FarmConnection(coordinator.credentials) as farm:
            scene = LoadScene()
            await scene.upload(farm)
            queued = 0
            begun = coordinator.memory_bytes()
            for count in counts:
                begin = time.perf_counter()
                slots = asyncio.Semaphore(SUBMITTING_AT_ONCE)

                async def one(slots: asyncio.Semaphore = slots) -> None:
                    async with slots:
                        await scene.submit(farm, 100)

                more = count - queued
                await asyncio.gather(*(one() for _ in range(more)))
                each = 1000 * (time.perf_counter() - begin) / max(more, 1)
                queued = count
                memory = (coordinator.memory_bytes() - begun) / count
                submit = await milliseconds(lambda: scene.submit(farm, 100))
                queued += TIMES
                listing = await milliseconds(
                    lambda: farm.get("/api/v1/jobs", JobPage, params={"limit": 100})
                )
                rate, _ = await dispatch_rate(coordinator, dispatched, nodes)
                print(
                    f"{count:>7} jobs in the queue: submit {submit} ({each:.1f} ms each, "
                    f"{SUBMITTING_AT_ONCE} at once), page of 100 {listing}, {rate}; memory "
                    f"{memory / 1000:.1f} kB a job of 100 frames",
                    flush=True,
                )


def numbers(text: str) -> list[int]:
    """Return the numbers of a list like ``100,1000``."""
    return [int(part) for part in text.split(",")]


async def run(arguments: argparse.Namespace) -> None:
    """Measure what was asked for."""
    only = arguments.only.split(",")
    if "nodes" in only:
        await measure_nodes(arguments.nodes, arguments.seconds)
    if "frames" in only:
        await measure_frames(arguments.frames, arguments.workers, arguments.dispatched)
    if "jobs" in only:
        await measure_jobs(arguments.jobs, arguments.workers, arguments.dispatched)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description="Does the coordinator stay flat?")
    parser.add_argument("--only", default="nodes,frames,jobs")
    parser.add_argument("--nodes", type=int, default=5000, help="that only send heartbeats")
    parser.add_argument("--seconds", type=float, default=60.0, help="of heartbeats")
    parser.add_argument("--frames", type=numbers, default=[1000, 10_000, 100_000])
    parser.add_argument("--jobs", type=numbers, default=[100, 1000, 10_000])
    parser.add_argument("--workers", type=int, default=NODES, help="nodes that render")
    parser.add_argument("--dispatched", type=int, default=DISPATCHED_FRAMES)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
