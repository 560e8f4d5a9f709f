"""What ends a member that nobody can press Ctrl-C for: a file, or the end of another process."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from . import process
from .log import write_everything_to

LOOK_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `service.start` gives; they are not for people."""
    for name in ("--log-file", "--stop-file"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--with-process", type=int, help=argparse.SUPPRESS)


def take_log(args: argparse.Namespace) -> None:
    """Write to the log file, where one was given."""
    if args.log_file is not None:
        write_everything_to(args.log_file)


async def watch(args: argparse.Namespace, stop: Callable[[], None]) -> None:
    """Call ``stop`` when the process to live with has ended, and for each line of the stop file.

    Runs until cancelled, or returns at once where there is nothing to look at.
    """
    pid: int | None = args.with_process
    born = process.birth(pid) if pid is not None else ""
    file: Path | None = args.stop_file
    if pid is None and file is None:
        return
    calls = 0
    while True:
        if pid is not None and (not born or process.birth(pid) != born):
            stop()
            pid = None
        asked = _lines(file)
        while calls < asked:
            stop()
            calls += 1
        await asyncio.sleep(LOOK_SECONDS)


def _lines(file: Path | None) -> int:
    if file is None:
        return 0
    try:
        return len(file.read_text("utf-8").splitlines())
    except OSError:
        return 0
