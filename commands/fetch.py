"""``rendermill fetch JOB``: bring what a job makes to this machine, as it comes."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from ..addon.client.delivery import Delivered, DeliveryProgress, deliver
from ..protocol.codec import to_plain
from ..protocol.states import JobState
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import counted, duration, frame_total, job_state, print_json, printable
from .progress import ProgressBar
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("job", metavar="JOB")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        help="folder for the frames (default: the output folders of the scene)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        default=None,
        help="replace files that are in the way (default: as the scene says; never in --output)",
    )
    parser.add_argument(
        "--film-frames",
        action="store_true",
        help="of a film bring the frames too, into a folder named after it",
    )
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""
    destination = args.output.expanduser().absolute() if args.output else None

    async def work(farm: FarmConnection) -> ExitCode:
        code, delivered = await bring_home(
            farm,
            args.job,
            destination=destination,
            overwrite=args.overwrite,
            film_frames=args.film_frames,
            is_quiet=args.json,
        )
        if args.json:
            print_json(delivered_json(delivered))
        else:
            print_delivered(delivered)
        return code

    return run_on_farm(args, work)


async def bring_home(
    farm: FarmConnection,
    job: str,
    *,
    destination: Path | None = None,
    overwrite: bool | None = None,
    film_frames: bool = False,
    is_quiet: bool = False,
) -> tuple[ExitCode, Delivered]:
    """Deliver a job with a progress bar; 0 when it is done, 1 when it failed or was cancelled."""
    with ProgressBar(is_quiet=is_quiet) as bar:
        try:
            delivered = await deliver(
                farm,
                job,
                destination=destination,
                overwrite=overwrite,
                film_frames=film_frames,
                progress=lambda progress: _show(bar, progress),
            )
        except asyncio.CancelledError:
            print(
                f"The job goes on without us; `rendermill fetch {job}` brings the rest, "
                f"`rendermill cancel {job}` stops it.",
                file=sys.stderr,
            )
            raise
    is_done = delivered.job.state is JobState.DONE
    return (ExitCode.DONE if is_done else ExitCode.FAILED), delivered


def _show(bar: ProgressBar, progress: DeliveryProgress) -> None:
    job = progress.job
    total = frame_total(job)
    is_film = job.film is not None
    parts = [f"{progress.frames_here}/{total} frames {'done' if is_film else 'here'}"]
    if job.eta_seconds:
        parts.append(f"{duration(job.eta_seconds)} left")
    if job.waiting_because:
        parts.append(job.waiting_because)
    state, fraction = job_state(job), progress.frames_here / total if total else None
    if job.film is not None and job.state is JobState.ASSEMBLING:
        state, fraction = "encoding the film", job.film.progress
    bar.show(f"{job.name}: {state}", fraction, ", ".join(parts))


def delivered_json(delivered: Delivered) -> dict[str, object]:
    """Return what a delivery ended with, for scripts."""
    return {
        "id": delivered.job.id,
        "state": delivered.job.state.value,
        "job": to_plain(delivered.job),
        "frames": delivered.frames,
        "files": [str(path) for path in delivered.files],
        "kept": [str(path) for path in delivered.kept],
        "folders": [str(path) for path in delivered.folders],
        "film": None if delivered.film is None else str(delivered.film),
    }


def print_delivered(delivered: Delivered) -> None:
    """Say what a delivery ended with."""
    job = delivered.job
    where = ", ".join(map(str, delivered.folders)) or "no folder"
    if job.film is None:
        print(
            f"Job {job.id} is {job_state(job)}: {delivered.frames} of {frame_total(job)} frames "
            f"here, {counted(len(delivered.files), 'file')} in {where}."
        )
    elif delivered.film is not None:
        print(f"Job {job.id} is {job_state(job)}: the film is here, {delivered.film}.")
    else:
        print(
            f"Job {job.id} is {job_state(job)}, without a film here: {job.counts.done} of "
            f"{frame_total(job)} frames are rendered; `rendermill fetch {job.id} --film-frames` "
            "brings them."
        )
    problems = dict.fromkeys((job.problem, "" if job.film is None else job.film.problem))
    for problem in filter(None, problems):
        print(printable(problem))
    if delivered.kept:
        was = (
            "was there before and was" if len(delivered.kept) == 1 else "were there before and were"
        )
        print(
            f"{counted(len(delivered.kept), 'file')} {was} kept (--overwrite replaces): "
            f"{', '.join(map(str, delivered.kept[:3]))}"
            f"{', ...' if len(delivered.kept) > 3 else ''}"
        )
