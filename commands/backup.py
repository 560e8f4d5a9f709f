"""``rendermill backup``: a copy of the farm's data that a coordinator can be started from."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..coordinator.backup import Backup, BackupFailed, back_up
from ..wire.places import data_dir
from .exit_codes import ExitCode
from .printing import counted, size

SHOWN_MAX = 5
"""Of the files that the farm itself lacks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="a new folder, or that of an earlier backup of this farm, which is brought up to date",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data folder of the coordinator, as it prints it"
    )
    parser.add_argument(
        "--reread",
        action="store_true",
        help="also read every file that an earlier backup has stored, and replace damaged ones",
    )
    parser.add_argument("--json", action="store_true", help="print one line a script can read")


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command; 0 when the backup holds everything, 1 when something is missing in it."""

    def tell(files: int, length: int) -> None:
        print(f"{files} files, {size(length)} copied ...", file=sys.stderr, flush=True)

    data = (args.data or data_dir() / "coordinator").expanduser().absolute()
    folder = args.folder.expanduser().absolute()
    try:
        made = back_up(data, folder, tell, reread=args.reread)
    except BackupFailed as error:
        print(f"rendermill: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except OSError as error:
        where = error.filename or folder
        print(
            f"rendermill: The backup was given up, an earlier one is as it was: {where}: "
            f"{error.strerror or error}.",
            file=sys.stderr,
        )
        return ExitCode.FAILED
    if args.json:
        print(json.dumps({"ok": not made.lost, "folder": str(folder), **asdict(made)}))
    else:
        _print(made, folder)
    return ExitCode.FAILED if made.lost else ExitCode.DONE


def _print(made: Backup, folder: Path) -> None:
    print(
        f"Backup of farm {made.farm!r} in {folder}: {counted(made.jobs, 'job')}, "
        f"{counted(made.files, 'file')}, {size(made.length)}; of them "
        f"{counted(made.copied, 'file')}, {size(made.copied_length)}, copied now."
    )
    print(f"To go on from it:  rendermill coordinator --data {folder}")
    if made.same_disk:
        print("Farm and backup are on one disk, and would be lost together.")
    if made.lost:
        names = ", ".join(name[:12] for name in made.lost[:SHOWN_MAX])
        more = len(made.lost) - SHOWN_MAX
        print(
            f"{len(made.lost)} files are not in it, for the farm itself lacks them or has them "
            f"damaged ({names}{f' and {more} more' if more > 0 else ''}); "
            "`rendermill coordinator --check` says what they belong to."
        )
