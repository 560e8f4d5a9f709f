"""Load for a real coordinator: nodes that speak the real protocol and finish every frame at once.

Everything between a coordinator and its nodes is real: the WebSocket, the messages with their
codec, the blobs over HTTP. Only the rendering is left out: `FrameStarted` and `FrameDone` follow
an `Assign` as fast as the event loop goes. The picture of a frame is a PNG of 8 x 6 pixels,
either one that is on the coordinator already and serves every frame (`Pictures.SHARED`: what
dispatch alone costs) or one that no other frame has, uploaded durably before the frame is called
done (`Pictures.UNIQUE`: what a frame costs, the transport of its pixels aside).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256

import aiohttp
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.codec import (
    decode_coordinator_message,
    encode_manifest,
    encode_message,
)
from rendermill.protocol.job import FrameImage, JobKind, JobSpec, OutputRoot, Requirements
from rendermill.protocol.machine import BlenderInfo, Machine
from rendermill.protocol.manifest import Chunk, Manifest, ManifestFile
from rendermill.protocol.messages import (
    MESSAGE_MAX_BYTES,
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
from rendermill.protocol.views import JobSubmission, JobView
from rendermill.wire import blobs
from rendermill.wire.connection import FarmConnection
from rendermill.wire.credentials import Credentials

WIDTH, HEIGHT = 8, 6
CONNECTING_AT_ONCE = 100
"""Handshakes in flight: more only wait in the listener's queue."""
STUCK_SECONDS = 300.0
"""A wait for the coordinator that takes longer ends the run with an error."""

BLENDER = (4, 5, 15)
MACHINE = Machine(
    hostname="load",
    system="Linux",
    cpu="none",
    cores=8,
    memory_bytes=16 << 30,
    blenders=(BlenderInfo(version=BLENDER, path="blender", is_module=False, engines=("CYCLES",)),),
)


class Pictures(str, Enum):
    """Where the bytes of a frame come from."""

    SHARED = "shared"
    """One blob, on the coordinator before the clock starts."""
    UNIQUE = "unique"
    """A blob for each frame, uploaded by the node before it calls the frame done."""


