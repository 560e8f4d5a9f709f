"""``rendermill doctor``: check this machine; for each thing that is wrong, how to fix it.

EEVEE and Workbench are tried with ``--full`` only: a software OpenGL compiles shaders for a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..coordinator.data_folder import BLOBS, DAMAGED, DATABASE, damaged_blobs, database_problem
from ..node.blender.find import Candidate, NotABlender, find_blenders
from ..node.blender.probe import ProbeFailed, probe
from ..protocol.views import FarmView
from ..wire import places
from ..wire.connection import FarmConnection
from ..wire.credentials import Credentials, CredentialsError, load_local, saved_farms
from ..wire.discovery import Found, browse, resolve
from ..wire.errors import FarmError
from .exit_codes import ExitCode
from .printing import print_json, size
from .session import add_farm_arguments, exit_code, run_async

PYTHON_MIN = (3, 11)
DISK_FREE_MIN_BYTES = 5 * 1000**3
"""Below this a scene with textures and its frames may not fit."""
FARM_FREE_MIN_BYTES = 2 * 1000**3
"""Below this the disk of a coordinator is soon full: it never uses the last 256 MiB."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    is_good: bool
    what: str
    """What was found, for people."""
    fix: str = ""
    """What to do; '' when it is good."""
    is_needed: bool = True
    """False: only some uses need it, so it does not count as a failure."""
    code: ExitCode = ExitCode.FAILED
    """What the command ends with when it is needed and not good."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--blender", metavar="PATH", type=Path, action="append", default=[], help="check this too"
    )
    parser.add_argument(
        "--full", action="store_true", help="also render with EEVEE and Workbench (takes a minute)"
    )
    add_farm_arguments(parser)


def run(args: argparse.Namespace) -> ExitCode:
    """Check everything; 0 when all that is needed is good, else 1 or the coordinator's code."""

    async def work() -> ExitCode:
        checks: list[Check] = []
        code = ExitCode.DONE
        async for check in _checks(args):
            checks.append(check)
            if not args.json:
                _print(check)
            if not check.is_good and check.is_needed:
                code = code or check.code
        if args.json:
            print_json({"ok": code is ExitCode.DONE, "checks": [asdict(check) for check in checks]})
        return code

    return run_async(work())


def _print(check: Check) -> None:
    mark = "ok  " if check.is_good else "FAIL" if check.is_needed else "note"
    print(f"{mark}  {check.name}: {check.what}", flush=True)
    if check.fix:
        print(f"      -> {check.fix}", flush=True)


async def _checks(args: argparse.Namespace) -> AsyncIterator[Check]:
    yield _python()
    data = places.data_dir() / "coordinator"
    if (data / DATABASE).exists():
        yield await asyncio.to_thread(farm_data, data)
    for folder in (places.config_dir(), places.data_dir(), places.cache_dir()):
        yield await asyncio.to_thread(_folder, folder)
    async for check in _blenders(args.blender, full=args.full):
        yield check
    async for check in _coordinator(args.coordinator):
        yield check
    yield await _zeroconf()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    is_good = sys.version_info >= PYTHON_MIN
    wanted = ".".join(map(str, PYTHON_MIN))
    return Check(
        "Python",
        is_good,
        f"{version} at {sys.executable}",
        "" if is_good else f"install Python {wanted} or newer",
    )


def _folder(folder: Path) -> Check:
    """Whether a folder can be written (it is made) and has room."""
    name = f"folder {folder.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(
            name,
            False,
            f"{folder} cannot be written ({error.strerror or error})",
            "change its owner, or set RENDERMILL_HOME to a folder of yours",
        )
    is_good = free >= DISK_FREE_MIN_BYTES
    return Check(
        name,
        is_good,
        f"{folder}, {size(free)} free",
        "" if is_good else f"make room: below {size(DISK_FREE_MIN_BYTES)} a scene may not fit",
        is_needed=False,
    )


