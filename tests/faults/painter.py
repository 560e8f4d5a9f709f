"""A node without a Blender: it paints frames, keeps them until they are acknowledged, comes back.

Everything a node promises, over the real WebSocket and the real uploads, at the speed of a
coordinator: for faults of the coordinator's disk and clock, which a Blender would only slow down.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import aiohttp
from PIL import Image
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.codec import decode_coordinator_message, encode_manifest, encode_message
from rendermill.protocol.job import (
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo, Machine
from rendermill.protocol.manifest import Chunk, Manifest, ManifestFile
from rendermill.protocol.messages import (
    Assign,
    FrameAccepted,
    FrameDone,
    FrameFile,
    FrameRef,
    FrameRefused,
    FrameStarted,
    FrameStats,
    Heartbeat,
    Hello,
    NodeMessage,
    Welcome,
)
from rendermill.protocol.views import JobDetail, JobSubmission, JobView
from rendermill.wire import blobs
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials
from rendermill.wire.errors import FarmError

SIZE = (16, 12)
AGAIN_SECONDS = 0.1
BEAT_SECONDS = 1.0
END_SECONDS = 120.0

MACHINE = Machine(
    hostname="painter",
    system="Linux",
    cpu="cpu",
    cores=4,
    memory_bytes=8 << 30,
    blenders=(
        BlenderInfo(
            version=(4, 5, 15), path="/usr/bin/blender", is_module=False, engines=("CYCLES",)
        ),
    ),
)


def picture(frame: int) -> bytes:
    """A PNG that differs from frame to frame."""
    out = io.BytesIO()
    Image.new("RGB", SIZE, (frame % 256, frame // 256 % 256, 7)).save(out, "PNG")
    return out.getvalue()


def spec(frames: str) -> JobSpec:
    """A job of those frames."""
    return JobSpec(
        name="shot",
        submitter="ada@desk",
        kind=JobKind.ANIMATION,
        blend="scene/shot.blend",
        scene="Scene",
        frames=frames,
        requires=Requirements(blender=(4, 5, 15), engine="CYCLES"),
        roots=(SceneRoot(folder="/home/ada/shot", path="scene"),),
        outputs=(
            OutputRoot(id="main", label="Render output", folder="/home/ada/out", name="f_####"),
        ),
        image=FrameImage(width=SIZE[0], height=SIZE[1], file_format="PNG"),
    )


def scene(content: bytes = b"BLENDER") -> tuple[bytes, dict[str, bytes]]:
    """Manifest and chunks of a scene."""
    name = hashlib.sha256(content).hexdigest()
    manifest = Manifest((ManifestFile("scene/shot.blend", (Chunk(name, len(content)),)),))
    return encode_manifest(manifest), {name: content}


async def submit(farm: FarmConnection, frames: str, content: bytes = b"BLENDER") -> str:
    """Send a scene and a job on it; returns the job's id."""
    manifest, chunks = scene(content)

    async def each() -> AsyncIterator[tuple[str, bytes]]:
        for item in chunks.items():
            yield item

    await blobs.upload_chunks(farm, each())
    name = await blobs.put_bytes(farm, manifest)
    submission = JobSubmission(spec=spec(frames), manifest=name)
    view = await farm.post("/api/v1/jobs", JobView, body=submission, key=secrets.token_hex(8))
    return view.id


async def job_view(farm: FarmConnection, job: str) -> JobView:
    """The job as the farm sees it."""
    return (await farm.get(f"/api/v1/jobs/{job}", JobDetail)).job


