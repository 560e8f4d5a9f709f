"""``rendermill drain | disable | enable | forgive NODE``."""

from __future__ import annotations

import argparse

from ..protocol.views import JobView, NodeView
from ..wire.connection import FarmConnection
from .control import print_job
from .exit_codes import ExitCode
from .printing import print_json, printable
from .scheduling import chosen_nodes
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments. ``forgive`` has one more than the others."""
    parser.add_argument("node", metavar="NODE", help="name or id, as `rendermill nodes` shows them")
    if parser.prog.endswith(" forgive"):
        parser.add_argument("--job", help="only for this job (default: for all)")
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
        found = await chosen_nodes(farm, (args.node,))
        assert found is not None
        (node_id,) = found
        if getattr(args, "job", None):
            path = f"/api/v1/jobs/{args.job}/forgive"
            print_job(await farm.post(path, JobView, body={"node": node_id}), is_json=args.json)
            return ExitCode.DONE
        node = await farm.post(f"/api/v1/nodes/{node_id}/{args.command}", NodeView)
        if args.json:
            print_json(node)
        else:
            why = f": {node.reason}" if node.reason else "."
            print(printable(f"{node.name} ({node.id[:8]}) is {node.state.value}{why}"))
        return ExitCode.DONE

    return run_on_farm(args, work)
