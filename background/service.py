"""A node or a coordinator as a process of its own: one call starts it, one finds it, one stops it.

What runs is written down in ``<data>/background/<member>.json`` with the start time of its
process: a number that was given to another process since is never taken for it. What it prints
goes to ``<data>/background/<member>.log``, of bounded size. Nothing here asks a terminal anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from ..node.locks import FileLock
from ..wire import places
from . import launch, process

STARTED_SECONDS = 1.0
"""One that ends within this time of its start could not begin; its log says why."""
STOP_SECONDS = 30.0
"""A node finishes its frame for 15 s and sends its results for 5 s."""
HURRY_SECONDS = 10.0
LOG_TAIL_LINES = 5
_POLL_SECONDS = 0.05
_DETACH = """
import os, subprocess, sys
with open(sys.argv[1], "ab") as log, open(os.devnull) as nothing:
    child = subprocess.Popen(sys.argv[2:], stdin=nothing, stdout=log, stderr=log,
                             start_new_session=True, close_fds=True)
print(child.pid, flush=True)
os._exit(0)
"""


class Member(str, Enum):
    """What can run in the background; the value is its subcommand."""

    NODE = "node"
    COORDINATOR = "coordinator"


class ServiceError(Exception):
    """Why it could not be started or stopped; one sentence, and the log's last lines."""


@dataclass(frozen=True, slots=True)
class Running:
    """A member that runs in the background."""

    member: str
    pid: int
    born: str
    """As `process.birth`."""
    started: float
    """Seconds since 1970."""
    words: tuple[str, ...]
    """Of its command line."""
    log: str
    """File with what it prints."""


def log_file(member: Member) -> Path:
    """Return the file with what a member prints in the background."""
    return _folder() / f"{member.value}.log"


def status(member: Member) -> Running | None:
    """Return what runs in the background; None when nothing does."""
    try:
        plain = json.loads(_record(member).read_text("utf-8"))
        found = Running(**(plain | {"words": tuple(plain["words"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.born and process.birth(found.pid) == found.born else None


def last_words(member: Member) -> str:
    """Return the end of what a member has said, as a sentence; '' when it never said anything."""
    log = log_file(member)
    return _tail(log) if log.is_file() else ""


def start(
    member: Member,
    words: Sequence[str] = (),
    *,
    python: str = "",
    paths: Sequence[str] = (),
    blender: str = "",
    until_process_ends: int | None = None,
    settle_seconds: float = STARTED_SECONDS,
) -> Running:
    """Start a member that outlives this process, and return it; the one that runs already stays.

    ``words``: options of its subcommand. ``python``, ``paths``: as `launch.command`. ``blender``:
    what a node renders with, besides those it finds. ``until_process_ends``: it stops when this
    process is gone, however that ended. Blocks for ``settle_seconds``, or until it has ended again.
    Raises `ServiceError`.
    """
    _folder().mkdir(parents=True, exist_ok=True)
    with FileLock(_folder() / f"{member.value}.lock"):
        running = status(member)
        if running is not None:
            return running
        _stop_file(member).unlink(missing_ok=True)
        log = log_file(member)
        named = ("--blender", blender) if blender else ()
        own = ("--log-file", str(log), "--stop-file", str(_stop_file(member)))
        bound = ()
        if until_process_ends is not None:
            bound = ("--with-process", str(until_process_ends))
        all_words = (member.value, *words, *named, *own, *bound)
        pid = _spawn(launch.command(all_words, python=python, paths=paths), log)
        born = process.birth(pid)
        running = Running(member.value, pid, born, time.time(), tuple(all_words), str(log))
        _write(_record(member), json.dumps(asdict(running)))
        if not born or process.wait_gone(pid, born, settle_seconds):
            _record(member).unlink(missing_ok=True)
            raise ServiceError(f"The {member.value} ended at once. {_tail(log)}")
        return running


def stop(member: Member, seconds: float = STOP_SECONDS) -> bool:
    """Stop what runs in the background and wait for its end; whether anything ran.

    A node may finish its frame within ``seconds``; then it gives it back. One that does not end
    even then is killed.
    """
    running = status(member)
    if running is None:
        return False
    pid, born = running.pid, running.born
    _ask_to_stop(member, running)
    if not process.wait_gone(pid, born, seconds):
        _ask_to_stop(member, running)
        if not process.wait_gone(pid, born, HURRY_SECONDS):
            if sys.platform == "win32":
                os.kill(pid, signal.SIGTERM)  # Ends it at once, there.
            else:
                process.tell(pid, born, signal.SIGKILL)
            process.wait_gone(pid, born, HURRY_SECONDS)
    if process.birth(pid) == born:
        raise ServiceError(f"The {member.value} (process {pid}) cannot be stopped.")
    _record(member).unlink(missing_ok=True)
    _stop_file(member).unlink(missing_ok=True)
    return True


def _ask_to_stop(member: Member, running: Running) -> None:
    if sys.platform == "win32":
        # A process without a console hears no signal: it looks for this file (see `watch`).
        with _stop_file(member).open("a") as file:
            file.write("stop\n")
    else:
        process.tell(running.pid, running.born, signal.SIGTERM)


def _spawn(command: list[str], log: Path) -> int:
    """Start a process that is nobody's child and return its number."""
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        with log.open("ab") as out:
            started = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                creationflags=flags,
                cwd=Path.home(),
            )
        started.returncode = 0  # It is not waited for; nobody shall be warned of that.
        return started.pid
    try:
        # In between stands one that ends at once: what it starts belongs to the system, which
        # collects its end even if this process lives on and never asks.
        done = subprocess.run(  # noqa: S603 - our own command
            [command[0], "-s", "-c", _DETACH, str(log), *command],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path.home(),
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise ServiceError(f"{command[0]} cannot be started: {error}.") from error


def _folder() -> Path:
    return places.data_dir() / "background"


def _record(member: Member) -> Path:
    return _folder() / f"{member.value}.json"


def _stop_file(member: Member) -> Path:
    return _folder() / f"{member.value}.stop"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text("utf-8", "replace").splitlines()
        said = [line.strip() for line in lines[-LOG_TAIL_LINES:] if line.strip()]
        if said:
            return f"It said: {' / '.join(said)}"
    return f"Its log is {log}."
