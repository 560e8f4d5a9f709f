"""``rendermill jobs``: list the jobs, newest first."""

from __future__ import annotations

import argparse

from ..protocol.states import JobState
from ..protocol.views import JobPage, JobView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import duration, frame_total, job_state, print_json, print_table
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--state", choices=[state.value for state in JobState])
    parser.add_argument("--submitter", metavar="USER@HOST")
    parser.add_argument("--limit", type=int, default=50, help="most jobs to list (default: 50)")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
        page = await farm.get(
            "/api/v1/jobs",
            JobPage,
            params={"state": args.state, "submitter": args.submitter, "limit": args.limit},
        )
        if args.json:
            print_json(page)
        elif not page.jobs:
            print("No jobs. Send one with `rendermill submit SCENE.blend`.")
        else:
            print_table(HEADINGS, map(job_row, page.jobs))
        return ExitCode.DONE

    return run_on_farm(args, work)


HEADINGS = ("job", "name", "state", ">done", ">failed", "frames", ">left", "submitter", "note")


def job_row(job: JobView) -> tuple[str, ...]:
    """Return a job as a row below `HEADINGS`."""
    return (
        job.id,
        job.name,
        job_state(job),
        f"{job.counts.done}/{frame_total(job)}",
        str(job.counts.failed or ""),
        job.frames,
        duration(job.eta_seconds),
        job.submitter,
        job.waiting_because or job.problem,
    )
