"""Scenes made ready to open: fetched once, verified, built as a tree, released when done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol, TypeVar

from ..protocol.manifest import MANIFEST_MAX_BYTES, Chunk, Manifest
from ..wire.blobs import THREAD_MIN_BYTES, fetch_chunks
from ..wire.connection import FarmConnection, backoff
from ..wire.errors import Damaged, FarmError, NotFound
from ..wire.threads import in_thread
from .cache import CacheError, ChunkCache, ChunkMissing, ChunkRefused, remove
from .workspace import build_tree

T = TypeVar("T")

FETCH_ATTEMPTS = 4
"""Damaged bytes are fetched again so often before the scene counts as not to be had."""

LOCK_LOOK_SECONDS = 0.1
"""How often to look whether another node on this machine has finished fetching the same scene."""


class Ask(Protocol):
    """As `Link.ask`: do something with the connection as soon as there is one."""

    async def __call__(self, what: Callable[[FarmConnection], Awaitable[T]]) -> T:
        """Return what ``what`` returns; `Unreachable` when the line is cut meanwhile."""
        ...


OnHeld = Callable[[str, bool], None]
"""Takes a manifest's hash and whether its scene is now whole in the cache."""
OnFraction = Callable[[float], None]


class SceneUnavailable(Exception):
    """Why a scene cannot be had on this node; one sentence for people."""


