"""The Blenders of this machine: found, probed once, and how far they can be confined."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..protocol.machine import BlenderInfo
from .blender import sandbox
from .blender.find import Candidate, NotABlender, find_blenders
from .blender.probe import ProbeFailed, probe
from .identity import NodeError
from .locks import FileLock
from .notices import Notice, NoticeKind, Notify
from .threads import in_thread

LOCK_LOOK_SECONDS = 0.5
"""How often to look whether another node on this machine has finished probing."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a node renders with."""

    blenders: tuple[BlenderInfo, ...]
    sandbox: str
    """Level of the sandbox, as in `blender.sandbox`."""
    candidates: tuple[Candidate, ...] = ()
    """What ``blenders`` are, in the same order, to be probed again."""


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
    for candidate in candidates:
        path = str(candidate.path)
        notify(Notice(NoticeKind.PROBING, f"Probing {path} ...", {"path": path}))
        try:
            info = await probe(candidate, scratch, level=level, answers=answers, quick=True)
        except ProbeFailed as error:
            notify(Notice(NoticeKind.PROBLEM, str(error), {"path": path}))
            continue
        found.append((candidate, info))
        _tell(info, notify)
    if not found:
        raise NodeError(
            "No Blender that works was found on this machine. Install one, name it with "
            "--blender PATH, or install the bpy module: pip install rendermill[bpy]."
        )
    return Equipment(
        tuple(info for _, info in found), level, tuple(candidate for candidate, _ in found)
    )


async def probe_fully(
    equipment: Equipment, scratch: Path, answers: Path, notify: Notify
) -> Equipment:
    """Probe everything, which takes up to a minute for a Blender that was never asked.

    Only one node of a machine does it; the others read its answers. A Blender that no longer
    runs is told of and left out.
    """
    lock = FileLock(answers.with_suffix(".lock"))
    # A lock between processes has no event to wait for.
    while not await in_thread(lock.acquire, wait=False):  # noqa: ASYNC110
        await asyncio.sleep(LOCK_LOOK_SECONDS)
    try:
        found: list[tuple[Candidate, BlenderInfo]] = []
        for candidate, before in zip(equipment.candidates, equipment.blenders, strict=True):
            try:
                info = await probe(candidate, scratch, level=equipment.sandbox, answers=answers)
            except ProbeFailed as error:
                notify(Notice(NoticeKind.PROBLEM, str(error), {"path": str(candidate.path)}))
                continue
            found.append((candidate, info))
            if info != before:
                _tell(info, notify)
    finally:
        lock.release()
    return replace(
        equipment,
        blenders=tuple(info for _, info in found),
        candidates=tuple(candidate for candidate, _ in found),
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
