"""``rendermill job ID``: one job and its frames."""

from __future__ import annotations

import argparse

from ..protocol.codec import to_plain
from ..protocol.states import FrameState
from ..protocol.views import FramePage, FrameView, JobDetail
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .jobs import HEADINGS, job_row
from .printing import console, counted, duration, escape, print_json, print_table, size
from .session import add_farm_arguments, run_on_farm

PAGE_FRAMES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("job", metavar="ID")
    parser.add_argument(
        "--state", choices=[state.value for state in FrameState], help="only frames in this state"
    )
    parser.add_argument("--script", action="store_true", help="print the script Blender was given")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
        if args.script:
            print(await farm.text(f"/api/v1/jobs/{args.job}/script"))
            return ExitCode.DONE
        detail = await farm.get(f"/api/v1/jobs/{args.job}", JobDetail)
        frames = await _frames(farm, args.job, args.state)
        if args.json:
            print_json(to_plain(detail) | {"frames": to_plain(frames)})
        else:
            _print(detail, frames)
        return ExitCode.DONE

    return run_on_farm(args, work)


async def _frames(farm: FarmConnection, job: str, state: str | None) -> list[FrameView]:
    frames: list[FrameView] = []
    after: int | None = None
    while True:
        page = await farm.get(
            f"/api/v1/jobs/{job}/frames",
            FramePage,
            params={"state": state, "after": after, "limit": PAGE_FRAMES},
        )
        frames += page.frames
        after = page.next
        if after is None:
            return frames


def _print(detail: JobDetail, frames: list[FrameView]) -> None:
    job, spec = detail.job, detail.spec
    print_table(HEADINGS, [job_row(job)])
    out = console()
    version = ".".join(map(str, spec.requires.blender))
    out.print()
    out.print(
        escape(
            f"{spec.scene}, {spec.requires.engine} on {spec.requires.device.value}, "
            f"{spec.image.width}x{spec.image.height} {spec.image.file_format}, Blender {version}, "
            f"{counted(job.scene_files, 'file')}, {size(job.scene_bytes)}"
        )
    )
    for output in spec.outputs:
        out.print(escape(f"{output.label}: {output.folder}"))
    if frames:
        out.print()
        print_table(
            (">frame", "state", ">time", ">progress", "problem", "files"),
            (
                (
                    str(frame.frame),
                    frame.state.value,
                    duration(frame.stats.seconds if frame.stats else None),
                    f"{frame.progress:.0%}" if frame.state is FrameState.LEASED else "",
                    frame.problem,
                    ", ".join(file.path for file in frame.files),
                )
                for frame in frames
            ),
        )