class SceneStore:
    """The scenes that one node process works on. For use in one event loop.

    Everything of a scene between `prefetch` or `ready` and its release stays in the cache.
    ``writable`` is a folder for what Blender must write where it may not write to the cache.
    """

    def __init__(
        self, cache: ChunkCache, ask: Ask, on_held: OnHeld, writable: Path | None = None
    ) -> None:
        self._cache = cache
        self._writable = writable
        self._ask = ask
        self._on_held = on_held
        self._scenes: dict[str, asyncio.Task[Path]] = {}
        self._listeners: dict[str, OnFraction] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def prefetch(self, manifest: str) -> None:
        """Begin to make a scene ready; what fails is told to whoever asks for it with `ready`."""
        task = self._scenes.get(manifest)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._prepare(manifest), name=f"scene {manifest[:12]}")
            # Retrieved here, so that a prefetch nobody came back for is no unhandled error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._scenes[manifest] = task

    async def ready(self, manifest: str, on_fraction: OnFraction | None = None) -> Path:
        """Return the folder with the files of a scene, fetching what is missing.

        ``on_fraction`` hears how much has come, 0 to 1. Waits for the farm while it cannot be
        reached. Raises `SceneUnavailable`.
        """
        self.prefetch(manifest)
        if on_fraction is not None:
            self._listeners[manifest] = on_fraction
        try:
            # Cancelling one who waits must not throw away what has been fetched for others.
            return await asyncio.shield(self._scenes[manifest])
        finally:
            self._listeners.pop(manifest, None)

    def release_all_but(self, manifests: Collection[str]) -> None:
        """Let go of every scene not named: its tree goes, its chunks may."""
        for manifest in [name for name in self._scenes if name not in manifests]:
            task = self._scenes.pop(manifest)
            leaving = asyncio.create_task(self._leave(manifest, task))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Let go of everything."""
        self.release_all_but(())
        while self._leaving:
            await asyncio.wait(self._leaving)

    async def _leave(self, manifest: str, task: asyncio.Task[Path]) -> None:
        task.cancel()
        await asyncio.wait([task])
        # It may have been asked for again while its task came to an end.
        if manifest not in self._scenes:
            await in_thread(self._drop, manifest)

    def _writable_of(self, manifest: str) -> Path | None:
        return self._writable / manifest if self._writable is not None else None

    def _drop(self, manifest: str) -> None:
        # What a broken disk does not let go is swept when this process has ended.
        with contextlib.suppress(OSError):
            remove(self._cache.tree_path(manifest))
            if (writable := self._writable_of(manifest)) is not None:
                remove(writable)
            self._cache.unpin(manifest)

    async def _prepare(self, sha256: str) -> Path:
        while self._leaving:
            # The tree of this very scene may still be on its way out.
            await asyncio.wait(self._leaving)
        try:
            await in_thread(self._cache.pin, sha256)
            lock = self._cache.lock_scene(sha256)
            try:
                # A lock between processes has no event to wait for, and a thread that blocks on it
                # could not be cancelled.
                while not await in_thread(lock.acquire, wait=False):  # noqa: ASYNC110
                    await asyncio.sleep(LOCK_LOOK_SECONDS)
                return await self._fetch_and_build(sha256)
            finally:
                # Also of one cancelled while its thread was taking the lock, and so has it.
                lock.release()
        except (CacheError, OSError) as error:
            told = self._cache.explain(error) if isinstance(error, OSError) else error
            await in_thread(self._drop, sha256)
            raise SceneUnavailable(str(told)) from error
        except SceneUnavailable:
            await in_thread(self._drop, sha256)
            raise

    async def _fetch_and_build(self, sha256: str) -> Path:
        tree = self._cache.tree_path(sha256)
        last = ""
        for attempt in range(1, FETCH_ATTEMPTS + 1):
            try:
                manifest = await self._manifest(sha256)
                await self._fetch(sha256, manifest)
                await in_thread(build_tree, manifest, self._cache, tree, self._writable_of(sha256))
            except (Damaged, ChunkRefused, ChunkMissing) as error:
                last = str(error)
                await asyncio.sleep(backoff(attempt))
                continue
            await in_thread(self._cache.mark_complete, sha256)
            self._on_held(sha256, True)
            return tree
        raise SceneUnavailable(
            f"The scene came damaged {FETCH_ATTEMPTS} times, the last time so: {last}"
        )

    async def _manifest(self, sha256: str) -> Manifest:
        manifest = await in_thread(self._cache.manifest, sha256)
        if manifest is None:
            data = await self._patiently(lambda farm: _read_manifest(farm, sha256))
            await in_thread(self._cache.make_room, len(data))
            manifest = await in_thread(self._cache.put_manifest, sha256, data)
        return manifest

    async def _fetch(self, sha256: str, manifest: Manifest) -> None:
        assembled = sum(
            file.length
            for file in manifest.files
            if len(file.chunks) > 1 and not self._cache.file_path(file).exists()
        )

        async def sink(name: str, raw: bytes) -> None:
            if len(raw) < THREAD_MIN_BYTES:
                self._cache.put_chunk(name, raw)
            else:
                await in_thread(self._cache.put_chunk, name, raw)

        async def fetch(farm: FarmConnection) -> None:
            # Asked anew at every attempt: what has come stays.
            lacking = await in_thread(self._cache.missing, manifest)
            if lacking:
                await fetch_chunks(
                    farm,
                    [chunk.sha256 for chunk in lacking],
                    sink,
                    progress=self._progress(sha256, lacking),
                )

        lacking = await in_thread(self._cache.missing, manifest)
        wanted = sum(chunk.length for chunk in lacking)
        if wanted + assembled:
            await in_thread(self._cache.make_room, wanted + assembled)
        if lacking:
            await self._patiently(fetch)

    def _progress(self, sha256: str, lacking: list[Chunk]) -> Callable[[int, int], None]:
        total = sum(chunk.length for chunk in lacking)

        def progress(done: int, _: int) -> None:
            listener = self._listeners.get(sha256)
            if listener is not None:
                listener(min(1.0, done / total))

        return progress

    async def _patiently(self, what: Callable[[FarmConnection], Awaitable[T]]) -> T:
        """Ask the farm until it answers; only what asking again cannot change is an error."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._ask(what)
            except NotFound as error:
                raise SceneUnavailable(
                    f"The coordinator lacks a part of the scene: {error} "
                    "Submit the job again to send it."
                ) from error
            except Damaged:
                raise
            except FarmError:
                # Gone for a while, or in trouble: the lease decides how long this is worth it.
                await asyncio.sleep(backoff(attempt))


async def _read_manifest(farm: FarmConnection, sha256: str) -> bytes:
    pieces: list[bytes] = []
    length = 0
    async with farm.stream("GET", f"/api/v1/blobs/{sha256}") as response:
        async for piece in response.content.iter_any():
            length += len(piece)
            if length > MANIFEST_MAX_BYTES:
                raise Damaged(f"The manifest {sha256[:12]} is longer than a manifest may be.")
            pieces.append(piece)
    return b"".join(pieces)
