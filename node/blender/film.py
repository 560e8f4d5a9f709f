"""Frames -> film: H.264 in MP4, encoded by a Blender of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ...protocol.job import Capability
from ...protocol.machine import BlenderInfo
from ...protocol.messages import FailureKind
from . import sandbox
from .attempt import AttemptFailed
from .throwaway import make_folder, run_once

FILM_MODULES = ("compat", "film")
SECONDS_PER_FRAME = 2.0
START_SECONDS = 120.0
"""Time limit of an encoding: a fixed part and one for every frame."""


async def encode_film(
    blender: BlenderInfo,
    frames: Sequence[Path],
    target: Path,
    *,
    fps: float,
    scratch: Path,
    level: str = sandbox.NONE,
) -> Path:
    """Encode pictures in the given order into ``target`` (``.mp4``) and return it.

    All pictures lie in one folder and have the size of the first; an odd last row or column is cut
    off, as H.264 has none. ``target`` appears whole or not at all. ValueError for a call that
    cannot be right; raises `AttemptFailed` when Blender cannot encode.
    """
    if not frames:
        raise ValueError("A film needs at least one frame.")
    if fps <= 0:
        raise ValueError(f"A film needs more than {fps} frames a second.")
    if target.suffix != ".mp4":
        raise ValueError(f"{target.name} should end in .mp4.")
    folders = {frame.resolve().parent for frame in frames}
    if len(folders) > 1:
        raise ValueError("The frames of a film lie in one folder.")
    if Capability.FFMPEG not in blender.capabilities:
        raise AttemptFailed(FailureKind.NODE, f"Blender at {blender.path} has no FFmpeg.")
    folder = make_folder(scratch, "film-")
    made = folder / "film.mp4"
    try:
        ended = await run_once(
            Path(blender.path),
            is_module=blender.is_module,
            modules=FILM_MODULES,
            parameters={
                "frames": [str(frame.resolve()) for frame in frames],
                "target": str(made),
                "fps": fps,
            },
            folder=folder,
            scratch=folder.parent,
            seconds=START_SECONDS + SECONDS_PER_FRAME * len(frames),
            readable=tuple(folders),
            level=level,
        )
        if not ended.succeeded or not _is_film(made):
            reason = f"Blender made no film of {len(frames)} frames: it {ended.how}."
            raise AttemptFailed(FailureKind.OUTPUT, reason, ended.log)
        await asyncio.to_thread(_put, made, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)
    return target


def _is_film(path: Path) -> bool:
    """Whether an MP4 file has its index, which FFmpeg writes last."""
    if not path.is_file():
        return False
    found: set[bytes] = set()
    length = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position + 8 <= length:
            file.seek(position)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            found.add(head[4:8])
            if size < 8:
                break
            position += size
    return {b"moov", b"mdat"} <= found


def _put(made: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The scratch may be on another disk, from where a rename is not possible.
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(made, part)
    os.replace(part, target)  # noqa: PTH105 - the atomic one