@dataclass
class Painter:
    """One node. `at_work` runs it; what it was given and what was taken stays afterwards."""

    credentials: Credentials
    node: str = field(default_factory=lambda: secrets.token_hex(16))
    incarnation: str = "one"
    rendered: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """How often it painted each (job, generation, frame)."""
    accepted: set[tuple[str, int, int]] = field(default_factory=set)
    outbox: dict[tuple[str, int, int], FrameDone] = field(default_factory=dict)
    welcomes: int = 0
    limit: int | None = None
    """So many frames it paints in all and then waits, until `go_on`: whatever is done to the
    coordinator meanwhile, the job is not over before."""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Painter]:
        """Be a node of the farm, through whatever happens to the farm."""
        task = asyncio.create_task(self._live())
        try:
            yield self
        finally:
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def go_on(self, until: int | None = None) -> None:
        """Paint all that is there to be painted, or ``until`` so many are."""
        self.limit = until
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of what it has done."""
        async with asyncio.timeout(END_SECONDS):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    def painted(self, job: str) -> list[int]:
        """Frames of a job, as often as they were painted."""
        return sorted(frame for (of, _, frame) in self.rendered.elements() if of == job)

    def taken(self, job: str) -> set[int]:
        """Frames of a job that the farm has acknowledged."""
        return {frame for (of, _, frame) in self.accepted if of == job}

    @staticmethod
    def name_of(frame: int) -> str:
        """Name of the blob that a frame's picture becomes."""
        return hashlib.sha256(picture(frame)).hexdigest()

    # --- inside --------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(FarmError, ConnectionError, aiohttp.ClientError):
                async with (
                    FarmConnection(self.credentials, patience_seconds=1.0) as farm,
                    farm.websocket("/api/v1/node") as socket,
                ):
                    await self._talk(farm, socket)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _talk(self, farm: FarmConnection, socket: aiohttp.ClientWebSocketResponse) -> None:
        holding = tuple(done.frame for done in self.outbox.values())
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            software="test",
            node=self.node,
            incarnation=self.incarnation,
            name="painter",
            machine=MACHINE,
            holding=holding,
        )
        await _send(socket, hello)
        assigned: asyncio.Queue[FrameRef] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._paint(farm, socket, assigned)),
            asyncio.create_task(_beat(socket)),
        ]
        try:
            while (frame := await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                match decode_coordinator_message(frame.data):
                    case Welcome():
                        self.welcomes += 1
                        for done in self.outbox.values():
                            assigned.put_nowait(done.frame)
                    case Assign(frames=frames):
                        for ref in frames:
                            assigned.put_nowait(ref)
                    case FrameAccepted(frame=ref):
                        self.accepted.add(_key(ref))
                        self.outbox.pop(_key(ref), None)
                    case FrameRefused(frame=ref, retry=True):
                        assigned.put_nowait(ref)
                    case FrameRefused(frame=ref):
                        self.outbox.pop(_key(ref), None)
                    case _:
                        pass
                self._changed.set()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _paint(
        self,
        farm: FarmConnection,
        socket: aiohttp.ClientWebSocketResponse,
        assigned: asyncio.Queue[FrameRef],
    ) -> None:
        while True:
            ref = await assigned.get()
            done = self.outbox.get(_key(ref))
            data = picture(ref.frame)
            if done is None:
                while self.limit is not None and len(self.rendered) >= self.limit:
                    self._changed.clear()
                    await self._changed.wait()
                await _send(socket, FrameStarted(frame=ref))
                self.rendered[_key(ref)] += 1
                done = _done(ref, data)
            elif ref.epoch > done.frame.epoch:
                done = replace(done, frame=ref)
            self.outbox[_key(ref)] = done
            self._changed.set()
            while True:
                try:
                    await blobs.put_bytes(farm, data)
                    break
                except FarmError:
                    # A disk that is full, a coordinator that is gone: kept, and offered again.
                    await asyncio.sleep(AGAIN_SECONDS)
            await _send(socket, done)


def _key(ref: FrameRef) -> tuple[str, int, int]:
    return ref.job, ref.generation, ref.frame


def _done(ref: FrameRef, data: bytes) -> FrameDone:
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"f_{ref.frame:04d}.png"
    return FrameDone(
        frame=ref,
        files=(FrameFile(root="main", path=name, sha256=sha256, length=len(data)),),
        stats=FrameStats(seconds=0.5),
        thumbnail=sha256,
        log=("Saved",),
    )


async def _beat(socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        await _send(socket, Heartbeat(load=0.1, memory_free_bytes=1 << 30, disk_free_bytes=1 << 40))
        await asyncio.sleep(BEAT_SECONDS)


async def _send(socket: aiohttp.ClientWebSocketResponse, message: NodeMessage) -> None:
    await socket.send_bytes(encode_message(message))
