"""``rendermill cancel | pause | resume | retry JOB``."""

from __future__ import annotations

import argparse

from ..protocol.frames import format_frames, parse_frames
from ..protocol.views import JobView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import frame_total, job_state, print_json
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments. ``retry`` has one more than the others."""
    parser.add_argument("job", metavar="JOB", help="id of the job, as `rendermill jobs` shows it")
    if parser.prog.endswith(" retry"):
        parser.add_argument(
            "--frames",
            metavar="RANGE",
            help='these frames, done or not, like "7, 9-12" (default: those failed or cancelled)',
        )
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
        body = None
        if getattr(args, "frames", None):
            body = {"frames": format_frames(parse_frames(args.frames))}
        job = await farm.post(f"/api/v1/jobs/{args.job}/{args.command}", JobView, body=body)
        if args.json:
            print_json(job)
        else:
            done = f"{job.counts.done} of {frame_total(job)} frames done"
            print(f"{job.id} is {job_state(job)}, {done}.")
        return ExitCode.DONE

    return run_on_farm(args, work)
