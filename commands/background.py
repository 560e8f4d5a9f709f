"""``--background``, ``--stop`` and ``--status`` of ``rendermill node`` and ``coordinator``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from ..background import service, watch
from ..background.service import Member, Running, ServiceError
from .exit_codes import ExitCode

_FLAGS = ("--background", "--stop", "--status")


def add_arguments(parser: argparse.ArgumentParser, member: Member) -> None:
    """Declare the three options, and those that a member in the background is given."""
    group = parser.add_argument_group("in the background")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--background",
        action="store_true",
        help=f"start a {member.value} that goes on without this terminal, and return",
    )
    which.add_argument(
        "--stop", action="store_true", help=f"stop the {member.value} in the background"
    )
    which.add_argument(
        "--status", action="store_true", help=f"say whether a {member.value} runs in the background"
    )
    watch.add_arguments(parser)


def handle(args: argparse.Namespace, member: Member) -> int | None:
    """Carry out one of the three options; None where none was given."""
    try:
        if args.background:
            words = [word for word in args.words[1:] if word not in _FLAGS]
            before = service.status(member)
            running = service.start(member, words)
            _tell(args, member, running, "was running already" if before else "started")
            return ExitCode.DONE
        if args.status:
            running = service.status(member)
            _tell(args, member, running, "runs")
            return ExitCode.DONE if running else ExitCode.FAILED
        if args.stop:
            stopped = service.stop(member)
            text = f"The {member.value} has stopped." if stopped else _nothing(member)
            print(json.dumps({"stopped": stopped}) if args.json else text)
            return ExitCode.DONE
    except ServiceError as error:
        print(f"rendermill: {error}", file=sys.stderr)
        return ExitCode.FAILED
    return None


def _tell(args: argparse.Namespace, member: Member, running: Running | None, how: str) -> None:
    if args.json:
        print(json.dumps(None if running is None else asdict(running)))
    elif running is None:
        print(_nothing(member))
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running.started))
        print(f"The {member.value} {how}: process {running.pid}, since {since}.")
        print(f"Its log: {running.log}")


def _nothing(member: Member) -> str:
    return f"No {member.value} runs in the background."
