"""``rendermill change JOB``: change who renders a job, how urgent it is, its order and limits."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..protocol.views import JobDetail, JobView
from ..wire.connection import FarmConnection
from .control import print_job
from .exit_codes import ExitCode, UsageError
from .scheduling import add_scheduling_arguments, changed_limits, chosen_nodes, has_limits
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("job", metavar="JOB", help="id of the job, as `rendermill jobs` shows it")
    add_scheduling_arguments(parser)
    parser.add_argument("--any-node", action="store_true", help="on every node again")
    parser.add_argument("--no-tags", action="store_true", help="whatever the tags of a node")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""
    if args.any_node and args.node:
        raise UsageError("Give either --node or --any-node.")
    if args.no_tags and args.tag:
        raise UsageError("Give either --tag or --no-tags.")

    async def work(farm: FarmConnection) -> ExitCode:
        path = f"/api/v1/jobs/{args.job}"
        changes: dict[str, object] = {
            "priority": args.priority,
            "nodes": [] if args.any_node else await chosen_nodes(farm, args.node),
            "tags": [] if args.no_tags else args.tag,
            "max_nodes": args.max_nodes,
            "memory_bytes": args.memory,
            "order": args.order,
        }
        if has_limits(args):
            limits = (await farm.get(path, JobDetail)).spec.limits
            changes["limits"] = asdict(changed_limits(args, limits))
        body = {name: value for name, value in changes.items() if value is not None}
        if not body:
            raise UsageError("Nothing is to be changed; `rendermill change --help` says what can.")
        print_job(await farm.patch(path, JobView, body=body), is_json=args.json)
        return ExitCode.DONE

    return run_on_farm(args, work)
