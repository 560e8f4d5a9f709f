"""``rendermill coordinator``: run the coordinator of a farm until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from ..background import watch
from ..background.service import Member
from ..coordinator.app import (
    DEFAULT_PORT,
    EVERYWHERE,
    CannotServe,
    Options,
    RunningCoordinator,
)
from ..coordinator.farm.config import FarmConfig
from ..coordinator.store import DataInUse, StoreError
from ..wire.places import data_dir
from . import background, checking
from .exit_codes import ExitCode

_PORT_MAX = 65_535
_LEASE_MIN_SECONDS = 2.0
"""Shorter, and a machine that renders on all cores is taken for a dead one."""
_LEASE_MAX_SECONDS = 3600.0
_DEFAULT = FarmConfig()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--host",
        default=EVERYWHERE,
        metavar="H",
        help="address to listen on (default: all; 127.0.0.1: this machine only, without TLS)",
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="P", help="port; 0: any free one"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of database and blobs")
    parser.add_argument("--name", default="", metavar="FARM", help="name of the farm, for people")
    parser.add_argument(
        "--interface", default="", metavar="A", help="the one address to announce the farm on"
    )
    parser.add_argument(
        "--lease",
        type=_lease,
        default=_DEFAULT.lease_seconds,
        metavar="SECONDS",
        help="a node silent for so long has lost its frames; it is asked to speak nine times as "
        f"often (default {_DEFAULT.lease_seconds:.0f})",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="serve nothing: read every file of the data folder, say what is damaged, and end",
    )
    parser.add_argument("--json", action="store_true", help="print one line a script can read")
    background.add_arguments(parser, Member.COORDINATOR)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    code = background.handle(args, Member.COORDINATOR)
    if code is not None:
        return code
    watch.take_log(args)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    # Alembic tells every step of an unchanged schema.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    options = Options(
        data=(args.data or data_dir() / "coordinator").expanduser().absolute(),
        host=args.host,
        port=args.port,
        name=args.name.strip(),
        interface=args.interface,
        config=_config(args.lease),
    )
    if args.check:
        return checking.check(options.data, as_json=args.json)
    return asyncio.run(_serve(options, args))


async def _serve(options: Options, args: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, told_to_stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told_to_stop.set))
    watching = asyncio.create_task(watch.watch(args, told_to_stop.set))
    coordinator = RunningCoordinator(options)
    try:
        await coordinator.start()
    except (CannotServe, StoreError) as error:
        print(f"rendermill: {error}", file=sys.stderr)
        return ExitCode.USAGE if isinstance(error, CannotServe | DataInUse) else ExitCode.FAILED
    except OSError as error:
        print(
            f"rendermill: The coordinator cannot use {options.data} ({error}); name another folder "
            "with --data.",
            file=sys.stderr,
        )
        return ExitCode.FAILED
    try:
        _print(coordinator, as_json=args.json)
        stopping = asyncio.ensure_future(told_to_stop.wait())
        await asyncio.wait([stopping, coordinator.failed], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await coordinator.stop()
    if coordinator.failed.done():
        print(f"rendermill: {coordinator.failed.result()}", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.DONE


def _print(coordinator: RunningCoordinator, *, as_json: bool) -> None:
    if as_json:
        line = {
            "url": coordinator.url,
            "network_url": coordinator.network_url,
            "farm": coordinator.farm_name,
            "farm_id": coordinator.credentials.farm_id,
            "join": str(coordinator.join_token),
            "sign_in": _sign_in_link(coordinator),
            "data": str(coordinator.options.data),
        }
        print(json.dumps(line), flush=True)
        return
    print(f"Farm {coordinator.farm_name!r} at {coordinator.network_url}")
    print(f"Status page:  {_sign_in_link(coordinator)}")
    print("A node here:  rendermill node")
    if coordinator.fingerprint:
        print(f"A node elsewhere:  rendermill node --join {coordinator.join_token}")
        print(
            "An artist elsewhere: paste the token in the add-on's preferences, or "
            f"rendermill join {coordinator.join_token}"
        )
    print(f"Data:  {coordinator.options.data}", flush=True)


def _sign_in_link(coordinator: RunningCoordinator) -> str:
    # In the fragment, which browsers keep to themselves: it reaches no log and no other site.
    return f"{coordinator.url}/#token={coordinator.token}"


def _config(lease_seconds: float) -> FarmConfig:
    """Return the usual numbers, with those that hang on the lease in their usual proportion."""
    part = lease_seconds / _DEFAULT.lease_seconds
    return FarmConfig(
        lease_seconds=lease_seconds,
        suspect_seconds=_DEFAULT.suspect_seconds * part,
        heartbeat_seconds=_DEFAULT.heartbeat_seconds * part,
    )


def _lease(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEASE_MIN_SECONDS <= seconds <= _LEASE_MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time from {_LEASE_MIN_SECONDS:g} to {_LEASE_MAX_SECONDS:g} seconds."
        )
    return seconds


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= _PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use 1 to {_PORT_MAX}, or 0.")
    return port
