"""``rendermill node``: this machine renders for the farm until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..background import launch, watch
from ..background.service import Member
from ..node import hardware
from ..node.blender.session import SILENT_SECONDS
from ..node.cache import CacheError
from ..node.daemon import Node
from ..node.identity import NodeError
from ..node.link import LinkRefused
from ..node.notices import Notice, NoticeKind
from ..node.options import GRACE_SECONDS, MEMORY_PART, NodeOptions
from ..node.slots import Slot, SlotsError, Supervisor, parse_slots
from ..protocol.node_settings import NodeSettings, OnReturn, SettingsError, check
from ..wire.credentials import CredentialsError, JoinToken
from ..wire.discovery import INTERFACE_VARIABLE
from ..wire.errors import NotAllowed
from . import background
from .exit_codes import ExitCode

GIB = 1024**3
_FAILED, _NOT_ALLOWED = ExitCode.FAILED, ExitCode.NOT_ALLOWED

_CHATTY = (NoticeKind.PROGRESS, NoticeKind.FETCHING)
"""Kinds that come often: shown on one line that changes, and only on a terminal."""
_PROGRESS_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = (
        "Render for a farm until stopped (Ctrl-C: the frame in progress is finished first, "
        "Ctrl-C again: it is given back at once)."
    )
    parser.add_argument(
        "--coordinator",
        metavar="URL",
        help="address of the coordinator; default: the one on this machine or of the farm joined",
    )
    parser.add_argument(
        "--join",
        metavar="TOKEN",
        help="join a farm with the token that its coordinator prints",
    )
    parser.add_argument(
        "--blender",
        metavar="PATH",
        action="append",
        default=[],
        type=Path,
        help="a Blender, or a Python that has bpy, besides those found (may be repeated)",
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of this node alone")
    parser.add_argument(
        "--name",
        metavar="N",
        default="",
        help="name of this node; each name on one machine is a node of its own",
    )
    parser.add_argument(
        "--tag",
        metavar="T",
        action="append",
        default=[],
        help="a word that jobs can ask for (may be repeated)",
    )
    _add_workstation_arguments(parser)
    parser.add_argument(
        "--threads", metavar="N", type=_count, default=0, help="render threads; default: all"
    )
    parser.add_argument(
        "--cache-size",
        metavar="GB",
        type=_gibibytes,
        help="most that scenes may take on disk; default: 100, at most a fifth of the disk",
    )
    parser.add_argument(
        "--memory",
        metavar="GB",
        type=_gibibytes,
        help=f"most memory Blender may use; default: {MEMORY_PART:.0%}% of the machine's",
    )
    parser.add_argument(
        "--silent",
        metavar="SECONDS",
        type=_limit,
        default=SILENT_SECONDS,
        help="a Blender that says nothing and uses no processor for so long hangs, unless the job "
        f"says otherwise (default {SILENT_SECONDS:.0f})",
    )
    parser.add_argument(
        "--frame-limit",
        metavar="SECONDS",
        type=_limit,
        default=0.0,
        help="longest time for one frame, unless the job says otherwise (default: none)",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=_seconds,
        default=GRACE_SECONDS,
        help="how long the frame in progress may take after a stop; 0: give it back at once "
        f"(default {GRACE_SECONDS:.0f})",
    )
    group = parser.add_argument_group("several renderers on one machine")
    group.add_argument(
        "--slots",
        metavar="LIST",
        help="one node for each, such as cpu,gpu:0,gpu:1; named after the machine and the slot",
    )
    group.add_argument("--slot", help=argparse.SUPPRESS)
    group.add_argument("--slot-parent", type=int, help=argparse.SUPPRESS)
    background.add_arguments(parser, Member.NODE)
    parser.add_argument(
        "--interface", metavar="A", help="the one network address to look for the farm on"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _add_workstation_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a machine that somebody works at",
        "What an administrator sets for this node on the coordinator goes before these.",
    )
    group.add_argument(
        "--when-idle",
        metavar="MINUTES",
        type=float,
        default=0.0,
        help="render only when nobody has touched the machine for so long",
    )
    group.add_argument(
        "--max-load",
        metavar="PART",
        type=float,
        default=0.0,
        help="render only while other programs use at most this part of the processors, such as "
        "0.5",
    )
    group.add_argument(
        "--schedule",
        metavar="HOURS",
        default="",
        help='render only in these hours of the week, such as "mon-fri 19:00-07:30; sat,sun '
        '00:00-24:00"',
    )
    group.add_argument(
        "--when-user-returns",
        choices=[choice.value for choice in OnReturn],
        default=OnReturn.FINISH.value,
        help="what becomes of the frame in progress when the node may not render any more "
        "(default: it is finished, and no other is begun)",
    )
    group.add_argument(
        "--priority",
        choices=("low", "normal"),
        help="of Blender against other programs (default: low with any of the options above, "
        "else normal)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the node and return the exit code."""
    code = background.handle(args, Member.NODE)
    if code is not None:
        return code
    try:
        slots = parse_slots(args.slots, args.threads or hardware.cores()) if args.slots else ()
        join = JoinToken.parse(args.join) if args.join else None
        settings = check(
            NodeSettings(
                tags=tuple(args.tag),
                schedule=args.schedule,
                idle_minutes=args.when_idle,
                max_load=args.max_load,
                on_return=OnReturn(args.when_user_returns),
            )
        )
    except (CredentialsError, SlotsError, SettingsError) as error:
        print(error, file=sys.stderr)
        return ExitCode.USAGE
    if args.interface:
        os.environ[INTERFACE_VARIABLE] = args.interface
    watch.take_log(args)
    printer = (_JsonPrinter if args.json else _LinePrinter)(args.slot or "")
    if slots and not args.slot:
        return asyncio.run(_supervise(args, slots, printer))
    options = NodeOptions(
        coordinator=args.coordinator,
        join=join,
        blenders=tuple(args.blender),
        data=args.data.expanduser().absolute() if args.data else None,
        cache_bytes=args.cache_size,
        name=args.name,
        settings=settings,
        low_priority=_is_low(args, settings),
        threads=args.threads,
        silent_seconds=args.silent,
        frame_seconds=args.frame_limit,
        memory_bytes=args.memory,
        grace_seconds=args.grace,
    )
    if args.slot:
        slot = next(slot for slot in slots if slot.name == args.slot)
        options = _of_slot(options, slot, args.slot_parent)
    try:
        asyncio.run(_live(args, options, printer))
    except (NodeError, CacheError) as error:
        print(error, file=sys.stderr)
        return _FAILED
    except LinkRefused as error:
        print(error, file=sys.stderr)
        return _NOT_ALLOWED if isinstance(error.error, NotAllowed) else _FAILED
    return 0


