"""``rendermill join TOKEN``: join a farm from another machine."""

from __future__ import annotations

import argparse

from ..wire.credentials import JoinToken
from ..wire.discovery import join
from ..wire.places import user_label
from .exit_codes import ExitCode
from .printing import print_json
from .session import run_async


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("token", metavar="TOKEN", help="rm1...., as the coordinator prints it")
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        default="",
        help="host, host:port or URL; default: where the coordinator announces itself",
    )
    parser.add_argument("--name", default=user_label(), help="name of this device on the farm")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work() -> ExitCode:
        farm = await join(args.address, JoinToken.parse(args.token), name=args.name)
        if args.json:
            print_json({"url": farm.url, "farm": farm.farm, "farm_id": farm.farm_id})
        else:
            print(f"This machine has joined {farm.farm} at {farm.url}.")
        return ExitCode.DONE

    return run_async(work())
