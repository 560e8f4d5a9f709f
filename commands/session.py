"""A command's connection to the farm, and how its errors become exit codes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable

from ..addon.client.errors import ClientError
from ..protocol.codec import CodecError
from ..protocol.frames import FrameRangeError
from ..protocol.manifest import ManifestError
from ..wire.connection import FarmConnection
from ..wire.credentials import CredentialsError
from ..wire.discovery import resolve
from ..wire.errors import (
    FarmError,
    NoCoordinator,
    NotAllowed,
    NotFound,
    ProtocolMismatch,
    Unreachable,
)
from .exit_codes import ExitCode

PATIENCE_SECONDS = 15.0
"""A coordinator that restarts is back within this."""

_ENDINGS = (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))
"""Besides Ctrl-C."""


def add_farm_arguments(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """Add what every command has that talks to the farm."""
    parser.add_argument(
        "--coordinator",
        metavar="URL",
        help="address of the coordinator (default: $RENDERMILL_COORDINATOR, else the one on this "
        "machine, else the farm that was joined)",
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run_on_farm(
    args: argparse.Namespace, work: Callable[[FarmConnection], Awaitable[ExitCode]]
) -> ExitCode:
    """Find the coordinator, run ``work`` with a connection, and say in one sentence what failed."""

    async def connected() -> ExitCode:
        credentials = await resolve(args.coordinator)
        async with FarmConnection(credentials, patience_seconds=PATIENCE_SECONDS) as farm:
            return await work(farm)

    return run_async(connected())


def run_async(work: Awaitable[ExitCode]) -> ExitCode:
    """Run a coroutine to its end; errors that are meant for people become exit codes."""

    async def awaited() -> ExitCode:
        # Ended from outside, a command cleans up as after Ctrl-C: no Blender is left behind.
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in _ENDINGS:
            # Windows has no such handlers, and neither has a loop beside the main thread.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(awaited())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except (
        FarmError,
        ClientError,
        CredentialsError,
        ManifestError,
        FrameRangeError,
        CodecError,
    ) as error:
        print(f"rendermill: {error}", file=sys.stderr)
        return exit_code(error)


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code that fits an error."""
    match error:
        case NoCoordinator() | Unreachable() | ProtocolMismatch():
            return ExitCode.NO_COORDINATOR
        case NotAllowed():
            return ExitCode.NOT_ALLOWED
        case NotFound() | CredentialsError() | FrameRangeError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