def picture(number: int) -> bytes:
    """Return a PNG of `WIDTH` x `HEIGHT` grey pixels that differs from number to number."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = number.to_bytes(16, "big") + bytes(WIDTH * HEIGHT - 16)
    rows = b"".join(b"\0" + pixels[at : at + WIDTH] for at in range(0, len(pixels), WIDTH))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


class LoadScene:
    """The scene of every job: one small file."""

    def __init__(self) -> None:
        self.data = b"BLENDER" * 16
        self.name = sha256(self.data).hexdigest()
        chunks = (Chunk(self.name, len(self.data)),)
        self.manifest = encode_manifest(Manifest((ManifestFile("load.blend", chunks),)))

    async def upload(self, farm: FarmConnection) -> None:
        """Bring it to the coordinator."""

        async def chunks() -> AsyncIterator[tuple[str, bytes]]:
            yield self.name, self.data

        await blobs.upload_chunks(farm, chunks())
        await blobs.put_bytes(farm, self.manifest)

    async def submit(self, farm: FarmConnection, frames: int, **changes: object) -> JobView:
        """Queue a job of frames 1 to ``frames``; ``changes`` are fields of its spec."""
        spec = JobSpec(
            name=f"{frames} frames",
            submitter="load",
            kind=JobKind.ANIMATION,
            blend="load.blend",
            scene="Scene",
            frames=f"1-{frames}",
            requires=Requirements(blender=BLENDER, engine="CYCLES"),
            roots=(),
            outputs=(OutputRoot(id="main", label="Render", folder="/out", name="f_####"),),
            image=FrameImage(width=WIDTH, height=HEIGHT, file_format="PNG"),
        )
        spec = replace(spec, **changes)
        submission = JobSubmission(spec=spec, manifest=sha256(self.manifest).hexdigest())
        return await farm.post("/api/v1/jobs", JobView, body=submission, key=secrets.token_hex(8))


@dataclass
class FakeNode:
    """One connection, and the times between a finished frame and the next order."""

    name: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    incarnation: str = "load"
    """One life of it: with another one it holds nothing of what it had."""
    gaps: list[float] = field(default_factory=list)
    """Seconds from `FrameDone` to the next `Assign`."""
    assigned: int = 0
    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    heartbeat_seconds: float = 5.0
    done_at: float = 0.0
    """When the last frame was called done, 0 once the next order came."""


class FakeNodes:
    """Many nodes in one event loop; an async context manager that connects and parts."""

    def __init__(
        self,
        credentials: Credentials,
        count: int,
        pictures: Pictures = Pictures.SHARED,
        finishing: bool = True,
    ) -> None:
        """``finishing``: whether they render what they get; else they hold it and heartbeat."""
        self.nodes = [FakeNode(f"load{index:05d}") for index in range(count)]
        self.first_assign = asyncio.Event()
        """Set when any node has got a frame."""
        self._credentials = credentials
        self._pictures = pictures
        self._finishing = finishing
        self._number = secrets.randbits(96) << 32
        self._shared = picture(self._number)
        self._progress = asyncio.Event()
        self._connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> FakeNodes:
        """Connect all of them; returns when each is welcome."""
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                self._credentials.url,
                connector=aiohttp.TCPConnector(limit=0),
                headers={"Authorization": f"Bearer {self._credentials.token}"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=STUCK_SECONDS),
            )
        )
        await self._put(self._shared)
        welcome = [asyncio.get_running_loop().create_future() for _ in self.nodes]
        self._tasks = [
            asyncio.create_task(self._live(node, here))
            for node, here in zip(self.nodes, welcome, strict=True)
        ]
        await self._wait(asyncio.gather(*welcome))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failed.done():
            self._failed.exception()
        else:
            self._failed.cancel()
        await self._stack.aclose()

    @property
    def accepted(self) -> int:
        """Frames that the coordinator has committed."""
        return sum(node.accepted for node in self.nodes)

    @property
    def assigned(self) -> int:
        """Frames given out."""
        return sum(node.assigned for node in self.nodes)

    @property
    def gaps(self) -> list[float]:
        """Seconds from `FrameDone` to the next `Assign`, of all nodes."""
        return [gap for node in self.nodes for gap in node.gaps]

    async def until_accepted(self, count: int) -> None:
        """Wait until so many frames in all are committed."""
        while self.accepted < count:
            self._progress.clear()
            await self._wait(self._progress.wait())

    async def until_assigned(self, count: int) -> None:
        """Wait until so many frames in all were given out."""
        while self.assigned < count:
            self._progress.clear()
            await self._wait(self._progress.wait())

    async def _wait(self, what: Awaitable[object]) -> None:
        """Wait for something, or for the first node that fails."""
        task = asyncio.ensure_future(what)
        async with asyncio.timeout(STUCK_SECONDS):
            await asyncio.wait((task, self._failed), return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._failed.result()
        await task

    # --- one node ------------------------------------------------------------------------------

    async def _live(self, node: FakeNode, welcome: asyncio.Future[None]) -> None:
        try:
            async with self._connecting:
                socket = await self._session.ws_connect(
                    "/api/v1/node", max_msg_size=MESSAGE_MAX_BYTES, compress=0
                )
                hello = Hello(
                    protocol=PROTOCOL_VERSION,
                    software="load",
                    node=node.id,
                    incarnation=node.incarnation,
                    name=node.name,
                    machine=MACHINE,
                )
                await socket.send_bytes(encode_message(hello))
                first = decode_coordinator_message(await socket.receive_bytes())
            assert isinstance(first, Welcome), f"{node.name} heard {first} instead of a welcome"
            welcome.set_result(None)
            node.heartbeat_seconds = first.heartbeat_seconds
            try:
                async with asyncio.TaskGroup() as group:
                    beat = group.create_task(self._beat(node, socket))
                    await self._listen(node, socket)
                    beat.cancel()
            finally:
                await socket.close()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the load
            if not self._failed.done():
                self._failed.set_exception(error)

    async def _beat(self, node: FakeNode, socket: aiohttp.ClientWebSocketResponse) -> None:
        beat = encode_message(Heartbeat(load=1.0, memory_free_bytes=1, disk_free_bytes=1))
        while True:
            await asyncio.sleep(node.heartbeat_seconds)
            await socket.send_bytes(beat)

    async def _listen(self, node: FakeNode, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            match decode_coordinator_message(frame.data):
                case Assign(frames=frames):
                    self._note_assign(node, len(frames))
                    if self._finishing:
                        for ref in frames:
                            await self._finish(node, socket, ref)
                case FrameAccepted():
                    node.accepted += 1
                    self._progress.set()
                case FrameRefused(reason=reason):
                    raise RuntimeError(f"{node.name}: a frame was refused: {reason}")
                case _:
                    pass
        raise ConnectionError(f"{node.name} was cut off: {socket.close_code}")

    def _note_assign(self, node: FakeNode, count: int) -> None:
        if node.done_at:
            node.gaps.append(time.perf_counter() - node.done_at)
            node.done_at = 0.0
        node.assigned += count
        self.first_assign.set()
        self._progress.set()

    async def _finish(
        self, node: FakeNode, socket: aiohttp.ClientWebSocketResponse, ref: FrameRef
    ) -> None:
        await self._say(socket, FrameStarted(frame=ref))
        data = self._shared
        if self._pictures is Pictures.UNIQUE:
            self._number += 1
            data = picture(self._number)
            await self._put(data)
        done = FrameDone(
            frame=ref,
            files=(
                FrameFile(
                    root="main",
                    path=f"f_{ref.frame:06d}.png",
                    sha256=sha256(data).hexdigest(),
                    length=len(data),
                ),
            ),
            stats=FrameStats(seconds=0.01),
        )
        node.done_at = time.perf_counter()
        await self._say(socket, done)

    @staticmethod
    async def _say(socket: aiohttp.ClientWebSocketResponse, message: NodeMessage) -> None:
        await socket.send_bytes(encode_message(message))

    async def _put(self, data: bytes) -> None:
        name = sha256(data).hexdigest()
        async with self._session.put(f"/api/v1/blobs/{name}", data=data) as answer:
            if answer.status not in (200, 201):
                raise RuntimeError(f"blob refused: {answer.status} {await answer.text()}")
