"""The Blenders of this machine: found, probed once, and how far they can be confined."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..protocol.job import Capability
from ..protocol.machine import BlenderInfo
from ..wire.threads import in_thread
from .blender import sandbox
from .blender.find import Candidate, NotABlender, find_blenders
from .blender.probe import OPENGL_ENGINES, Examined, ProbeFailed, ProbeOpen, examine
from .identity import NodeError
from .locks import FileLock
from .notices import Notice, NoticeKind, Notify

LOCK_LOOK_SECONDS = 0.5
"""How often to look whether another node on this machine has finished probing."""

ASK_AGAIN_SECONDS = (5.0, 20.0, 60.0)
"""Pauses before a machine without any Blender that answered asks them again; then it gives up."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a node renders with."""

    blenders: tuple[BlenderInfo, ...]
    sandbox: str
    """Level of the sandbox, as in `blender.sandbox`."""
    candidates: tuple[Candidate, ...] = ()
    """What ``blenders`` are, in the same order, to be probed again."""
    silent: tuple[Candidate, ...] = ()
    """Those that gave no answer, which says nothing of them: to be probed again, too."""
    has_open_questions: bool = False
    """Whether a full probe has left something to be found out by another."""


async def equip(named: Sequence[Path], scratch: Path, answers: Path, notify: Notify) -> Equipment:
    """Find every Blender of this machine, those ``named`` first, and probe each quickly.

    Engines that need OpenGL are left for `probe_fully`, except where ``answers``, a file that
    keeps what was found, knows of them. Tells of each Blender and of each that does not run.
    Raises `NodeError` for a named path that is no Blender, and when none works.
    """
    try:
        candidates = await in_thread(find_blenders, named)
    except NotABlender as error:
        raise NodeError(str(error)) from error
    level = sandbox.NONE
    if candidates:
        trial = await in_thread(sandbox.try_levels, candidates[0].path, scratch / "trial")
        level = trial.level
        if trial.reason:
            notify(
                Notice(
                    NoticeKind.PROBLEM,
                    f"Blender is confined less than it could be ({level}): {trial.reason}",
                    {"sandbox": level},
                )
            )
    found: list[tuple[Candidate, BlenderInfo]] = []
    silent: list[Candidate] = []
    for pause in (*ASK_AGAIN_SECONDS, None):
        silent = []
        for candidate in candidates:
            path = str(candidate.path)
            notify(Notice(NoticeKind.PROBING, f"Probing {path} ...", {"path": path}))
            try:
                examined = await examine(
                    candidate, scratch, level=level, answers=answers, quick=True
                )
            except ProbeFailed as error:
                notify(Notice(NoticeKind.PROBLEM, str(error), {"path": path}))
                if isinstance(error, ProbeOpen):
                    silent.append(candidate)
                continue
            found.append((candidate, examined.info))
            _tell(examined.info, notify)
        if found or not silent or pause is None:
            break
        text = f"No Blender has answered yet; asking again in {pause:.0f} s."
        notify(Notice(NoticeKind.PROBLEM, text, {"seconds": pause}))
        candidates = silent
        await asyncio.sleep(pause)
    if not found:
        raise NodeError(
            "No Blender that works was found on this machine. Install one, name it with "
            "--blender PATH, or install the bpy module: pip install rendermill[bpy]."
        )
    return Equipment(
        blenders=tuple(info for _, info in found),
        sandbox=level,
        candidates=tuple(candidate for candidate, _ in found),
        silent=tuple(silent),
    )


async def probe_fully(
    equipment: Equipment, scratch: Path, answers: Path, notify: Notify
) -> Equipment:
    """Probe everything, which takes up to a minute for a Blender that was never asked.

    Only one node of a machine does it; the others read its answers. A Blender that no longer
    runs is told of and left out; one that gave no answer stays what it was.
    """
    lock = FileLock(answers.with_suffix(".lock"))
    try:
        # A lock between processes has no event to wait for.
        while not await in_thread(lock.acquire, wait=False):  # noqa: ASYNC110
            await asyncio.sleep(LOCK_LOOK_SECONDS)
        found: list[tuple[Candidate, BlenderInfo]] = []
        silent: list[Candidate] = []
        is_open = False
        known = dict(zip(equipment.candidates, equipment.blenders, strict=True))
        for candidate in (*equipment.candidates, *equipment.silent):
            before = known.get(candidate)
            try:
                examined = await examine(
                    candidate, scratch, level=equipment.sandbox, answers=answers
                )
            except ProbeOpen as error:
                is_open = True
                notify(Notice(NoticeKind.PROBLEM, str(error), {"path": str(candidate.path)}))
                if before is None:
                    silent.append(candidate)
                else:
                    found.append((candidate, before))
                continue
            except ProbeFailed as error:
                notify(Notice(NoticeKind.PROBLEM, str(error), {"path": str(candidate.path)}))
                continue
            is_open = is_open or bool(examined.open_questions)
            info = examined.info if before is None else _with_what_was_known(examined, before)
            found.append((candidate, info))
            if info != before:
                _tell(info, notify)
    finally:
        # Also of one cancelled while its thread was taking the lock, and so has it.
        lock.release()
    return replace(
        equipment,
        blenders=tuple(info for _, info in found),
        candidates=tuple(candidate for candidate, _ in found),
        silent=tuple(silent),
        has_open_questions=is_open,
    )


def _with_what_was_known(examined: Examined, before: BlenderInfo) -> BlenderInfo:
    """Return what was found, and where there was no answer this time, that of an earlier probe."""
    info, questions = examined.info, examined.open_questions
    kept = tuple(name for name in before.engines if name in questions)
    able = set(info.capabilities)
    if any(name in OPENGL_ENGINES for name in kept):
        able.add(Capability.OPENGL)
    return replace(
        info,
        engines=info.engines + kept,
        capabilities=tuple(capability for capability in Capability if capability in able),
        gpus=before.gpus if "gpus" in questions else info.gpus,
    )


def _tell(info: BlenderInfo, notify: Notify) -> None:
    version = ".".join(map(str, info.version))
    gpus = ", ".join(f"{gpu.name} ({gpu.backend})" for gpu in info.gpus) or "no GPU"
    notify(
        Notice(
            NoticeKind.BLENDER,
            f"Blender {version} renders here with "
            f"{', '.join(info.engines) or 'no engine'}; {gpus}.",
            {"version": version, "path": info.path, "engines": ", ".join(info.engines)},
        )
    )
    for problem in info.problems:
        notify(Notice(NoticeKind.PROBLEM, f"Blender {version}: {problem}", {"version": version}))
