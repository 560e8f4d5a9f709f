"""``rendermill submit SCENE.blend``: pack a scene, send it, and bring its frames home."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..addon.client.delivery import Delivered
from ..addon.client.errors import ClientError
from ..addon.client.submission import Stage, SubmitProgress, Submitted, submit
from ..protocol.codec import to_plain
from ..protocol.frames import parse_frames
from ..protocol.job import PRIORITY_NORMAL, JobKind
from ..wire.connection import FarmConnection
from ..wire.places import user_label
from .exit_codes import ExitCode, UsageError
from .fetch import bring_home, delivered_json, print_delivered
from .packing import Finding, Packed, Packing, choose_blender, pack, scratch_folder
from .printing import counted, frame_total, print_json, size
from .progress import ProgressBar
from .scheduling import add_scheduling_arguments, scheduled
from .session import add_farm_arguments, run_on_farm


class NotSent(ClientError):
    """The scene was not sent because of what the checks found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("scene_file", metavar="SCENE.blend", type=Path)
    parser.add_argument("--frames", metavar="RANGE", default="", help='like "1-250, 300-310:2"')
    parser.add_argument("--image", action="store_true", help="one image: the current frame")
    parser.add_argument("--scene", metavar="NAME", default="", help="scene of the file to render")
    parser.add_argument(
        "--output", metavar="PATH", default="", help="output path, as Blender's -o takes it"
    )
    add_scheduling_arguments(parser)
    parser.add_argument(
        "--scouts", action="store_true", help="first, middle and last frame; the rest on approval"
    )
    parser.add_argument(
        "--after",
        action="append",
        metavar="JOB",
        default=[],
        help="begin when this job is done (may be repeated)",
    )
    parser.add_argument(
        "--blender",
        metavar="PATH",
        type=Path,
        help="Blender to open the scene with (default: bpy of this Python, else `blender`)",
    )
    parser.add_argument(
        "--send-anyway", action="store_true", help="send although files are missing or checks fail"
    )
    parser.add_argument(
        "--trust-scripts", action="store_true", help="let Python in the .blend run on the nodes"
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait for the job and bring its frames here"
    )
    parser.add_argument(
        "--film-frames",
        action="store_true",
        help="of a film bring the frames too, into a folder named after it",
    )
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""
    packing = _packing(args)
    blender = choose_blender(args.blender)

    async def work(farm: FarmConnection) -> ExitCode:
        # Nothing is packed for a farm that would not take it.
        await farm.health()
        with ProgressBar(is_quiet=args.json) as bar, scratch_folder() as folder:
            bar.show(f"Packing {packing.blend.name}", None)
            packed = await pack(blender, packing, Path(folder))
            _judge(packed, args.send_anyway)
            spec = await scheduled(farm, args, packed.captured.spec)
            spec = replace(spec, scouts=args.scouts, depends_on=tuple(args.after))
            submitted = await submit(
                farm,
                replace(packed.captured, spec=spec),
                progress=lambda progress: _show(bar, progress),
                send_anyway=args.send_anyway,
            )
        if not args.json:
            _print_submitted(submitted)
        if not args.wait:
            if args.json:
                print_json(_submitted_json(submitted))
            else:
                print(f"Bring its frames here with `rendermill fetch {submitted.job.id}`.")
            return ExitCode.DONE
        code, delivered = await bring_home(farm, submitted.job.id, is_quiet=args.json)
        _finish(args.json, submitted, delivered)
        return code

    return run_on_farm(args, work)


def _packing(args: argparse.Namespace) -> Packing:
    blend = args.scene_file.expanduser().absolute()
    if not blend.is_file():
        raise UsageError(f"There is no file {blend}.")
    try:
        frames = parse_frames(args.frames) if args.frames else ()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.image and len(frames) > 1:
        raise UsageError(f"An image is one frame, {args.frames!r} has {len(frames)}.")
    output: str = args.output
    if output and not output.startswith("//"):
        # Absolute now: Blender would take it relative to a folder of its own. The slash at the
        # end of a folder matters to Blender, and Path drops it.
        end = "/" if output.endswith(("/", "\\")) else ""
        output = str(Path(output).expanduser().absolute()) + end
    return Packing(
        blend=blend,
        scene=args.scene,
        kind=(JobKind.IMAGE if args.image else JobKind.ANIMATION).value,
        frames=args.frames,
        output=output,
        priority=PRIORITY_NORMAL if args.priority is None else args.priority,
        trust=args.trust_scripts,
        submitter=user_label(),
        film_frames=args.film_frames,
    )


def _judge(packed: Packed, send_anyway: bool) -> None:
    """Print what the checks found; raise `NotSent` when it stands in the way."""
    for text in packed.captured.warnings:
        _say("warning", text)
    for finding in packed.findings:
        _say(finding.severity, str(finding))
    if any(finding.severity == "fatal" for finding in packed.findings):
        raise NotSent("Nothing was sent: no frame would come out.")
    if any(_is_error(finding) for finding in packed.findings) and not send_anyway:
        raise NotSent("Nothing was sent: frames would come out wrong; --send-anyway insists.")


def _is_error(finding: Finding) -> bool:
    return finding.severity == "error"


def _say(severity: str, sentence: str) -> None:
    print(f"{severity}: {sentence}", file=sys.stderr, flush=True)


def _show(bar: ProgressBar, progress: SubmitProgress) -> None:
    amount = f"{size(progress.bytes_done)} of {size(progress.bytes_total)}"
    match progress.stage:
        case Stage.READING:
            bar.show("Reading and sending", progress.fraction, amount)
        case Stage.SENDING if progress.bytes_total:
            bar.show("Sending", progress.fraction, amount)
        case Stage.SENDING:
            bar.show("Sending", 1.0, "the farm has everything")
        case Stage.QUEUEING:
            bar.show("Queueing", progress.fraction)


def _print_submitted(submitted: Submitted) -> None:
    job = submitted.job
    print(
        f"Job {job.id} ({job.name}): {counted(frame_total(job), 'frame')}, "
        f"{counted(submitted.files, 'file')} of "
        f"{size(submitted.scene_bytes)}, sent {size(submitted.sent_bytes)} in "
        f"{submitted.seconds:.1f} s.",
        flush=True,
    )


def _submitted_json(submitted: Submitted) -> dict[str, object]:
    plain = to_plain(submitted)
    return {"id": submitted.job.id, "state": submitted.job.state.value} | plain


def _finish(is_json: bool, submitted: Submitted, delivered: Delivered) -> None:
    if is_json:
        print_json(_submitted_json(submitted) | delivered_json(delivered))
    else:
        print_delivered(delivered)
