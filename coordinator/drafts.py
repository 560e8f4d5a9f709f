"""Scenes that were uploaded with a browser, from their last byte to the job.

First the coordinator reads the .blend as data (`read_blend`), then a node looks at it with a
Blender that fits. Drafts live in memory: what they cost is the upload, and that stays with the
blobs, so that whoever drops the same files after a restart has them here in a moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..protocol.codec import CodecError, decode_json, encode_manifest
from ..protocol.drafts import TREE_ROOT, DraftState, DraftView, NewDraft, SceneFindings, SubmitDraft
from ..protocol.frames import FrameRangeError, format_frames, parse_frames
from ..protocol.job import JobKind
from ..protocol.manifest import Chunk, Manifest, ManifestError, ManifestFile, check_path
from ..protocol.messages import Inspect, Inspected
from ..protocol.states import NodeState
from ..protocol.views import JobSubmission
from .acceptance import ChunksMissing, NotAcceptable
from .conductor import Conductor
from .connections import NodeConnection
from .read_blend import BlendSummary, NotABlend, summarise
from .store.store import Store

DRAFTS_MAX = 50
"""Kept at once; the oldest goes when another comes."""
DRAFT_SECONDS = 3600.0
LOOK_SECONDS = 300.0
"""Longest time a node may take to fetch a scene and to look at it."""
WAIT_SECONDS = 1800.0
"""Longest time without any node that could look."""
POLL_SECONDS = 0.5
FILES_MAX = 100_000
BLEND_MAX_BYTES = 64 * 1024**3


class NoDraft(Exception):
    """There is no such draft (any more)."""


@dataclass(slots=True)
class _Draft:
    id: str
    member: str
    created: float
    manifest: str
    blend: str
    chunks: tuple[Chunk, ...]
    state: DraftState = DraftState.READING
    problem: str = ""
    summary: BlendSummary | None = None
    inspected: tuple[SceneFindings, ...] = ()
    node: str = ""
    asked: NodeConnection | None = None
    answer: asyncio.Future[Inspected] | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class DraftDesk:
    """Takes drafts and turns them into submissions. Belongs to one event loop."""

    def __init__(self, store: Store, conductor: Conductor) -> None:
        self._store = store
        self._conductor = conductor
        self._drafts: dict[str, _Draft] = {}

    async def close(self) -> None:
        """Give up what is being looked at."""
        tasks = [draft.task for draft in self._drafts.values() if draft.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def take(self, body: NewDraft, member: str) -> DraftView:
        """Take an upload. Raises `NotAcceptable`, `ChunksMissing`."""
        manifest = _manifest(body)
        blend = f"{TREE_ROOT}/{body.blend}"
        file = next((one for one in manifest.files if one.path == blend), None)
        if file is None:
            raise NotAcceptable(f"The file {body.blend[:200]!r} is not among the files sent.")
        if file.length > BLEND_MAX_BYTES:
            raise NotAcceptable("The .blend is longer than any scene; choose another file.")
        chunks = manifest.blobs()
        missing = await self._store.in_thread(self._store.blobs.missing, tuple(chunks))
        if missing:
            raise ChunksMissing(missing)
        name = await self._store.in_thread(self._keep_manifest, manifest)
        self._expire()
        draft = _Draft(
            id=secrets.token_hex(16),
            member=member,
            created=time.monotonic(),
            manifest=name,
            blend=blend,
            chunks=file.chunks,
        )
        self._drafts[draft.id] = draft
        draft.task = asyncio.create_task(self._look(draft), name=f"draft {draft.id[:8]}")
        return _view(draft)

    def _keep_manifest(self, manifest: Manifest) -> str:
        data = encode_manifest(manifest)
        name = hashlib.sha256(data).hexdigest()
        self._store.blobs.add([(name, data)])
        return name

    def _expire(self) -> None:
        now = time.monotonic()
        old = [one for one in self._drafts.values() if one.created < now - DRAFT_SECONDS]
        for draft in [*old, *list(self._drafts.values())[: -DRAFTS_MAX + 1]]:
            if self._drafts.pop(draft.id, None) is not None and draft.task is not None:
                draft.task.cancel()

    def _mine(self, draft_id: str, member: str) -> _Draft:
        draft = self._drafts.get(draft_id)
        if draft is None or draft.member != member:
            raise NoDraft("The farm has forgotten this upload; drop the files again.")
        return draft

    def view(self, draft_id: str, member: str) -> DraftView:
        """Return how far a draft is. Raises `NoDraft`."""
        return _view(self._mine(draft_id, member))

    def submission(self, draft_id: str, member: str, choice: SubmitDraft) -> JobSubmission:
        """Return the job of a draft with the choices made. Raises `NoDraft`, `NotAcceptable`."""
        draft = self._mine(draft_id, member)
        if draft.state is not DraftState.READY:
            raise NotAcceptable("The scene has not been looked at yet; wait until it is ready.")
        found = next((one for one in draft.inspected if one.spec.scene == choice.scene), None)
        if found is None:
            raise NotAcceptable(f"The file has no scene {choice.scene[:80]!r} to render.")
        errors = [finding for finding in found.findings if finding.severity == "error"]
        if errors and not choice.anyway:
            raise NotAcceptable(f"{errors[0].what} {errors[0].fix}".strip())
        spec = found.spec
        frames = choice.frames.strip() or spec.frames
        if choice.kind is JobKind.IMAGE and not choice.frames.strip():
            frames = spec.frames.split("-")[0] if not spec.frames.startswith("-") else spec.frames
        try:
            frames = format_frames(parse_frames(frames))
        except FrameRangeError as error:
            raise NotAcceptable(str(error)) from error
        spec = replace(
            spec,
            name=choice.name.strip() or spec.name,
            kind=choice.kind,
            frames=frames,
            priority=choice.priority,
            order=choice.order,
            scouts=choice.scouts,
            requires=replace(spec.requires, tags=choice.tags),
        )
        return JobSubmission(spec=spec, manifest=draft.manifest)

    # --- looking ------------------------------------------------------------------------------

    async def _look(self, draft: _Draft) -> None:
        try:
            draft.summary = await self._read(draft)
            draft.state = DraftState.WAITING
            answer = await self._ask_a_node(draft, draft.summary)
            if answer.problem:
                draft.problem, draft.state = answer.problem, DraftState.FAILED
                return
            draft.inspected = decode_json(
                answer.scenes.encode("utf-8", "replace"), tuple[SceneFindings, ...]
            )
            draft.problem, draft.state = "", DraftState.READY
        except (NotABlend, NotAcceptable) as error:
            draft.problem, draft.state = str(error), DraftState.FAILED
        except CodecError as error:
            draft.problem = f"What the node said of the scene cannot be read: {error}"
            draft.state = DraftState.FAILED
        except OSError as error:
            draft.problem = f"The coordinator could not look at the scene: {error.strerror}."
            draft.state = DraftState.FAILED

    async def _read(self, draft: _Draft) -> BlendSummary:
        folder = await asyncio.to_thread(
            lambda: Path(tempfile.mkdtemp(prefix="draft-", dir=self._store.folder))
        )
        try:
            file = folder / "scene.blend"
            await asyncio.to_thread(self._assemble, draft.chunks, file)
            return await summarise(file, folder)
        except NotABlend as error:
            name = draft.blend.rpartition("/")[2]
            raise NotABlend(str(error).replace("scene.blend", name)) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _assemble(self, chunks: tuple[Chunk, ...], file: Path) -> None:
        with file.open("xb") as out:
            for chunk in chunks:
                out.write(self._store.blobs.read(chunk.sha256))

    async def _ask_a_node(self, draft: _Draft, summary: BlendSummary) -> Inspected:
        loop = asyncio.get_running_loop()
        end = loop.time() + WAIT_SECONDS
        while loop.time() < end:
            chosen = self._choose(summary)
            if isinstance(chosen, str):
                draft.state, draft.problem = DraftState.WAITING, chosen
                await asyncio.sleep(POLL_SECONDS)
                continue
            connection, name, version = chosen
            answer = await self._ask(draft, connection, name, version)
            if answer is not None:
                return answer
        raise NotABlend(f"{draft.problem} Nobody has looked at the scene; drop it again later.")

    async def _ask(
        self, draft: _Draft, connection: NodeConnection, name: str, version: tuple[int, int]
    ) -> Inspected | None:
        """Return what a node answers; None when it went away meanwhile."""
        loop = asyncio.get_running_loop()
        draft.state, draft.problem, draft.node = DraftState.INSPECTING, "", name
        draft.asked, draft.answer = connection, loop.create_future()
        order = Inspect(id=draft.id, manifest=draft.manifest, blend=draft.blend, blender=version)
        self._conductor.connections.send(connection.node, connection.incarnation, order)
        end = loop.time() + LOOK_SECONDS
        try:
            while self._conductor.connections.is_open(connection):
                left = end - loop.time()
                if left <= 0:
                    raise NotABlend(
                        f"The node {name} took longer than {LOOK_SECONDS / 60:.0f} minutes to look "
                        "at the scene."
                    )
                await asyncio.wait([draft.answer], timeout=min(left, POLL_SECONDS))
                if draft.answer.done():
                    return draft.answer.result()
            return None
        finally:
            draft.asked = draft.answer = None

    def answered(self, node: str, message: Inspected) -> None:
        """A node has looked at a scene; whatever nobody waits for is dropped."""
        draft = self._drafts.get(message.id)
        if draft is None or draft.answer is None or draft.asked is None:
            return
        if draft.asked.node == node and not draft.answer.done():
            draft.answer.set_result(message)

    def _choose(self, summary: BlendSummary) -> tuple[NodeConnection, str, tuple[int, int]] | str:
        """Return who looks at it with which Blender, or why nobody does."""
        farm = self._conductor.farm
        busy = {draft.asked.node for draft in self._drafts.values() if draft.asked is not None}
        wanted = f"Blender {summary.version[0]}.{summary.version[1]}"
        best: tuple[tuple[object, ...], NodeConnection, str, tuple[int, int]] | None = None
        is_any = is_older = False
        for connection in self._conductor.connections.inspectors():
            view = farm.node_view(connection.node, self._conductor.clock.now())
            if view is None:
                continue
            for blender in view.machine.blenders:
                version = blender.version[:2]
                if version < summary.version:
                    is_older = True
                    continue
                is_any = True
                if connection.node in busy:
                    continue
                # The artist's own version first, then the nearest newer one; idle nodes first.
                rank = (version, view.state is not NodeState.IDLE, view.load, connection.node)
                if best is None or rank < best[0]:
                    best = rank, connection, view.name, version
        if best is not None:
            return best[1:]
        if is_any:
            return "Every node that could look at the scene looks at another one; it is next."
        if is_older:
            return f"The file was saved by {wanted}, and every node has an older Blender."
        return f"No node with {wanted} or newer is connected to look at the scene."


def _manifest(body: NewDraft) -> Manifest:
    if not 0 < len(body.files) <= FILES_MAX:
        raise NotAcceptable(f"A scene has 1 to {FILES_MAX:,} files, not {len(body.files):,}.")
    try:
        files = tuple(
            ManifestFile(
                check_path(f"{TREE_ROOT}/{file.path}"),
                tuple(Chunk(sha256, length) for sha256, length in file.chunks),
            )
            for file in body.files
        )
        manifest = Manifest(tuple(sorted(files, key=lambda file: file.path)))
        encode_manifest(manifest)
    except (ManifestError, ValueError) as error:
        raise NotAcceptable(str(error)) from error
    return manifest


def _view(draft: _Draft) -> DraftView:
    summary = draft.summary
    return DraftView(
        id=draft.id,
        state=draft.state,
        problem=draft.problem,
        blend=draft.blend.removeprefix(f"{TREE_ROOT}/"),
        version="" if summary is None else ".".join(map(str, summary.version)),
        scene="" if summary is None else summary.scene,
        scenes=() if summary is None else summary.scenes,
        inspected=draft.inspected,
        node=draft.node,
    )
