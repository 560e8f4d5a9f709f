"""``rendermill demo``: the demo of a checkout."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from .exit_codes import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments: all of them are the demo's own."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of scripts/demo.py")


def run(args: argparse.Namespace) -> int:
    """Run ``scripts/demo.py`` with this Python and return its exit code."""
    script = Path(__file__).resolve().parent.parent / "scripts" / "demo.py"
    if not script.is_file():
        raise UsageError(
            "The demo is part of the source checkout and not of this installation; clone the "
            "repository and run `python3 scripts/demo.py` there."
        )
    return run_to_its_end([sys.executable, str(script), *args.arguments])


def run_to_its_end(command: list[str]) -> int:
    """Run a program that cleans up after itself when it is interrupted, and wait until it has.

    `subprocess.run` would kill it a quarter of a second after Ctrl-C, and leave a farm running.
    """
    with subprocess.Popen(command) as process:  # noqa: S603 the user's own arguments

        def hand_on(number: int, _frame: FrameType | None) -> None:
            process.send_signal(number)

        # Ctrl-C reaches the program by itself, as it is in the same group; these do not.
        others = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.signal(number, hand_on) for number in others}
        try:
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
