"""Options about who renders a job, when and for how long, for ``submit`` and ``change``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields, replace

from ..protocol.job import PRIORITY_MAX, PRIORITY_MIN, FrameOrder, JobSpec, Limits
from ..protocol.views import NodePage, NodeView
from ..wire.connection import FarmConnection
from .exit_codes import UsageError

GIB = 1024**3
SHORTEST_ID_CHARS = 4
"""Of the beginning of a node's id that may stand for it."""

_LIMITS = {
    "silent": ("silent_seconds", "give a frame up when Blender shows no sign of life for so long"),
    "no_progress": ("no_progress_seconds", "... when its progress stands still for so long"),
    "longest": ("frame_seconds", "... when it takes longer"),
    "shortest": ("shortest_seconds", "take a frame that is done sooner for a failure"),
}
"""Option -> field of `Limits`, help."""


def add_scheduling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is None."""
    parser.add_argument(
        "--priority", type=_priority, help=f"{PRIORITY_MIN} to {PRIORITY_MAX}; larger goes first"
    )
    parser.add_argument(
        "--node",
        action="append",
        metavar="NODE",
        help="only on this node (name or id; may be repeated)",
    )
    parser.add_argument(
        "--tag", action="append", metavar="TAG", help="only on nodes with this tag (repeatable)"
    )
    parser.add_argument("--max-nodes", type=_count, metavar="N", help="most nodes; 0: no limit")
    parser.add_argument(
        "--memory", type=_gib, metavar="GIB", help="least memory of a node in GiB; 0: not known"
    )
    parser.add_argument("--order", choices=[order.value for order in FrameOrder])
    for option, (_, text) in _LIMITS.items():
        parser.add_argument(
            f"--{option.replace('_', '-')}",
            type=_seconds,
            metavar="SECONDS",
            help=f"{text}; 0: the farm decides",
        )


def _priority(text: str) -> int:
    number = int(text)
    if not PRIORITY_MIN <= number <= PRIORITY_MAX:
        raise argparse.ArgumentTypeError(
            f"a priority is {PRIORITY_MIN} to {PRIORITY_MAX}, not {number}"
        )
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("it cannot be negative")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("seconds are 0 or more")
    return number


def _gib(text: str) -> int:
    return int(_seconds(text) * GIB)


def changed_limits(args: argparse.Namespace, limits: Limits) -> Limits:
    """Return the limits with those changed that were given."""
    given = {
        field: value
        for option, (field, _) in _LIMITS.items()
        if (value := getattr(args, option)) is not None
    }
    return replace(limits, **given)


async def chosen_nodes(farm: FarmConnection, words: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the ids of nodes named by name, id or the beginning of the id; None for None.

    Raises `UsageError` for a word that fits no node, or several.
    """
    if words is None:
        return None
    known = (await farm.get("/api/v1/nodes", NodePage)).nodes
    return tuple(dict.fromkeys(_find(known, word) for word in words))


def _find(known: Iterable[NodeView], word: str) -> str:
    nodes = tuple(known)
    found = [one.id for one in nodes if one.id == word]
    found = found or [one.id for one in nodes if one.name == word]
    if not found and len(word) >= SHORTEST_ID_CHARS:
        found = [one.id for one in nodes if one.id.startswith(word)]
    if not found:
        raise UsageError(f"There is no node {word!r}; `rendermill nodes` lists them.")
    if len(found) > 1:
        raise UsageError(f"{len(found)} nodes are called {word!r}; name one by its id.")
    return found[0]


async def scheduled(farm: FarmConnection, args: argparse.Namespace, spec: JobSpec) -> JobSpec:
    """Return the spec with what the options of `add_scheduling_arguments` say."""
    nodes = await chosen_nodes(farm, args.node)
    requires = spec.requires
    requires = replace(
        requires,
        nodes=requires.nodes if nodes is None else nodes,
        tags=requires.tags if args.tag is None else tuple(args.tag),
        memory_bytes=requires.memory_bytes if args.memory is None else args.memory,
    )
    return replace(
        spec,
        requires=requires,
        priority=spec.priority if args.priority is None else args.priority,
        max_nodes=spec.max_nodes if args.max_nodes is None else args.max_nodes,
        order=spec.order if args.order is None else FrameOrder(args.order),
        limits=changed_limits(args, spec.limits),
    )


def has_limits(args: argparse.Namespace) -> bool:
    """Whether any limit was given."""
    return any(getattr(args, option) is not None for option in _LIMITS)


assert {field for field, _ in _LIMITS.values()} == {field.name for field in fields(Limits)}
