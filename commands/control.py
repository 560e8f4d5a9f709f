"""``rendermill cancel | pause | resume | retry | approve | reject | remove JOB``."""

from __future__ import annotations

import argparse

from ..protocol.frames import format_frames, parse_frames
from ..protocol.views import JobView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import frame_total, job_state, print_json, printable
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
        path = f"/api/v1/jobs/{args.job}"
        if args.command == "remove":
            await farm.delete(path)
            if args.json:
                print_json({"id": args.job, "removed": True})
            else:
                print(f"{args.job} is gone, with the frames that the farm kept of it.")
            return ExitCode.DONE
        print_job(await farm.post(f"{path}/{args.command}", JobView, body=body), is_json=args.json)
        return ExitCode.DONE

    return run_on_farm(args, work)


def print_job(job: JobView, *, is_json: bool) -> None:
    """Print how a job stands after it was acted on."""
    if is_json:
        print_json(job)
        return
    done = f"{job.counts.done} of {frame_total(job)} frames done"
    print(f"{job.id} is {job_state(job)}, {done}.")
    if job.waiting_because:
        print(printable(job.waiting_because))
