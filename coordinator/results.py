"""Is what a node calls done really the frame that was asked for? Looked at before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.codec import is_sha256
from ..protocol.frames import FILM_FRAME
from ..protocol.job import JobSpec
from ..protocol.manifest import ManifestError, check_path
from ..protocol.messages import FrameDone, FrameFile
from .images import FORMATS, read_header
from .store.blobs import BlobStore
from .store.store import Store

FILES_MAX = 1000
"""Files one frame may have: layers, passes and views of many File Output nodes."""

CHECKED_TOGETHER_MAX = 64
"""Most frames looked at in one go of one thread: a slow one makes the others of its go wait."""

MAIN = "main"
"""Id of the output root that stands for the render output."""


@dataclass(frozen=True, slots=True)
class ResultFault:
    """Why a result does not count."""

    reason: str
    is_missing: bool
    """True: blobs are not here, the node shall send them again. False: the picture is wrong."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    spec: JobSpec
    done: FrameDone
    answer: asyncio.Future[ResultFault | None]


class ResultChecks:
    """Looks at finished frames in threads: those that come in one turn of the loop in one go.

    A call into a thread for each would cost more than the look. Belongs to one event loop.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    async def check(self, spec: JobSpec, done: FrameDone) -> ResultFault | None:
        """Return what is wrong with a finished frame, None when it may be committed.

        After None every blob of it is durable. Raises `store.StoreFailed`, and OSError where its
        own files cannot be read: the others of its go have nothing to do with that.
        """
        loop = asyncio.get_running_loop()
        one = _Waiting(spec, done, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._begin)
        self._waiting.append(one)
        return await one.answer

    async def close(self) -> None:
        """Wait for what is being looked at; nobody asks any more."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), CHECKED_TOGETHER_MAX):
            task = asyncio.create_task(
                self._look_at(waiting[first : first + CHECKED_TOGETHER_MAX]), name="result check"
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _look_at(self, group: list[_Waiting]) -> None:
        results = [(one.spec, one.done) for one in group]
        found: Sequence[ResultFault | Exception | None]
        try:
            found = await self._store.in_thread(check_results, results, self._store.blobs)
        except Exception as error:  # noqa: BLE001 - handed to those who asked
            found = [error] * len(group)
        except asyncio.CancelledError:
            for one in group:
                one.answer.cancel()
            raise
        for one, verdict in zip(group, found, strict=True):
            if one.answer.done():
                continue  # Whoever asked has gone.
            if isinstance(verdict, Exception):
                one.answer.set_exception(verdict)
            else:
                one.answer.set_result(verdict)


def check_results(
    results: Sequence[tuple[JobSpec, FrameDone]], blobs: BlobStore
) -> list[ResultFault | Exception | None]:
    """Return for each finished frame what is wrong with it, or what kept it from being looked at.

    None: it may be committed, every blob of it is durable. Blocks; raises `store.StoreFailed`.
    """
    found: list[ResultFault | Exception | None] = []
    names: list[str] = []
    for spec, done in results:
        try:
            fault = _check(spec, done, blobs)
        except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
            found.append(error)
            continue
        found.append(fault)
        if fault is None:
            names += _blobs_of(done)
    if names:
        blobs.make_durable(dict.fromkeys(names))
    return found


def _blobs_of(done: FrameDone) -> list[str]:
    names = [file.sha256 for file in done.files]
    names += [picture for picture in (done.thumbnail, done.preview) if picture]
    return names


def _check(spec: JobSpec, done: FrameDone, blobs: BlobStore) -> ResultFault | None:
    fault = _check_names(spec, done)
    if fault:
        return ResultFault(fault, is_missing=False)
    for file in done.files:
        length = blobs.measure(file.sha256, file.length)
        if length is None:
            return ResultFault(f"The bytes of {file.path!r} are not here.", is_missing=True)
        if length != file.length:
            return ResultFault(
                f"{file.path!r} has {length} bytes and was announced with {file.length}.",
                is_missing=False,
            )
    # Asking also keeps them from being collected until the frame refers to them.
    if blobs.missing(_blobs_of(done)):
        return ResultFault("Some files of the frame are not here.", is_missing=True)
    is_film = done.frame.frame == FILM_FRAME
    for file in done.files:
        fault = _check_image(spec, file, blobs) if file.root == MAIN and not is_film else ""
        if fault:
            return ResultFault(fault, is_missing=False)
    return None


def _check_names(spec: JobSpec, done: FrameDone) -> str:  # noqa: PLR0911 - a list of checks
    if not done.files:
        return "The frame has no file."
    if len(done.files) > FILES_MAX:
        return f"The frame has {len(done.files)} files; {FILES_MAX} is the most."
    roots = {root.id for root in spec.outputs}
    seen: set[tuple[str, str]] = set()
    for file in done.files:
        if file.root not in roots:
            return f"{file.path!r} belongs to no output of the job."
        try:
            check_path(file.path)
        except ManifestError as error:
            return str(error)
        place = file.root, file.path.casefold()
        if place in seen:
            return f"{file.path!r} is there twice."
        seen.add(place)
        if not is_sha256(file.sha256) or file.length <= 0:
            return f"{file.path!r} is empty or has no proper hash."
    if done.thumbnail and not is_sha256(done.thumbnail):
        return "The hash of the thumbnail is none."
    if done.preview and not is_sha256(done.preview):
        return "The hash of the preview is none."
    if done.frame.frame == FILM_FRAME:
        name = "" if spec.film is None else spec.film.name
        if [(file.root, file.path) for file in done.files] != [(MAIN, name)]:
            return f"A film is one file named {name!r}."
        return ""
    wanted = max(1, len(spec.image.views)) if MAIN in roots else 0
    made = sum(file.root == MAIN for file in done.files)
    if made < wanted:
        return f"The render output has {made} files and {wanted} were to be made."
    return ""


def _check_image(spec: JobSpec, file: FrameFile, blobs: BlobStore) -> str:
    wanted = FORMATS.get(spec.image.file_format)
    if wanted is None:
        return ""
    with blobs.open_blob(file.sha256) as stream:
        header = read_header(stream)
    if header is None or header.format != wanted:
        return f"{file.path!r} is {header.format if header else 'no image'} and should be {wanted}."
    size = spec.image.width, spec.image.height
    if size not in header.sizes:
        width, height = header.sizes[0] if header.sizes else (0, 0)
        return f"{file.path!r} is {width} x {height} pixels and should be {size[0]} x {size[1]}."
    return ""