def _of_slot(options: NodeOptions, slot: Slot, parent: int | None) -> NodeOptions:
    """Return the options of one slot of the node that ``options`` describe."""
    return replace(
        options,
        name=f"{options.label}/{slot.name}",
        data=options.data / f"slot-{slot.name}" if options.data else None,
        threads=slot.threads,
        memory_share=slot.memory_share,
        gpu_only=slot.is_gpu,
        slot=slot.name,
        load_root=parent,
    )


async def _supervise(
    args: argparse.Namespace, slots: tuple[Slot, ...], printer: _JsonPrinter | _LinePrinter
) -> int:
    own = ("--slot-parent", str(os.getpid()), "--with-process", str(os.getpid()))
    words = [*_without(args.words, ("--log-file", "--stop-file", "--with-process")), *own]

    def command(slot: Slot) -> list[str]:
        log: tuple[str, ...] = ()
        if args.log_file is not None:
            # Each its own: only who writes to a file can keep it small.
            log = ("--log-file", str(args.log_file.with_suffix(f".{slot.name}.log")))
        return launch.command([*words, "--slot", slot.name, *log])

    supervisor = Supervisor(slots, command, printer.tell)
    _stop_by_signals(supervisor.stop)
    watching = asyncio.create_task(watch.watch(args, supervisor.stop))
    try:
        return await supervisor.run()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _without(words: Sequence[str], options: tuple[str, ...]) -> list[str]:
    """Return words without options that have one value each."""
    left: list[str] = []
    skip = False
    for word in words:
        if skip or word.partition("=")[0] in options:
            skip = not skip and "=" not in word
        else:
            left.append(word)
    return left


async def _live(
    args: argparse.Namespace, options: NodeOptions, printer: _JsonPrinter | _LinePrinter
) -> None:
    node = Node(options, printer.tell)
    _stop_by_signals(node.stop)
    watching = asyncio.create_task(watch.watch(args, node.stop))
    try:
        await node.run()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _stop_by_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    # A terminal that is closed, or a connection that is lost, is a stop like any other.
    more = [getattr(signal, name) for name in ("SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    for number in (signal.SIGINT, signal.SIGTERM, *more):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # Windows: the handler runs in the main thread between two steps of the loop.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


class _JsonPrinter:
    """One JSON object a line: time, event, text and the facts."""

    def __init__(self, slot: str) -> None:
        self._slot = {"slot": slot} if slot else {}

    def tell(self, notice: Notice) -> None:
        """Print a notice."""
        plain = {"time": round(time.time(), 3), "event": notice.kind.value, "text": notice.text}
        plain |= self._slot
        # A fact must never hide what the line itself says.
        facts = {name: value for name, value in notice.facts.items() if name not in plain}
        print(json.dumps(plain | facts), flush=True)


class _LinePrinter:
    """Lines for people; on a terminal the last one shows progress and changes in place."""

    def __init__(self, slot: str) -> None:
        self._slot = f"[{slot}] " if slot else ""
        # Several that draw on one line would draw over each other.
        self._live = sys.stdout.isatty() and not slot
        self._drawn = False
        self._next = 0.0

    def tell(self, notice: Notice) -> None:
        """Print a notice."""
        if notice.kind in _CHATTY:
            now = time.monotonic()
            if self._live and now >= self._next:
                self._next = now + _PROGRESS_SECONDS
                self._drawn = True
                print(f"\r\x1b[2K{notice.text[:100]}", end="", flush=True)
            return
        if self._drawn:
            print("\r\x1b[2K", end="")
            self._drawn = False
        print(f"{time.strftime('%H:%M:%S')} {self._slot}{notice.text}", flush=True)


def _is_low(args: argparse.Namespace, settings: NodeSettings) -> bool:
    return args.priority == "low" or (args.priority is None and settings.is_workstation)


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads from 1 to 1024")
    return int(text)


def _gibibytes(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0.001 <= size <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in GB, such as 50")
    return int(size * GIB)


def _limit(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of at least a second, such as 30")
    return seconds


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds, such as 30")
    return seconds
