"""The Blenders of this machine: found, probed once, and how far they can be confined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..protocol.machine import BlenderInfo
from .blender import sandbox
from .blender.find import NotABlender, find_blenders
from .blender.probe import ProbeFailed, probe
from .identity import NodeError
from .notices import Notice, NoticeKind, Notify
from .threads import in_thread


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a node renders with."""

    blenders: tuple[BlenderInfo, ...]
    sandbox: str
    """Level of the sandbox, as in `blender.sandbox`."""


async def equip(named: Sequence[Path], scratch: Path, answers: Path, notify: Notify) -> Equipment:
    """Find and probe every Blender of this machine, those ``named`` by the user first.

    ``answers`` is a file that keeps what was found. Tells of each Blender, of what each cannot do
    and of each that does not run. Raises `NodeError` for a named path that is no Blender, and when
    none works.
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
    found: list[BlenderInfo] = []
    for candidate in candidates:
        path = str(candidate.path)
        notify(Notice(NoticeKind.PROBING, f"Probing {path} ...", {"path": path}))
        try:
            info = await probe(candidate, scratch / "probe", level=level, answers=answers)
        except ProbeFailed as error:
            notify(Notice(NoticeKind.PROBLEM, str(error), {"path": path}))
            continue
        found.append(info)
        _tell(info, notify)
    if not found:
        raise NodeError(
            "No Blender that works was found on this machine. Install one, name it with "
            "--blender PATH, or install the bpy module: pip install rendermill[bpy]."
        )
    return Equipment(tuple(found), level)


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
