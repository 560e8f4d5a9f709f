"""Bring what a job makes home as it comes, under the names Blender would have given it.

    delivered = await deliver(farm, job_id, progress=show)

Each file is written beside its place, checked, made durable and renamed: never half a file under a
final name. What lies there already is kept when it is the same, and replaced only when this
delivery made it or the scene (or the caller) says that existing files may be overwritten. The
delivery may stop at any moment and go on later; see `delivery_record`. Where files go is what the
scene said when it was sent from here (`sent_jobs`), never what the coordinator says.

Where the scene wants Blender's *Placeholders*, an empty file lies under the name of each frame that
a node has begun, in the scene's own folder, until the frame comes or will not come.

Of a job that asks for a film, the film comes when it is encoded. Its frames stay on the farm,
unless they are wanted too: then they go into a folder named after the film.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...protocol.frame_names import numbered
from ...protocol.job import JobSpec
from ...protocol.manifest import ManifestError, check_path
from ...protocol.messages import FrameFile
from ...protocol.states import JOB_ENDED, FrameState
from ...protocol.views import Event, FarmView, FramePage, FrameView, JobDetail, JobView
from ...wire.blobs import download_file
from ...wire.connection import FarmConnection
from ...wire.errors import FarmError, NotFound
from .artist import process_mark, sweep_parts
from .delivery_record import DeliveryRecord, is_placeholder, open_record
from .errors import DeliveryError, FolderNeeded
from .sent_jobs import recall_sent

MAIN = "main"
"""Id of the output root that stands for the render output."""
DOWNLOADS_IN_FLIGHT = 4
PAGE_FRAMES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryProgress:
    """How far a delivery is; sent at its start, when the job changes, when a frame is here."""

    job: JobView
    frames_here: int
    """Frames of which every file that is wanted is in its place (or kept as it was)."""
    bytes_here: int
    newest: Path | None
    """The file delivered last: what a viewer may show."""
    newest_frame: int | None
    frames_without_files: int = 0
    """How many of ``frames_here`` have no file that is wanted: of a film comes the film alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a delivery ended with."""

    job: JobView
    """Ended; its state says how."""
    frames: int
    files: tuple[Path, ...]
    """Every file of the job that is in its place, sorted."""
    kept: tuple[Path, ...]
    """Files that were there before with other contents and were not overwritten."""
    folders: tuple[Path, ...]
    """Where they are: the output folders, each once."""
    film: Path | None = None
    """The film; None where there is none, or another file was kept in its place."""
    frames_without_files: int = 0
    """As in `DeliveryProgress`."""


async def deliver(
    farm: FarmConnection,
    job_id: str,
    *,
    destination: Path | None = None,
    overwrite: bool | None = None,
    film_frames: bool = False,
    progress: Callable[[DeliveryProgress], None] | None = None,
) -> Delivered:
    """Follow a job and download each finished frame; returns when it has ended and all is here.

    ``destination``: a folder to use instead of the scene's own: the render output goes right into
    it, every File Output node into a folder of its own below. A job that was not sent from here
    needs one. ``overwrite``: True also replaces files that were changed after their delivery, False
    none that this delivery did not make; None: as the scene's *Overwrite* says in its own folders,
    and as False in another. ``film_frames``: bring the frames of a film too, even where the artist
    did not ask for them when the scene was sent. ``progress`` is called from the loop's thread.
    Raises `FarmError`, `NotFound` also when the job is deleted meanwhile; `DeliveryError` for a
    folder that cannot be written.
    """
    # The number first, the frames after it: what happens in between comes as an event.
    after = (await farm.get("/api/v1/farm", FarmView)).sequence
    detail = await farm.get(f"/api/v1/jobs/{job_id}", JobDetail)
    job, farm_id = detail.job.id, (await farm.health()).farm_id
    spec, placeholder = detail.spec, ""
    if destination is None:
        sent = await asyncio.to_thread(recall_sent, job, farm_id)
        if sent is None:
            folder = next((root.folder for root in spec.outputs), "FOLDER")
            raise FolderNeeded(
                f"Job {job} was not sent from here by you, so its frames are not written into the "
                f"folder that its scene names ({folder!r}).",
                job,
            )
        spec = replace(spec, outputs=sent.outputs, overwrite=sent.overwrite)
        placeholder = sent.placeholder
    insists = overwrite is True
    if overwrite is None:
        overwrite = spec.overwrite and destination is None
    try:
        record = await asyncio.to_thread(open_record, job, farm_id, destination)
        work = _Delivery(
            farm,
            detail,
            spec,
            record,
            may_overwrite=overwrite,
            insists=insists,
            wants_pictures=film_frames or spec.film is None or spec.film.keep_frames,
            placeholder=placeholder,
            progress=progress,
        )
        return await work.run(after)
    except FarmError:
        raise
    except OSError as error:
        raise DeliveryError(
            f"What has been delivered cannot be noted: {error}. Make room there, then fetch again."
        ) from error


def output_path(spec: JobSpec, file: FrameFile, destination: Path | None = None) -> Path:
    """Return where a file of a frame belongs on this machine. Raises `DeliveryError`.

    Never outside the output folder, whatever the file says and wherever links below it lead.
    """
    try:
        check_path(file.path)
    except ManifestError as error:
        raise DeliveryError(f"A file of the job has a name that is not safe: {error}") from error
    root = next((root for root in spec.outputs if root.id == file.root), None)
    if root is None:
        raise DeliveryError(f"The file {file.path!r} belongs to no output of the job.")
    if destination is not None:
        folder = destination if root.id == MAIN else destination / check_path(root.id)
    else:
        folder = Path(root.folder)
    if not folder.is_absolute():
        raise FolderNeeded(
            f"The output folder {str(folder)!r} is not a folder of this machine.", "JOB"
        )
    target = folder / file.path
    try:
        inside = target.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise DeliveryError(f"{target.parent} cannot be used ({error}).") from error
    if not inside:
        raise DeliveryError(f"{target} would lie outside of {folder}: a link leads out of it.")
    return target


@dataclass(slots=True)
class _Delivery:
    """One run of `deliver`."""

    farm: FarmConnection
    detail: JobDetail
    spec: JobSpec
    """Its outputs are those this machine knows of."""
    record: DeliveryRecord
    may_overwrite: bool
    insists: bool
    """Whether even a file that was changed after its delivery is replaced."""
    wants_pictures: bool
    """False: of the render output only the film."""
    placeholder: str
    """Name of a frame's placeholder with ``####`` for its number; '': none is laid."""
    progress: Callable[[DeliveryProgress], None] | None
    here: dict[int, tuple[FrameFile, ...]] = field(default_factory=dict)
    """Frames of which every wanted file is in its place, and which files those are."""
    film: FrameFile | None = None
    """The film, once it is here."""
    kept: set[Path] = field(default_factory=set)
    swept: set[Path] = field(default_factory=set)
    """Folders that were looked at for what a killed delivery has left."""
    bytes_here: int = 0
    newest: Path | None = None
    newest_frame: int | None = None
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DOWNLOADS_IN_FLIGHT))
    running: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self, after: int) -> Delivered:
        try:
            # First of all: no placeholder is taken away while its frame comes.
            await self._find_begun()
            await self._sweep()
            self._report()
            if self.detail.job.state not in JOB_ENDED:
                await self._follow(after)
            await self._settle()
        except NotFound:
            await self._stop_fetching()
            await asyncio.to_thread(self.record.lift_all)
            raise
        finally:
            await self._stop_fetching()
        await asyncio.to_thread(self.record.lift_all)
        await asyncio.to_thread(self.record.complete)
        targets = sorted(self._target(file) for files in self.here.values() for file in files)
        film = None if self.film is None else self._target(self.film)
        if film is not None:
            targets.append(film)
        return Delivered(
            job=self.detail.job,
            frames=len(self.here),
            files=tuple(path for path in targets if path not in self.kept),
            kept=tuple(sorted(self.kept)),
            folders=tuple(dict.fromkeys(path.parent for path in targets)),
            film=None if film in self.kept else film,
            frames_without_files=self._without_files(),
        )

    def _without_files(self) -> int:
        return sum(not files for files in self.here.values())

    async def _stop_fetching(self) -> None:
        for task in self.running.values():
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    async def _follow(self, after: int) -> None:
        events = self.farm.events(job=self.detail.job.id, after=after)
        async with contextlib.aclosing(events):
            async for event in events:
                await self._take(event)
                self._raise_failure()
                if self.detail.job.state in JOB_ENDED:
                    return

    async def _take(self, event: Event) -> None:
        if event.kind in ("reset", "job_removed"):
            # Raises NotFound when the job is gone.
            await self._refresh()
            await self._sweep()
        elif event.kind == "job" and event.job is not None:
            self._set_job(event.job)
            self._report()
        elif event.kind == "frame" and event.frame is not None:
            await self._mark(event.frame)
            await self._want(event.frame)

    async def _settle(self) -> None:
        """Wait for what is under way, then look once more: a frame may have been redone."""
        while True:
            await asyncio.gather(*self.running.values())
            self.running.clear()
            before = dict(self.here), self.film
            await self._refresh()
            await self._sweep()
            await asyncio.gather(*self.running.values())
            await self._fetch_film()
            if before == (self.here, self.film):
                self._report()
                return

    async def _refresh(self) -> None:
        self.detail = await self.farm.get(f"/api/v1/jobs/{self.detail.job.id}", JobDetail)

    async def _sweep(self) -> None:
        """Want every frame that is done."""
        async for frame in self._frames(FrameState.DONE):
            await self._want(frame)

    async def _find_begun(self) -> None:
        """Lay placeholders for frames that were begun before; take away those of others."""
        begun: set[str] = set()
        if self.placeholder:
            async for frame in self._frames(FrameState.LEASED):
                begun.add(str(self._place_of(frame)))
                await self._mark(frame)
        for laid in self.record.laid.keys() - begun:
            await asyncio.to_thread(self.record.lift, Path(laid))

    async def _mark(self, frame: FrameView) -> None:
        """Have a placeholder for a frame exactly while it is rendered."""
        fetching = self.running.get(frame.frame)
        is_coming = fetching is not None and not fetching.done()
        if not self.placeholder or frame.state is FrameState.DONE or is_coming:
            return
        change = self.record.lay if frame.state is FrameState.LEASED else self.record.lift
        # A folder that cannot be written is said when the frame itself comes.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(change, self._place_of(frame))

    def _place_of(self, frame: FrameView) -> Path:
        name = numbered(self.placeholder, frame.frame)
        return self._target(FrameFile(root=MAIN, path=name, sha256="", length=0))

    async def _frames(self, state: FrameState) -> AsyncIterator[FrameView]:
        after: int | None = None
        while True:
            page = await self.farm.get(
                f"/api/v1/jobs/{self.detail.job.id}/frames",
                FramePage,
                params={
                    "state": state.value,
                    "after": after,
                    "limit": PAGE_FRAMES,
                },
            )
            for frame in page.frames:
                yield frame
            after = page.next
            if after is None:
                return

    async def _want(self, frame: FrameView) -> None:
        frame = replace(frame, files=self._wanted(frame.files))
        if frame.state is not FrameState.DONE or self.here.get(frame.frame) == frame.files:
            return
        earlier = self.running.pop(frame.frame, None)
        if earlier is not None:
            # The frame was rendered anew while its files came: one after the other.
            await earlier
            if self.here.get(frame.frame) == frame.files:
                return
        self.running[frame.frame] = asyncio.create_task(self._fetch(frame))

    def _wanted(self, files: tuple[FrameFile, ...]) -> tuple[FrameFile, ...]:
        """Return the files of a frame to bring; those of a film go into a folder of its name."""
        film = self.spec.film
        if film is None:
            return files
        folder = PurePosixPath(film.name).with_suffix("")
        if str(folder) == film.name:
            # A film without an ending has that very name.
            folder = folder.with_name(f"{folder.name}_frames")
        return tuple(
            replace(file, path=str(folder / file.path)) if file.root == MAIN else file
            for file in files
            if file.root != MAIN or self.wants_pictures
        )

    async def _fetch_film(self) -> None:
        made, film = self.detail.job.film, self.spec.film
        if made is None or film is None or not made.sha256:
            return
        file = FrameFile(root=MAIN, path=film.name, sha256=made.sha256, length=made.length)
        if self.film != file:
            # A viewer of pictures has no use for it.
            newest = self.newest
            await self._fetch_file(file)
            self.newest, self.film = newest, file

    def _target(self, file: FrameFile) -> Path:
        return output_path(self.spec, file, self.record.destination)

    def _raise_failure(self) -> None:
        for number, task in list(self.running.items()):
            if task.done():
                del self.running[number]
                task.result()

    async def _fetch(self, frame: FrameView) -> None:
        async with self.free:
            # The render itself last: it is what is shown, not the files of File Output nodes.
            for file in sorted(frame.files, key=lambda file: file.root == MAIN):
                await self._fetch_file(file)
        self.here[frame.frame] = frame.files
        self.newest_frame = frame.frame
        self._report()

    async def _fetch_file(self, file: FrameFile) -> None:
        target = self._target(file)
        try:
            if await asyncio.to_thread(self._is_settled, target, file):
                return
            try:
                await self._download(file, target)
            except FileNotFoundError:
                # The folder went away meanwhile: Blender would make it again for every frame, too.
                await self._download(file, target)
            await asyncio.to_thread(self.record.add, target, file.sha256)
        except FarmError:
            raise
        except OSError as error:
            raise FolderNeeded(
                f"{target} cannot be written ({error.strerror or error}). Make room there, then "
                "fetch again.",
                self.detail.job.id,
            ) from error
        self.kept.discard(target)
        self.bytes_here += file.length
        self.newest = target

    async def _download(self, file: FrameFile, target: Path) -> None:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        if target.parent not in self.swept:
            self.swept.add(target.parent)
            # Of a delivery that was killed: hidden, and as big as the frames themselves.
            await asyncio.to_thread(sweep_parts, target.parent)
        await download_file(self.farm, file.sha256, file.length, target, mark=process_mark())

    def _is_settled(self, target: Path, file: FrameFile) -> bool:
        """Whether ``target`` stays as it is: the same already, or not ours to replace."""
        if not target.exists() or (is_placeholder(target) and file.length > 0):
            return False
        present = _hash(target)
        if present == file.sha256:
            self.record.add(target, file.sha256)
            self.newest = self.newest or target
            return True
        if self.insists:
            return False
        if self.record.files.get(str(target)) != present:
            # Not ours, or made by another process that delivers the same job.
            self.record.refresh()
        ours = self.record.files.get(str(target))
        if ours == file.sha256:
            # Delivered before and worked on since: the artist's now.
            self.kept.add(target)
            return True
        if ours == present or self.may_overwrite:
            return False
        self.kept.add(target)
        return True

    def _set_job(self, job: JobView) -> None:
        self.detail = JobDetail(job=job, spec=self.detail.spec)

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(
                DeliveryProgress(
                    job=self.detail.job,
                    frames_here=len(self.here),
                    bytes_here=self.bytes_here,
                    newest=self.newest,
                    newest_frame=self.newest_frame,
                    frames_without_files=self._without_files(),
                )
            )


def _hash(path: Path) -> str:
    if not path.is_file():
        raise DeliveryError(f"{path} is in the way: it is not a file.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
