"""``rendermill tokens``: list who is let in. ``rendermill tokens revoke ID``: shut one out."""

from __future__ import annotations

import argparse
import time

from ..protocol.views import TokenPage, TokenView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode, UsageError
from .printing import print_json, print_table
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "action", nargs="?", choices=("revoke",), help="shut out the holder of a token, at once"
    )
    parser.add_argument("token", nargs="?", metavar="ID", help="id of the token, as listed")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""
    if args.action and not args.token:
        raise UsageError("Say which token: `rendermill tokens revoke ID`.")

    async def work(farm: FarmConnection) -> ExitCode:
        if args.action:
            await farm.delete(f"/api/v1/tokens/{args.token}")
            if args.json:
                print_json({"revoked": args.token})
            else:
                print(f"{args.token} is revoked; what its holder had open is closed.")
            return ExitCode.DONE
        page = await farm.get("/api/v1/tokens", TokenPage)
        if args.json:
            print_json(page)
        else:
            print_table(("token", "name", "role", "since", "nodes", ""), map(_row, page.tokens))
        return ExitCode.DONE

    return run_on_farm(args, work)


def _row(token: TokenView) -> tuple[str, ...]:
    return (
        token.id,
        token.name,
        token.role,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(token.created)),
        ", ".join(node[:8] for node in token.nodes),
        "this one" if token.is_own else "",
    )
