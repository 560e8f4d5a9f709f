"""``rendermill audit``: who did what, when, from where."""

from __future__ import annotations

import argparse
import time

from ..protocol.views import AuditPage, AuditView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import print_json, print_table
from .session import add_farm_arguments, run_on_farm

ENTRIES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--limit", type=int, default=ENTRIES, metavar="N", help=f"newest entries ({ENTRIES})"
    )
    parser.add_argument("--before", type=int, metavar="NUMBER", help="only entries older than this")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
        params = {"limit": args.limit, "before": args.before}
        page = await farm.get("/api/v1/audit", AuditPage, params=params)
        if args.json:
            print_json(page)
        else:
            headings = (">number", "when", "who", "from", "what", "to", "outcome")
            print_table(headings, map(_row, page.entries))
        return ExitCode.DONE

    return run_on_farm(args, work)


def _row(entry: AuditView) -> tuple[str, ...]:
    return (
        str(entry.number),
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time)),
        entry.member,
        entry.address,
        entry.action,
        entry.subject,
        entry.outcome,
    )
