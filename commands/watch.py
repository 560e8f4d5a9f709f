"""``rendermill watch``: what happens on the farm, as it happens."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from ..protocol.states import JOB_ENDED, FrameState, JobState
from ..protocol.views import Event, JobDetail
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import duration, frame_total, job_state, print_json, printable
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="only this job, until it has ended")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command. With a job: 0 when it is done, 1 when it failed or was cancelled."""

    async def work(farm: FarmConnection) -> ExitCode:
        state: JobState | None = None
        events = farm.events(job=args.job, on_connection=_say_connection)
        if args.job:
            state = (await farm.get(f"/api/v1/jobs/{args.job}", JobDetail)).job.state
        async with contextlib.aclosing(events):
            while state not in JOB_ENDED:
                event = await anext(events)
                if args.json:
                    print_json(event)
                else:
                    _print(event)
                if args.job and event.job is not None:
                    state = event.job.state
        return ExitCode.DONE if state is JobState.DONE else ExitCode.FAILED

    return run_on_farm(args, work)


def _say_connection(is_connected: bool) -> None:
    print(
        "The coordinator is back." if is_connected else "The coordinator does not answer; waiting.",
        file=sys.stderr,
        flush=True,
    )


def _print(event: Event) -> None:
    text = _sentence(event)
    if text:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        print(f"{clock}  {printable(text)}", flush=True)


def _sentence(event: Event) -> str:
    if event.job is not None:
        job = event.job
        note = job.waiting_because or job.problem
        return (
            f"{job.name} ({job.id}): {job_state(job)}, {job.counts.done}/{frame_total(job)} frames"
            f"{f', {duration(job.eta_seconds)} left' if job.eta_seconds else ''}"
            f"{f'; {note}' if note else ''}"
        )
    if event.frame is not None:
        frame = event.frame
        if frame.state is FrameState.LEASED:
            detail = f"{frame.progress:.0%} {frame.progress_text}"
        elif frame.stats is not None:
            detail = duration(frame.stats.seconds)
        else:
            detail = ""
        return " ".join(
            filter(None, (f"frame {frame.frame}:", frame.state.value, detail, frame.problem))
        )
    if event.node is not None:
        node = event.node
        return f"node {node.name}: {node.state.value}{f', {node.reason}' if node.reason else ''}"
    if event.kind == "job_removed":
        return f"job {event.job_id} was deleted"
    if event.kind == "reset":
        return "some events were missed"
    return "; ".join(event.lines)
