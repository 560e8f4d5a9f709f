"""A Blender for one task: started, waited for with a time limit, and gone for sure."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sandbox, script
from .failing import ran_out_of_memory
from .process import BlenderProcess, describe_exit

_FROM_OUTSIDE = frozenset(
    number
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "SIGXCPU")
    if (number := getattr(signal, name, None)) is not None
)
"""Signals that a program does not get by its own mistakes: someone else ended it."""

_BUSY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ETXTBSY)
"""Why a program could not be started just now, whatever the program."""

READ_SECONDS = 1.0
"""After the end, for the last lines of the log."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a Blender for one task ended. Its exit code proves nothing: look for the result."""

    how: str
    """A clause: "was ended by SIGSEGV", "gave no answer for 60 s"."""
    log: tuple[str, ...]
    succeeded: bool = False
    """Exit code 0 in time; necessary, not sufficient."""
    by_chance: bool = False
    """The machine may have ended it and not the program itself: no time, no memory, a signal from
    outside. Says nothing of the program, and another time it may end well."""


def make_folder(scratch: Path, prefix: str) -> Path:
    """Make a new folder below ``scratch``, which is created; absolute, without links."""
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=scratch)).resolve()


async def run_once(
    program: Path,
    *,
    is_module: bool,
    modules: tuple[str, ...],
    parameters: dict[str, Any],
    folder: Path,
    scratch: Path,
    seconds: float,
    readable: tuple[Path, ...] = (),
    level: str = sandbox.NONE,
) -> Ended:
    """Run a script of ``modules`` with ``parameters`` in a Blender of its own until it ends.

    Script and parameters lie in ``folder``, which lies below ``scratch``, the only folder that it
    may write to. ``seconds`` is the time limit; a cancelled call leaves no process behind.
    """
    source, values = folder / "script.py", folder / "parameters.json"
    source.write_text(script.compose(modules), "utf-8")
    ends_with = {"node": os.getpid(), "input_ends_with_node": True}
    values.write_text(json.dumps(parameters | ends_with), "utf-8")
    try:
        process = await BlenderProcess.start(
            script.command_line(program, is_module, source, values),
            scratch=scratch,
            program=program,
            readable=readable,
            level=level,
        )
    except OSError as error:
        return Ended(f"cannot be started: {error.strerror}", (), by_chance=error.errno in _BUSY)
    readers = [
        asyncio.create_task(
            process.read_replies(lambda line: process.add_log([line], lambda _: None))
        ),
        asyncio.create_task(process.read_log(lambda _: None)),
    ]
    how = ""
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        how = f"gave no answer for {seconds:.0f} s"
    finally:
        await process.kill()
        for reader in readers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader, READ_SECONDS)
    code = process.returncode or 0
    number, end = describe_exit(code)
    log = tuple(process.log)
    by_chance = bool(how) or number in _FROM_OUTSIDE or (code != 0 and ran_out_of_memory(log))
    return Ended(how or end, log, not how and code == 0, by_chance)
