"""``rendermill nodes``: list the nodes."""

from __future__ import annotations

import argparse

from ..protocol.views import NodePage, NodeView
from ..wire.connection import FarmConnection
from .exit_codes import ExitCode
from .printing import print_json, print_table, size
from .session import add_farm_arguments, run_on_farm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Run the command."""

    async def work(farm: FarmConnection) -> ExitCode:
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

    return run_on_farm(args, work)


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