def farm_data(data: Path) -> Check:
    """Whether what a coordinator keeps here is whole, and its disk has room."""
    name = "farm data"
    damaged = damaged_blobs(data)
    if damaged:
        return Check(
            name,
            False,
            f"{len(damaged)} damaged {'file was' if len(damaged) == 1 else 'files were'} set aside "
            f"in {data / BLOBS / DAMAGED}",
            "check the disk; stop the coordinator and run `rendermill coordinator --check`, which "
            "says what is rendered or sent again; then delete that folder",
        )
    try:
        problem = database_problem(data / DATABASE)
        free = shutil.disk_usage(data).free
    except OSError as error:
        problem, free = error.strerror or str(error), 0
    if problem:
        return Check(
            name,
            False,
            f"the database {data / DATABASE} is damaged ({problem})",
            "stop the coordinator, keep a copy of the folder, and put it back from a backup",
        )
    is_good = free >= FARM_FREE_MIN_BYTES
    return Check(
        name,
        is_good,
        f"the database in {data} is sound; {size(free)} free",
        ""
        if is_good
        else f"make room: below {size(FARM_FREE_MIN_BYTES)} scenes and frames are soon refused",
    )


async def _blenders(extra: list[Path], *, full: bool) -> AsyncIterator[Check]:
    try:
        found = await asyncio.to_thread(find_blenders, extra)
    except NotABlender as error:
        yield Check("Blender", False, str(error), "name another with --blender")
        return
    if not found:
        yield Check(
            "Blender",
            False,
            "none found",
            "install Blender, name one with --blender PATH, or run `pip install rendermill[bpy]`",
        )
    with tempfile.TemporaryDirectory(prefix="rendermill-doctor-") as scratch:
        for candidate in found:
            async for check in _blender(candidate, Path(scratch), full=full):
                yield check


async def _blender(candidate: Candidate, scratch: Path, *, full: bool) -> AsyncIterator[Check]:
    what = "bpy of" if candidate.is_module else "program"
    try:
        info = await probe(candidate, scratch, quick=not full)
    except ProbeFailed as error:
        yield Check("Blender", False, str(error), "install it again")
        return
    version = ".".join(map(str, info.version))
    gpus = ", ".join(gpu.name for gpu in info.gpus) or "no GPU"
    yield Check(
        f"Blender {version}",
        bool(info.engines),
        f"{what} {info.path}; renders with {', '.join(info.engines) or 'nothing'}; {gpus}",
        "" if info.engines else "install it again, or name another with --blender",
    )
    for problem in info.problems:
        # A sentence that already says what to install.
        yield Check(f"Blender {version}", False, problem, is_needed=False)


async def _coordinator(url: str | None) -> AsyncIterator[Check]:
    try:
        local = await asyncio.to_thread(load_local)
        joined = await asyncio.to_thread(saved_farms)
    except CredentialsError as error:
        yield Check("credentials", False, str(error), "delete that file and join again")
        return
    names = [f"{farm.farm} ({farm.url})" for farm in (local, *joined) if farm is not None]
    yield Check(
        "credentials",
        bool(names),
        "; ".join(names) or "none",
        "" if names else "start `rendermill coordinator` here or `rendermill join TOKEN`",
        is_needed=False,
    )
    try:
        credentials = await resolve(url)
    except FarmError as error:
        yield Check(
            "coordinator",
            False,
            str(error),
            "start it, or check the network and its firewall between here and there",
            code=exit_code(error),
        )
        return
    yield Check("coordinator", True, f"{credentials.farm} answers at {credentials.url}")
    yield await _token(credentials)


async def _token(credentials: Credentials) -> Check:
    try:
        async with FarmConnection(credentials) as farm:
            view = await farm.get("/api/v1/farm", FarmView)
    except FarmError as error:
        return Check(
            "token", False, str(error), "join the farm again with its token", code=exit_code(error)
        )
    return Check(
        "token",
        True,
        f"accepted; {view.nodes_online} nodes online, {view.jobs_open} open jobs, "
        f"{size(view.disk_free_bytes)} free on the coordinator's disk",
    )


async def _zeroconf() -> Check:
    seen: list[Found] = [found async for found in browse()]
    names = ", ".join(f"{found.farm} ({found.url})" for found in seen)
    return Check(
        "network",
        bool(seen),
        f"announced: {names}" if seen else "no coordinator announces itself",
        ""
        if seen
        else "if one runs elsewhere, let UDP port 5353 through the firewall, or give its address "
        "with --coordinator",
        is_needed=False,
    )
