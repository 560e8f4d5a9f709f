"""Pack a scene in a Blender of its own: the same code as the add-on's, in a process we may kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..addon.client.artist import process_mark, snapshots_dir, sweep_snapshots
from ..addon.client.errors import ClientError
from ..node.blender.find import Candidate, NotABlender, candidate_at, find_blenders
from ..protocol.codec import from_plain
from ..protocol.job import JobSpec
from ..protocol.scene import CapturedScene, MissingFile, SceneFile
from .exit_codes import UsageError

HEADLESS = Path(__file__).resolve().parent.parent / "addon" / "scene" / "headless.py"
LOG_LINES_KEPT = 15
LOG_TAIL_BYTES = 64 * 1024
KILL_SECONDS = 3.0
"""Time between asking a Blender to end and ending it."""


class PackingFailed(ClientError):
    """The scene cannot be packed; one sentence, with the end of Blender's log where it helps."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What to pack; the fields of `addon.scene.headless.Params` that a command line has."""

    blend: Path
    scene: str
    kind: str
    frames: str
    output: str
    priority: int
    trust: bool
    submitter: str
    film_frames: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `addon.scene.checks` found, as `addon.scene.checks.Finding`."""

    severity: str
    what: str
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.what, self.why, self.fix)))


@dataclass(frozen=True, slots=True)
class Packed:
    """A scene ready to be sent."""

    captured: CapturedScene
    findings: tuple[Finding, ...]


def choose_blender(given: Path | None) -> Candidate:
    """Return the Blender to pack with: the one given, else bpy in this Python, else one found.

    Raises `UsageError`.
    """
    try:
        if given is not None:
            return candidate_at(given)
        found = find_blenders()
    except NotABlender as error:
        raise UsageError(str(error)) from error
    own = [candidate for candidate in found if candidate.is_module]
    if not found:
        raise UsageError(
            "There is no Blender to open the scene with; install Blender, or name one with "
            "--blender PATH, or install it for this Python with `pip install rendermill[bpy]`."
        )
    return (own or found)[0]


async def pack(blender: Candidate, packing: Packing, scratch: Path) -> Packed:
    """Open the scene in ``blender`` and return it as a job with its files.

    The snapshot lies below ``scratch``, which the caller deletes. Cancelling ends Blender and
    whatever it started. Raises `PackingFailed`.
    """
    answer = scratch / "captured.json"
    params = scratch / "params.json"
    plain = {
        "blend": str(packing.blend),
        "folder": str(scratch / "snapshot"),
        "result": str(answer),
        "scene": packing.scene,
        "kind": packing.kind,
        "frames": packing.frames,
        "output": packing.output,
        "priority": packing.priority,
        "trust": packing.trust,
        "submitter": packing.submitter,
        "film_frames": packing.film_frames,
        "client": os.getpid(),
    }
    params.write_text(json.dumps(plain), "utf-8")
    code, log = await _run(_command(blender, packing, params), scratch)
    try:
        result: dict[str, Any] = json.loads(answer.read_bytes())
    except (OSError, ValueError) as error:
        tail = "\n".join(log)
        raise PackingFailed(
            f"{blender.path} ended with code {code} before it had packed {packing.blend}; it said:"
            f"\n{tail or '(nothing)'}"
        ) from error
    if "error" in result:
        raise PackingFailed(str(result["error"]))
    findings = from_plain(result.get("findings", []), tuple[Finding, ...])
    return Packed(_captured(result["captured"]), findings)


def _command(blender: Candidate, packing: Packing, params: Path) -> list[str]:
    if blender.is_module:
        return [str(blender.path), str(HEADLESS), str(params)]
    autoexec = "--enable-autoexec" if packing.trust else "--disable-autoexec"
    # The exit code must be asked for before the script that it is about.
    return [
        str(blender.path),
        "--background",
        autoexec,
        str(packing.blend),
        "--python-exit-code",
        "1",
        "--python",
        str(HEADLESS),
        "--",
        str(params),
    ]


def _captured(plain: dict[str, Any]) -> CapturedScene:
    return CapturedScene(
        spec=from_plain(plain["spec"], JobSpec),
        files=tuple(SceneFile(Path(file["source"]), file["path"]) for file in plain["files"]),
        missing=tuple(MissingFile(Path(file["source"]), file["user"]) for file in plain["missing"]),
        warnings=tuple(plain["warnings"]),
        scratch=Path(plain["scratch"]) if plain.get("scratch") else None,
        blend=str(plain.get("blend", "")),
    )


async def _run(command: list[str], scratch: Path) -> tuple[int, list[str]]:
    """Run a Blender to its end; return its exit code and the last lines it printed."""
    # Into a file: a pipe stays open as long as anything that Blender started lives.
    log = scratch / "blender.log"
    process = _start(command, log, scratch / "temporary")
    try:
        # The thread ends with the process, also when we are cancelled: then it is killed below.
        code = await asyncio.to_thread(process.wait)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(_end_tree, process.pid))
        raise
    lines = await asyncio.to_thread(_tail, log)
    return code, lines


def _start(command: list[str], log: Path, temporary: Path) -> subprocess.Popen[bytes]:
    # Blender leaves its temporary folder behind where it ends at once, as when it is killed.
    temporary.mkdir()
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603 the Blender the user chose
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Of its own group: Ctrl-C reaches us, and we end it, with all that it started.
            start_new_session=os.name != "nt",
            env=os.environ
            | {"PYTHONUNBUFFERED": "1"}
            | dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary)),
        )


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES_KEPT:]


def _end_tree(pid: int) -> None:
    """End a process and everything below it, politely at first."""
    try:
        root = psutil.Process(pid)
        tree = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(tree, KILL_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, KILL_SECONDS)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a new temporary folder for a packing; use it in a ``with`` block.

    Those of packings that were killed are deleted first: each holds a copy of a whole scene.
    """
    sweep_snapshots()
    folder = snapshots_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        prefix=f"scene-{process_mark()}-", dir=folder, ignore_cleanup_errors=True
    )
