"""A coordinator for tests of the node: the real protocol over a real server, and no farm behind.

It remembers every message and does only what a test tells it, so that a test can be any
coordinator: one that refuses, forgets, is cut off, or sends what it should not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import WSMsgType, web
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.batch import RecordHeader, pack_header
from rendermill.protocol.codec import decode_node_message, encode_manifest, encode_message
from rendermill.protocol.manifest import CHUNK_MAX_BYTES, Chunk, Manifest, ManifestFile
from rendermill.protocol.messages import (
    CoordinatorMessage,
    FrameAccepted,
    FrameDone,
    FrameRef,
    FrameRefused,
    Hello,
    NodeMessage,
    Welcome,
)
from rendermill.wire.credentials import Credentials, write_local

M = TypeVar("M")

TOKEN = "token-of-the-test"
FARM_ID = "farm-of-the-test"
PATIENCE_SECONDS = 240.0
"""Only so that a test that hangs ends: a disk may stand still for half a minute."""


@dataclass
class Coordinator:
    """Start it in a running loop; `messages` holds what nodes said, in order."""

    accepting: bool = True
    """Answer `FrameDone` with `FrameAccepted`, or `FrameRefused(retry)` when blobs are missing."""
    keeping: bool = True
    """Let a node keep what it says it holds."""
    heartbeat_seconds: float = 0.2
    protocol: int = PROTOCOL_VERSION
    farm_id: str = FARM_ID
    blobs: dict[str, bytes] = field(default_factory=dict)
    damage: dict[str, int] = field(default_factory=dict)
    """Blobs that are sent damaged so many times."""
    fetched: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    full: bool = False
    """Answer 507 to every PUT."""
    messages: list[NodeMessage] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        """Make what needs a loop."""
        self._arrived = asyncio.Condition()
        self._sockets: list[tuple[Hello, web.WebSocketResponse]] = []
        self._runner: web.AppRunner | None = None
        self.gate = asyncio.Event()
        """While clear, answers to requests for chunks wait."""
        self.gate.set()
        self.asked = asyncio.Event()
        """Set when chunks are asked for."""

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on loopback, on the port it had before if it was started before."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_get("/api/v1/node", self._node)
        app.router.add_put("/api/v1/blobs/{sha256}", self._put)
        app.router.add_get("/api/v1/blobs/{sha256}", self._get)
        app.router.add_post("/api/v1/blobs/fetch", self._fetch)
        app.router.add_post("/api/v1/join", self._join)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone; connections are cut without a word."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        """Break every line to a node, as a pulled cable that somebody noticed."""
        for _, socket in self._sockets:
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        self._sockets.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def announce_here(self) -> None:
        """Write ``local.json``, as a coordinator of this user does."""
        write_local(Credentials(self.url, TOKEN, "", "Test farm", self.farm_id))

    # --- talk ----------------------------------------------------------------------------------

    async def send(self, message: CoordinatorMessage, *, to: str = "") -> None:
        """Send to the node that connected last (or to the one of that id)."""
        sockets = [socket for hello, socket in self._sockets if not to or hello.node == to]
        await sockets[-1].send_bytes(encode_message(message))

    async def hears(
        self, kind: type[M], where: Callable[[M], bool] = lambda _: True, *, after: int = 0
    ) -> M:
        """Wait for a message of this kind among those from number ``after`` on."""

        def found() -> M | None:
            for message in self.messages[after:]:
                if isinstance(message, kind) and where(message):
                    return message
            return None

        async with self._arrived, asyncio.timeout(PATIENCE_SECONDS):
            await self._arrived.wait_for(lambda: found() is not None)
        message = found()
        assert message is not None
        return message

    def said(self, kind: type[M]) -> list[M]:
        """All messages of a kind so far."""
        return [message for message in self.messages if isinstance(message, kind)]

    def add_scene(self, files: dict[str, bytes], chunk_bytes: int = CHUNK_MAX_BYTES) -> str:
        """Store a scene; returns the hash of its manifest."""
        rows: list[ManifestFile] = []
        for path, data in sorted(files.items()):
            pieces = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
            rows.append(
                ManifestFile(path, tuple(Chunk(self.add(piece), len(piece)) for piece in pieces))
            )
        return self.add(encode_manifest(Manifest(tuple(rows))))

    def add(self, data: bytes) -> str:
        """Store a blob."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.blobs[sha256] = data
        return sha256

    # --- answers -------------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "protocol": self.protocol,
                "software": "test",
                "farm": "Test farm",
                "farm_id": self.farm_id,
            }
        )

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized

    async def _join(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["secret"] != "0" * 32:
            raise web.HTTPForbidden
        assert asked["kind"] == "node"
        return web.json_response({"token": TOKEN, "farm": "Test farm", "farm_id": self.farm_id})

    async def _node(self, request: web.Request) -> web.WebSocketResponse:
        self._check(request)
        socket = web.WebSocketResponse(max_msg_size=2 * 1024 * 1024)
        await socket.prepare(request)
        hello = decode_node_message(await socket.receive_bytes())
        assert isinstance(hello, Hello)
        keep = hello.holding if self.keeping else ()
        await socket.send_bytes(
            encode_message(
                Welcome(
                    farm="Test farm",
                    heartbeat_seconds=self.heartbeat_seconds,
                    lease_seconds=30.0,
                    keep=keep,
                )
            )
        )
        self._sockets.append((hello, socket))
        await self._note(hello)
        with contextlib.suppress(ConnectionError):
            async for frame in socket:
                if frame.type is WSMsgType.BINARY:
                    message = decode_node_message(frame.data)
                    await self._note(message)
                    if isinstance(message, FrameDone) and self.accepting:
                        await socket.send_bytes(encode_message(self._judge(message)))
        return socket

    def _judge(self, done: FrameDone) -> FrameAccepted | FrameRefused:
        if all(file.sha256 in self.blobs for file in done.files):
            return FrameAccepted(frame=done.frame)
        return FrameRefused(frame=done.frame, reason="blobs are missing", retry=True)

    async def _note(self, message: NodeMessage) -> None:
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    async def _put(self, request: web.Request) -> web.Response:
        self._check(request)
        data = await request.read()
        sha256 = request.match_info["sha256"]
        if self.full:
            return _problem(507, "The disk of the coordinator is full.")
        if hashlib.sha256(data).hexdigest() != sha256:
            return _problem(422, "The bytes do not hash to their name.")
        there = sha256 in self.blobs
        self.blobs[sha256] = data
        self.stored.append(sha256)
        return web.Response(status=200 if there else 201)

    async def _get(self, request: web.Request) -> web.Response:
        self._check(request)
        data = self.blobs.get(request.match_info["sha256"])
        if data is None:
            return _problem(404, "There is no such blob.")
        return web.Response(body=data)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        asked: dict[str, Any] = await request.json()
        for sha256 in asked["blobs"]:
            if sha256 not in self.blobs:
                return _problem(404, f"There is no blob {sha256}.")
        self.asked.set()
        await self.gate.wait()
        response = web.StreamResponse()
        await response.prepare(request)
        for sha256 in asked["blobs"]:
            data = self.blobs[sha256]
            self.fetched.append(sha256)
            if self.damage.get(sha256, 0) > 0:
                self.damage[sha256] -= 1
                data = bytes([data[0] ^ 1]) + data[1:]
            header = RecordHeader(sha256, len(data), len(data), compressed=False)
            await response.write(pack_header(header) + data)
        await response.write_eof()
        return response


def _problem(status: int, detail: str) -> web.Response:
    body = {"title": "Refused", "status": status, "detail": detail}
    return web.Response(
        status=status, body=json.dumps(body), content_type="application/problem+json"
    )


def ref(frame: int, *, job: str = "job-1", generation: int = 1, epoch: int = 1) -> FrameRef:
    """A lease."""
    return FrameRef(job=job, generation=generation, frame=frame, epoch=epoch)
