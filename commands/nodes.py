"""``rendermill nodes``: list the nodes; ``rendermill nodes set NODE``: change one's settings."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..protocol.node_settings import SETTING_NAMES, NodeSettings, OnReturn
from ..protocol.views import NodePage, NodeView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode, UsageError
from .printing import print_json, print_table, size
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "action", nargs="?", choices=("set",), help="set: change the settings of one node"
    )
    parser.add_argument(
        "node", nargs="?", metavar="NODE", help="with set: name or id (its begin) of the node"
    )
    group = parser.add_argument_group(
        "with set", "What is set here goes before what the node was started with."
    )
    group.add_argument("--tag", action="append", metavar="T", help="its tags (may be repeated)")
    group.add_argument("--no-tags", action="store_true", help="no tags at all")
    group.add_argument(
        "--schedule", metavar="HOURS", help='such as "mon-fri 19:00-07:30"; "": always'
    )
    group.add_argument(
        "--when-idle",
        type=float,
        metavar="MINUTES",
        help="render only when nobody has touched it for so long; 0: whoever is there",
    )
    group.add_argument(
        "--max-load",
        type=float,
        metavar="PART",
        help="render only while others use at most this part of its processors; 0: whatever they "
        "use",
    )
    group.add_argument("--when-user-returns", choices=[choice.value for choice in OnReturn])
    group.add_argument(
        "--reset",
        action="append",
        default=[],
        choices=[name.replace("_", "-") for name in SETTING_NAMES],
        help="what the node was started with holds again (may be repeated)",
    )
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""
    body = _changes(args)
    if args.action == "set":
        if not args.node:
            raise UsageError("Name the node: rendermill nodes set NODE --tag ...")
        if not body:
            raise UsageError("Say what to set, such as --tag T or --schedule HOURS.")
        return run_on_farm(args, lambda farm: _set(farm, args, body))
    if body:
        raise UsageError("To change a node write: rendermill nodes set NODE ...")
    return run_on_farm(args, lambda farm: _list(farm, args))


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    if args.tag and args.no_tags:
        raise UsageError("--tag and --no-tags contradict each other.")
    given = {
        "tags": [] if args.no_tags else args.tag,
        "schedule": args.schedule,
        "idle_minutes": args.when_idle,
        "max_load": args.max_load,
        "on_return": args.when_user_returns,
        "reset": [name.replace("-", "_") for name in args.reset] or None,
    }
    return {name: value for name, value in given.items() if value is not None}


async def _list(farm: FarmConnection, args: argparse.Namespace) -> ExitCode:
    page = await farm.get("/api/v1/nodes", NodePage)
    if args.json:
        print_json(page)
    elif not page.nodes:
        print("No nodes. Let a machine render with `rendermill node`.")
    else:
        print_table(
            ("node", "name", "state", ">cores", ">memory", "Blender", "GPU", ">done", "note"),
            map(_row, page.nodes),
        )
    return ExitCode.DONE


async def _set(farm: FarmConnection, args: argparse.Namespace, body: dict[str, Any]) -> ExitCode:
    page = await farm.get("/api/v1/nodes", NodePage)
    named = [node for node in page.nodes if node.name == args.node]
    found = named or [node for node in page.nodes if node.id.startswith(args.node)]
    if len(found) != 1:
        raise UsageError(
            f"There is no node {args.node!r}; `rendermill nodes` lists them."
            if not found
            else f"{len(found)} nodes are called {args.node!r}; write more of the id of one."
        )
    node = await farm.patch(f"/api/v1/nodes/{found[0].id}", NodeView, body=body)
    if args.json:
        print_json(node)
    else:
        print(f"{node.name}: {_settings(node.settings)}")
        if node.reason:
            when = ""
            if node.changes_at is not None:
                when = f" (until {time.strftime('%a %H:%M', time.localtime(node.changes_at))})"
            print(f"Now: {node.reason}{when}")
    return ExitCode.DONE


def _settings(settings: NodeSettings) -> str:
    idle, load = settings.idle_minutes, settings.max_load
    return ", ".join(
        [
            f"tags {' '.join(settings.tags) or '-'}",
            f"hours {settings.schedule or 'always'}",
            f"when idle {f'for {idle:g} min' if idle else '-'}",
            f"load of others {f'at most {load:.0%}' if load else 'any'}",
            f"when its user returns {settings.on_return.value}",
        ]
    )


def _row(node: NodeView) -> tuple[str, ...]:
    machine = node.machine
    gpus = {f"{gpu.name} ({gpu.backend})" for blender in machine.blenders for gpu in blender.gpus}
    work = f"frame {node.frame} of {node.job}" if node.frame is not None else ""
    return (
        node.id[:8],
        node.name,
        node.state.value,
        str(machine.cores),
        size(machine.memory_bytes),
        ", ".join(".".join(map(str, blender.version)) for blender in machine.blenders),
        ", ".join(sorted(gpus)),
        str(node.frames_done),
        node.reason or work,
    )
