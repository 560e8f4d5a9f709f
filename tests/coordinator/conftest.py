"""A real coordinator on loopback, a real client, and a node that speaks the real protocol."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from PIL import Image
from rendermill.coordinator.app import RunningCoordinator, start_coordinator
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.codec import (
    decode_coordinator_message,
    encode_manifest,
    encode_message,
)
from rendermill.protocol.frames import format_frames, parse_frames
from rendermill.protocol.job import (
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo, Machine
from rendermill.protocol.manifest import CHUNK_MAX_BYTES, Chunk, Manifest, ManifestFile
from rendermill.protocol.messages import (
    Assign,
    CoordinatorMessage,
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

M = TypeVar("M")
WIDTH, HEIGHT = 8, 6
PATIENCE_SECONDS = 120.0
"""For a message that is on its way, on a busy machine."""
PATIENT = FarmConfig(heartbeat_seconds=600, suspect_seconds=3000, lease_seconds=3600)
"""A painted node says nothing while it waits: it gets work, however long that takes to come."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture(frame: int, size: tuple[int, int] = (WIDTH, HEIGHT), file_format: str = "PNG") -> bytes:
    """A picture that differs from frame to frame."""
    out = io.BytesIO()
    Image.new("RGB", size, (frame % 256, frame // 256 % 256, 7)).save(out, file_format)
    return out.getvalue()


@dataclass
class Scene:
    """A scene of a few files, cut into chunks, with the spec to render it."""

    spec: JobSpec
    files: dict[str, bytes]
    manifest: bytes = b""
    chunks: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        listed: list[ManifestFile] = []
        for path, data in self.files.items():
            pieces = [
                data[at : at + CHUNK_MAX_BYTES] for at in range(0, len(data), CHUNK_MAX_BYTES)
            ]
            self.chunks.update({sha256(piece): piece for piece in pieces})
            listed.append(
                ManifestFile(path, tuple(Chunk(sha256(piece), len(piece)) for piece in pieces))
            )
        self.manifest = encode_manifest(Manifest(tuple(listed)))

    @property
    def submission(self) -> JobSubmission:
        return JobSubmission(spec=self.spec, manifest=sha256(self.manifest))

    async def upload(self, farm: FarmConnection) -> None:
        await blobs.upload_chunks(farm, _each(self.chunks))
        await blobs.put_bytes(farm, self.manifest)

    async def submit(self, farm: FarmConnection, key: str = "") -> JobView:
        return await farm.post(
            "/api/v1/jobs", JobView, body=self.submission, key=key or secrets.token_hex(8)
        )


async def _each(chunks: dict[str, bytes]) -> AsyncIterator[tuple[str, bytes]]:
    for item in chunks.items():
        yield item


def make_scene(frames: str = "1-3", content: bytes = b"BLENDER", **changes: object) -> Scene:
    spec = JobSpec(
        name="shot",
        submitter="ada@desk",
        kind=JobKind.ANIMATION,
        blend="scene/shot.blend",
        scene="Scene",
        frames=format_frames(parse_frames(frames)),
        requires=Requirements(blender=(4, 5, 15), engine="CYCLES"),
        roots=(SceneRoot(folder="/home/ada/shot", path="scene"),),
        outputs=(
            OutputRoot(id="main", label="Render output", folder="/home/ada/out", name="f_####"),
        ),
        image=FrameImage(width=WIDTH, height=HEIGHT, file_format="PNG"),
    )
    return Scene(
        replace(spec, **changes),  # pyright: ignore[reportArgumentType]
        {"scene/shot.blend": content, "scene/wood.png": b"wood" * 1000},
    )


MACHINE = Machine(
    hostname="box",
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


class FakeNode:
    """A node over the real WebSocket, which paints pictures instead of rendering them."""

    def __init__(self, farm: FarmConnection, node: str, incarnation: str) -> None:
        self.farm = farm
        self.node = node
        self.incarnation = incarnation
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.rendered: list[FrameRef] = []
        self.accepted: list[FrameRef] = []
        self.refused: list[FrameRefused] = []

    def hello(self, **changes: object) -> Hello:
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            software="test",
            node=self.node,
            incarnation=self.incarnation,
            name="box",
            machine=MACHINE,
        )
        return replace(hello, **changes)  # pyright: ignore[reportArgumentType]

    async def send(self, message: NodeMessage) -> None:
        assert self.socket is not None
        await self.socket.send_bytes(encode_message(message))

    async def receive(self) -> CoordinatorMessage:
        assert self.socket is not None
        frame = await self.socket.receive(timeout=PATIENCE_SECONDS)
        assert frame.type is aiohttp.WSMsgType.BINARY, (frame.type, frame.data, frame.extra)
        return decode_coordinator_message(frame.data)

    async def receive_a(self, kind: type[M]) -> M:
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    @contextlib.asynccontextmanager
    async def connected(self, **changes: object) -> AsyncIterator[FakeNode]:
        async with self.farm.websocket("/api/v1/node") as socket:
            self.socket = socket
            await self.send(self.hello(**changes))
            assert isinstance(await self.receive(), Welcome)
            yield self

    @contextlib.asynccontextmanager
    async def attended(self, **changes: object) -> AsyncIterator[FakeNode]:
        """Connected and giving signs of life, for tests that take their time with other things.

        What the coordinator sends meanwhile is read and forgotten.
        """
        async with self.connected(**changes):

            async def listen() -> None:
                while True:
                    await self.receive()

            async def beat() -> None:
                while True:
                    await self.send(
                        Heartbeat(load=0.0, memory_free_bytes=1 << 33, disk_free_bytes=1 << 40)
                    )
                    await asyncio.sleep(1)

            tasks = [asyncio.create_task(listen()), asyncio.create_task(beat())]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def done(self, ref: FrameRef, data: bytes | None = None, path: str = "") -> FrameDone:
        data = picture(ref.frame) if data is None else data
        digest = await blobs.put_bytes(self.farm, data)
        return FrameDone(
            frame=ref,
            files=(
                FrameFile(
                    root="main",
                    path=path or f"f_{ref.frame:04d}.png",
                    sha256=digest,
                    length=len(data),
                ),
            ),
            stats=FrameStats(seconds=0.5),
            thumbnail=digest,
            log=("Saved",),
        )

    async def render(self, until: Callable[[], bool]) -> None:
        """Render whatever comes until ``until`` says that it is enough."""
        while not until():
            match await self.receive():
                case Assign(frames=frames):
                    for ref in frames:
                        await self.send(FrameStarted(frame=ref))
                        self.rendered.append(ref)
                        await self.send(await self.done(ref))
                case FrameAccepted(frame=ref):
                    self.accepted.append(ref)
                case FrameRefused() as refusal:
                    self.refused.append(refusal)
                case _:
                    pass


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Make a scene; keyword arguments change its spec."""
    return make_scene


@pytest.fixture
def paint() -> Callable[..., bytes]:
    """Make the picture of a frame."""
    return picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The coordinator's data folder."""
    return tmp_path / "farm"


@pytest.fixture
async def start(data: Path) -> AsyncIterator[Callable[..., asyncio.Future[RunningCoordinator]]]:
    """Start a coordinator on `data`; each is stopped at the end."""
    started: list[RunningCoordinator] = []

    async def begin(**options: object) -> RunningCoordinator:
        options = {"announces": False, "writes_local": False, "config": PATIENT} | options
        coordinator = await start_coordinator(data, **options)
        started.append(coordinator)
        return coordinator

    yield begin  # pyright: ignore[reportReturnType]
    for coordinator in started:
        await coordinator.stop()


@pytest.fixture
async def coordinator(
    start: Callable[..., asyncio.Future[RunningCoordinator]],
) -> RunningCoordinator:
    """A running coordinator."""
    return await start()


@pytest.fixture
async def farm(coordinator: RunningCoordinator) -> AsyncIterator[FarmConnection]:
    """The real client, as admin."""
    async with FarmConnection(coordinator.credentials) as connection:
        yield connection


@pytest.fixture
def make_node() -> Callable[..., FakeNode]:
    """Make a node over a connection."""

    def make(farm: FarmConnection, number: int = 1, incarnation: str = "one") -> FakeNode:
        return FakeNode(farm, f"{number:032x}", incarnation)

    return make


@pytest.fixture
def as_role(
    coordinator: RunningCoordinator,
) -> Callable[[str], contextlib.AbstractAsyncContextManager[FarmConnection]]:
    """Connect with a fresh token of a role."""
    from rendermill.coordinator.identity.roles import Role

    @contextlib.asynccontextmanager
    async def connect(role: str) -> AsyncIterator[FarmConnection]:
        token = await coordinator.tokens.issue(f"a {role}", Role(role))
        credentials = replace(coordinator.credentials, token=token)
        assert isinstance(credentials, Credentials)
        async with FarmConnection(credentials) as connection:
            yield connection

    return connect


@pytest.fixture
async def raw() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without manners, for hostile requests."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


_SAVE = """
import bpy, sys
scene = bpy.data.scenes.new("Shot <b>🎬</b>")
scene.frame_start, scene.frame_end, scene.frame_step = 2, 12, 5
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
render = scene.render
render.resolution_x, render.resolution_y, render.resolution_percentage = 64, 48, 50
render.fps, render.fps_base = 30, 1.001
render.filepath = "//frames/####"
world = bpy.data.worlds.new("World")
scene.world = world
image = bpy.data.images.new("lost", 4, 4)
image.source = "FILE"
image.filepath = "//textures/lost.png"
image.use_fake_user = True
far = bpy.data.images.new("far", 4, 4)
far.source = "FILE"
far.filepath = "/home/ada/far away.png"
far.use_fake_user = True
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
scene.collection.objects.link(camera)
scene.camera = camera
bpy.context.window.scene = scene
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1], compress=COMPRESS)
"""


@pytest.fixture(scope="session")
def saved_blend(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """A .blend of two scenes as Blender 4.5 saves it, compressed or not, in a folder of its own."""
    made: dict[bool, Path] = {}

    def save(compress: bool) -> Path:
        if compress not in made:
            file = tmp_path_factory.mktemp("blend") / "shot.blend"
            code = _SAVE.replace("COMPRESS", str(compress))
            # In a process of its own: bpy may be loaded in none that tests anything else.
            subprocess.run(
                [sys.executable, "-c", code, str(file)],
                check=True,
                timeout=300,
                capture_output=True,
            )
            made[compress] = file
        return made[compress]

    return save
