"""What a Blender really is and can do, asked of the Blender itself in throw-away processes.

A version says little: builds differ in denoiser, OSL, USD and Alembic, and without a working
OpenGL an engine kills the whole process or hangs. So every engine has to render a test picture,
each in a process of its own. The answers are kept in a file until the Blender, the graphics
devices or this module change. Only what the Blender itself did counts as an answer, a crash too: a
process that ran out of time or memory, or that someone else ended, leaves its question open.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ...protocol.job import Capability
from ...protocol.machine import BlenderInfo, Gpu
from . import sandbox
from .find import Candidate
from .process import Unkillable
from .throwaway import make_folder, run_once

PROBE_VERSION = 3
"""Raised when the questions change, so that old answers are not believed."""

FACTS_SECONDS = 60.0
ENGINE_SECONDS = 120.0
"""Time limits of one question; EEVEE may compile its shaders with a software OpenGL first."""

AT_ONCE = 2
"""Processes of one probe that run at the same time."""

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR")
"""By which a slot of a machine sees some of its GPUs only."""

PROBE_MODULES = ("compat", "probe")
OPENGL_ENGINES = ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE", "BLENDER_WORKBENCH")

_OPENGL_HINT = "on Debian or Ubuntu, install libegl1 and libgl1-mesa-dri"


class ProbeFailed(Exception):
    """A candidate that is no Blender, or one that does not run; one sentence."""


class ProbeOpen(ProbeFailed):
    """A candidate of which nothing was learned this time: ask it again later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """What a Blender is, as far as it could be found out."""

    info: BlenderInfo
    open_questions: frozenset[str] = frozenset()
    """Engines, and ``gpus``, for which there is no answer yet; not in the lists of ``info``."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """The answer to one question, or the clause that says why there is none."""

    answer: dict[str, Any] | None
    problem: str = ""
    log: tuple[str, ...] = ()
    is_open: bool = False
    """There is no answer, and that says nothing of the Blender."""


async def examine(
    candidate: Candidate,
    scratch: Path,
    *,
    level: str = sandbox.NONE,
    answers: Path | None = None,
    quick: bool = False,
) -> Examined:
    """Return what ``candidate`` is, asking it at ``level`` of the sandbox.

    ``scratch`` is kept and holds the shader cache. ``answers`` is a file that keeps what was
    found; an unchanged Blender is not asked again.

    Takes 2 to 3 s for a Blender that has to be asked with ``quick``, which leaves out the engines
    that need OpenGL: a software OpenGL compiles EEVEE's shaders for most of a minute the first
    time. What was found quickly is not kept, nor what leaves a question open. Raises `ProbeFailed`,
    and `ProbeOpen` of its kind.
    """
    key = _key(candidate, level)
    if answers is not None and (known := _recall(answers, key)) is not None:
        return Examined(known)
    folder = make_folder(scratch, "probe-")
    try:
        examined = await _ask_all(candidate, folder, level, quick)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)
    if answers is not None and not quick and not examined.open_questions:
        await asyncio.to_thread(_remember, answers, key, examined.info)
    return examined


async def probe(
    candidate: Candidate,
    scratch: Path,
    *,
    level: str = sandbox.NONE,
    answers: Path | None = None,
    quick: bool = False,
) -> BlenderInfo:
    """As `examine`, for who does not ask again."""
    examined = await examine(candidate, scratch, level=level, answers=answers, quick=quick)
    return examined.info


async def _ask_all(candidate: Candidate, folder: Path, level: str, quick: bool) -> Examined:
    asked = await _ask(candidate, folder, level, "facts", FACTS_SECONDS)
    facts = asked.answer
    if facts is None:
        what = "import bpy" if candidate.is_module else "run as a Blender"
        last = f" ({asked.log[-1]})" if asked.log else ""
        kind, cannot = (ProbeOpen, "did not") if asked.is_open else (ProbeFailed, "cannot")
        raise kind(f"{candidate.path} {cannot} {what}: it {asked.problem}{last}.")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(question: str) -> _Asked:
        async with gate:
            return await _ask(candidate, folder, level, question, ENGINE_SECONDS)

    names = [name for name in facts["engines"] if not (quick and name in OPENGL_ENGINES)]
    gpus, *pictures = await asyncio.gather(one("gpus"), *map(one, names))
    problems: list[str] = []
    working: list[str] = []
    open_questions = {"gpus"} if gpus.is_open else set[str]()
    for name, picture in zip(names, pictures, strict=True):
        problem = _picture_problem(picture)
        if not problem:
            working.append(name)
            continue
        if picture.is_open:
            open_questions.add(name)
            problems.append(f"{name} could not be tried: a test picture {problem}.")
            continue
        hint = f"; {_OPENGL_HINT}" if name in OPENGL_ENGINES and os.name == "posix" else ""
        problems.append(f"{name} does not work here: a test picture {problem}{hint}.")
    able = {Capability(name) for name in facts["able"]}
    if any(name in OPENGL_ENGINES for name in working):
        able.add(Capability.OPENGL)
    problems += [
        f"This Blender has no {capability.value}."
        for capability in Capability
        if capability not in able and capability is not Capability.OPENGL
    ]
    if gpus.answer is None:
        problems.append(f"The GPUs cannot be listed: asking for them {gpus.problem}.")
    info = BlenderInfo(
        version=tuple(facts["version"]),
        path=str(candidate.path),
        is_module=candidate.is_module,
        build=facts["build"],
        engines=tuple(working),
        capabilities=tuple(capability for capability in Capability if capability in able),
        gpus=tuple(Gpu(**gpu) for gpu in (gpus.answer or {"gpus": []})["gpus"]),
        problems=tuple(problems),
    )
    return Examined(info, frozenset(open_questions))


def _picture_problem(asked: _Asked) -> str:
    if asked.answer is None:
        return asked.problem
    return "" if asked.answer["colours"] > 1 else "came out empty"


async def _ask(
    candidate: Candidate, folder: Path, level: str, question: str, seconds: float
) -> _Asked:
    """Put one question to a process of its own; its own folder keeps questions apart.

    The folder above is home to all of them, so that shaders once compiled are found again.
    """
    own = folder / question.lower()
    own.mkdir()
    answer = own / "answer.json"
    try:
        ended = await run_once(
            candidate.path,
            is_module=candidate.is_module,
            modules=PROBE_MODULES,
            parameters={
                "question": question,
                "answer": str(answer),
                "picture": str(own / "picture.png"),
            },
            folder=own,
            scratch=folder.parent,
            seconds=seconds,
            level=level,
        )
    except Unkillable as error:
        return _Asked(None, f"does not end ({error})", is_open=True)
    try:
        return _Asked(json.loads(answer.read_text("utf-8")), log=ended.log)
    except (OSError, ValueError):
        return _Asked(None, ended.how, ended.log, ended.by_chance)


# --- answers kept in a file --------------------------------------------------------------------


def _key(candidate: Candidate, level: str) -> str:
    """What must be unchanged for an answer to hold: program, module, graphics devices, sandbox."""
    stamps = [str(PROBE_VERSION), level, str(candidate.path), _stamp(candidate.path)]
    if candidate.is_module:
        prefix = candidate.path.parent.parent
        found = sorted(prefix.glob("lib*/**/site-packages/bpy*"))
        stamps += [f"{packages.name} {_stamp(packages)}" for packages in found]
    stamps += sorted(path.name for path in Path("/dev").glob("nvidia*"))
    stamps += sorted(path.name for path in Path("/dev/dri").glob("*"))
    stamps += [f"{name}={os.environ[name]}" for name in GPU_VARIABLES if name in os.environ]
    with contextlib.suppress(OSError):
        stamps.append(Path("/proc/driver/nvidia/version").read_text().splitlines()[0])
    # The libraries that OpenGL needs may be installed later.
    stamps += [_stamp(Path(folder)) for folder in ("/usr/share/glvnd", "/usr/lib/dri")]
    return " | ".join(stamps)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_mtime_ns} {status.st_size}"


def _recall(answers: Path, key: str) -> BlenderInfo | None:
    try:
        fields = json.loads(answers.read_text("utf-8"))[key]
        return BlenderInfo(
            version=tuple(fields["version"]),
            path=fields["path"],
            is_module=fields["is_module"],
            build=fields["build"],
            engines=tuple(fields["engines"]),
            capabilities=tuple(Capability(name) for name in fields["capabilities"]),
            gpus=tuple(Gpu(**gpu) for gpu in fields["gpus"]),
            problems=tuple(fields["problems"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing kept, or kept by another version: the Blender is simply asked again.
        return None


def _remember(answers: Path, key: str, info: BlenderInfo) -> None:
    try:
        kept = json.loads(answers.read_text("utf-8"))
    except (OSError, ValueError):
        kept = {}
    kept = {k: v for k, v in kept.items() if v.get("path") != info.path}
    kept[key] = dataclasses.asdict(info)
    answers.parent.mkdir(parents=True, exist_ok=True)
    part = answers.with_name(f"{answers.name}.{os.getpid()}.part")
    part.write_text(json.dumps(kept, indent=1), "utf-8")
    part.replace(answers)
