"""The frames of a film on their way from the farm to the node that encodes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..protocol.messages import FrameFile
from ..protocol.states import FrameState
from ..protocol.views import FramePage, FrameView
from ..wire.blobs import download_file
from ..wire.connection import FarmConnection, backoff
from ..wire.errors import FarmError, NotFound
from ..wire.tasks import task_group
from ..wire.threads import in_thread
from .scenes import Ask

DOWNLOADS_IN_FLIGHT = 4
PAGE_FRAMES = 1000
MAIN = "main"
"""Id of the output root that stands for the render output."""

T = TypeVar("T")


class PicturesUnavailable(Exception):
    """Why the frames of a film cannot be had; the message is one sentence."""


async def fetch_pictures(
    ask: Ask, job: str, folder: Path, on_fraction: Callable[[float], None]
) -> list[tuple[int, Path]]:
    """Bring the render output of every frame into ``folder``; return frame and file, ascending.

    ``on_fraction`` hears how much has come, 0 to 1. Waits for the farm while it cannot be reached:
    the lease decides how long that is worth it. Raises `PicturesUnavailable` and OSError.
    """
    wanted = await _list(ask, job)
    if not wanted:
        raise PicturesUnavailable(f"Job {job} has no frames to make a film of.")
    await in_thread(folder.mkdir, parents=True)
    total = sum(file.length for _, file in wanted)
    done = 0
    slots = asyncio.Semaphore(DOWNLOADS_IN_FLIGHT)
    found: list[tuple[int, Path]] = []

    async def fetch(file: FrameFile, target: Path) -> None:
        nonlocal done
        async with slots:
            await _patiently(
                ask, partial(_download, sha256=file.sha256, length=file.length, target=target)
            )
        done += file.length
        on_fraction(done / total)

    try:
        async with task_group() as tasks:
            for frame, file in wanted:
                # Names of our own: those of the files may be anything, and two may be alike.
                target = folder / f"frame_{len(found):06d}{PurePosixPath(file.path).suffix}"
                found.append((frame, target))
                tasks.create_task(fetch(file, target))
    except NotFound as error:
        raise PicturesUnavailable(f"The coordinator lacks a frame of the film: {error}") from error
    return found


async def _list(ask: Ask, job: str) -> list[tuple[int, FrameFile]]:
    wanted: list[tuple[int, FrameFile]] = []
    after: int | None = None
    while True:
        try:
            page = await _patiently(ask, partial(_page, job=job, after=after))
        except NotFound as error:
            raise PicturesUnavailable(f"The farm does not know job {job} any more.") from error
        wanted += [(frame.frame, _picture(frame)) for frame in page.frames]
        if page.next is None:
            return wanted
        after = page.next


def _picture(frame: FrameView) -> FrameFile:
    file = next((file for file in frame.files if file.root == MAIN), None)
    if frame.state is not FrameState.DONE or file is None:
        raise PicturesUnavailable(f"Frame {frame.frame} of the film is not rendered (any more).")
    return file


async def _page(farm: FarmConnection, *, job: str, after: int | None) -> FramePage:
    return await farm.get(
        f"/api/v1/jobs/{job}/film/frames", FramePage, params={"after": after, "limit": PAGE_FRAMES}
    )


async def _download(farm: FarmConnection, *, sha256: str, length: int, target: Path) -> None:
    await download_file(farm, sha256, length, target)


async def _patiently(ask: Ask, what: Callable[[FarmConnection], Awaitable[T]]) -> T:
    attempt = 0
    while True:
        attempt += 1
        try:
            return await ask(what)
        except NotFound:
            raise
        except FarmError:
            await asyncio.sleep(backoff(attempt))
