"""``rendermill demo``: the demo of a checkout."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

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
    command = [sys.executable, str(script), *args.arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 the user's own arguments
