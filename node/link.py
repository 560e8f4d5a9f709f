"""The line to the coordinator: one WebSocket, kept up for ever.

The node goes on rendering while the line is cut. What it must not lose is not here but in the
outbox; the line keeps only failures and scripts until they can be sent, and drops what nobody
wants to hear late (progress, log lines).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from ..protocol.codec import CodecError, decode_coordinator_message, encode_message
from ..protocol.messages import (
    CoordinatorMessage,
    FrameFailed,
    FrameProgress,
    FrameRef,
    Goodbye,
    Heartbeat,
    Hello,
    JobScript,
    LogLines,
    NodeMessage,
    ScenePreparing,
    Welcome,
)
from ..wire.connection import FarmConnection
from ..wire.credentials import Credentials, CredentialsError
from ..wire.errors import FarmError, NoCoordinator, NotAllowed, ProtocolMismatch, Unreachable
from .notices import Notice, NoticeKind, Notify

T = TypeVar("T")

PATH = "/api/v1/node"
WELCOME_SECONDS = 15.0
"""Longest wait for the answer to `Hello`."""
PING_SECONDS = 10.0
"""A line that carries nothing for so long is asked for a sign of life; half as much later again
it counts as cut. Finds the peer whose cable was pulled and that never said so."""
RETRY_FIRST_SECONDS = 0.2
RETRY_MAX_SECONDS = 15.0
QUEUE_MAX = 1_000
"""Messages waiting to be sent. Beyond, those that may be lost are; see `_MAY_BE_LOST`."""
KEPT_MAX = 2_000
"""Failures and scripts kept while the line is cut; the oldest go first."""

_MAY_BE_LOST = (FrameProgress, ScenePreparing, LogLines, Heartbeat)
_KEPT = (FrameFailed, JobScript)
"""Sent after the next `Welcome` if they could not be sent before."""

Resolve = Callable[[str | None], Awaitable[Credentials]]
"""Finds the coordinator; takes the address it had last. As `wire.discovery.resolve`."""


class LinkRefused(Exception):
    """The farm will not have this node as it is; ``cause`` is the error of the wire."""

    def __init__(self, error: FarmError | CredentialsError) -> None:
        super().__init__(str(error))
        self.error = error


class Link:
    """The node's line to its farm. `run` keeps it up; `send` never waits.

    ``prepare`` is awaited once, when the farm is known and before the first ``hello``; ``hello``
    is asked for the first message of every connection; ``on_welcome`` and ``on_message`` are
    called in the event loop and must not block.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        prepare: Callable[[Credentials], Awaitable[None]],
        hello: Callable[[], Hello],
        beat: Callable[[], Heartbeat],
        on_welcome: Callable[[Welcome], None],
        on_message: Callable[[CoordinatorMessage], None],
        notify: Notify,
        ping_seconds: float = PING_SECONDS,
        retry_first_seconds: float = RETRY_FIRST_SECONDS,
    ) -> None:
        self._resolve = resolve
        self._prepare = prepare
        self._hello = hello
        self._beat = beat
        self._on_welcome = on_welcome
        self._on_message = on_message
        self._notify = notify
        self._ping_seconds = ping_seconds
        self._retry_first_seconds = retry_first_seconds
        self._farm: FarmConnection | None = None
        self._credentials: Credentials | None = None
        self._connected = asyncio.Event()
        self._asking: set[asyncio.Future[Any]] = set()
        self._heartbeat_seconds = 5.0
        self._queue: deque[NodeMessage] = deque()
        self._queued = asyncio.Event()
        self._sent = asyncio.Event()
        self._said = ""

    @property
    def connected(self) -> bool:
        """Whether the farm has welcomed this node on the present line."""
        return self._connected.is_set()

    @property
    def credentials(self) -> Credentials | None:
        """The farm this node belongs to; it stays with it until it ends."""
        return self._credentials

    async def wait_connected(self) -> None:
        """Return when the farm has welcomed this node."""
        await self._connected.wait()

    async def ask(self, what: Callable[[FarmConnection], Awaitable[T]]) -> T:
        """Wait until the node is connected, then return what ``what`` does with the connection.

        Raises what it raises, and `Unreachable` when the line is cut meanwhile: requests on a
        network that went away would only hang until they time out.
        """
        while self._farm is None or not self.connected:
            await self._connected.wait()
        task = asyncio.ensure_future(what(self._farm))
        self._asking.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._asking.discard(task)
            task.cancel()
            if not task.done():
                await asyncio.wait([task])
        if task.cancelled():
            raise Unreachable("The line to the coordinator was cut.")
        return task.result()

    def send(self, message: NodeMessage) -> None:
        """Send a message as soon as the line takes it; see `_MAY_BE_LOST` and `_KEPT`."""
        if not self.connected and not isinstance(message, _KEPT):
            return
        if len(self._queue) >= QUEUE_MAX and isinstance(message, _MAY_BE_LOST):
            return
        self._queue.append(message)
        while len(self._queue) > KEPT_MAX:
            self._queue.popleft()
        self._queued.set()

    def unsent_failures(self) -> tuple[FrameRef, ...]:
        """Frames whose failure the farm has not heard of; they count as held until then."""
        return tuple(message.frame for message in self._queue if isinstance(message, FrameFailed))

    async def goodbye(self, reason: str, seconds: float) -> None:
        """Send what is queued and say goodbye, if that is possible within ``seconds``."""
        if not self.connected:
            return
        self.send(Goodbye(reason=reason))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._queue and self.connected:
                    self._sent.clear()
                    await self._sent.wait()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled.

        Raises `LinkRefused` when the farm refuses this node before it was ever welcomed: a wrong
        token or another protocol will not mend by trying. Later nothing is raised: a coordinator
        may be down for an update, or come back with its old data.
        """
        delay = self._retry_first_seconds
        welcomed_once = False
        while True:
            welcomed = False
            try:
                # A new one for every line: what is left open from before the cut may be dead.
                async with FarmConnection(await self._find()) as farm, self._line(farm) as socket:
                    welcomed = welcomed_once = True
                    delay = self._retry_first_seconds
                    await self._serve(socket)
            except (NotAllowed, ProtocolMismatch, CredentialsError) as error:
                if not welcomed_once:
                    raise LinkRefused(error) from error
                self._say(welcomed, error)
            except FarmError as error:
                self._say(welcomed, error)
            # Jitter: a hundred nodes that lost one coordinator must not all return at once.
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 not a secret
            delay = min(RETRY_MAX_SECONDS, delay * 2)

    async def _find(self) -> Credentials:
        """Find the coordinator: the one of this node's farm, once that is known."""
        known = self._credentials
        if known is None:
            found = await self._resolve(None)
            await self._prepare(found)
        else:
            try:
                found = await self._resolve(known.url)
            except (Unreachable, NotAllowed):
                # It may have moved, or have given this machine a new token.
                found = await self._resolve(None)
            if found.farm_id != known.farm_id:
                raise NoCoordinator(
                    f"The farm {known.farm!r} does not answer; waiting for it "
                    f"(another one, {found.farm!r}, does)."
                )
        self._credentials = found
        return found

    @contextlib.asynccontextmanager
    async def _line(self, farm: FarmConnection) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        async with farm.websocket(PATH, heartbeat_seconds=self._ping_seconds) as socket:
            await socket.send_bytes(encode_message(self._hello()))
            welcome = await _receive(socket, WELCOME_SECONDS)
            if not isinstance(welcome, Welcome):
                raise Unreachable("The coordinator did not answer this node's greeting.")
            self._farm = farm
            self._heartbeat_seconds = welcome.heartbeat_seconds
            self._said = ""
            self._connected.set()
            self._notify(
                Notice(
                    NoticeKind.CONNECTED,
                    f"Connected to the farm {welcome.farm!r}.",
                    {"farm": welcome.farm, "url": farm.credentials.url},
                )
            )
            try:
                self._on_welcome(welcome)
                yield socket
            finally:
                self._connected.clear()
                for task in self._asking:
                    task.cancel()
                if self._asking:
                    await asyncio.wait(self._asking)
                self._farm = None
                # Told too late, these would be wrong: `Hello` tells what is held instead.
                kept = [message for message in self._queue if isinstance(message, _KEPT)]
                self._queue.clear()
                self._queue.extend(kept)

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        tasks = [
            asyncio.create_task(self._read(socket), name="link reads"),
            asyncio.create_task(self._write(socket), name="link writes"),
            asyncio.create_task(self._beat_regularly(), name="link beats"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._on_message(await _receive(socket, None))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            while self._queue:
                message = self._queue[0]
                try:
                    data = encode_message(message)
                except CodecError as error:
                    self._queue.popleft()
                    self._notify(Notice(NoticeKind.PROBLEM, f"Not sent: {error}"))
                    continue
                try:
                    await socket.send_bytes(data)
                except (ConnectionError, RuntimeError) as error:
                    raise Unreachable("The line to the coordinator broke.") from error
                # Only now: what could not be sent must still be in the queue.
                if self._queue and self._queue[0] is message:
                    self._queue.popleft()
                self._sent.set()
            self._queued.clear()
            await self._queued.wait()

    async def _beat_regularly(self) -> None:
        while True:
            self.send(self._beat())
            await asyncio.sleep(self._heartbeat_seconds)

    def _say(self, was_connected: bool, error: Exception) -> None:
        """Tell once that there is no line, and again only when the reason becomes another."""
        # Not found, not answering, cut: to a person all the same while it lasts.
        ordinary = isinstance(error, Unreachable | NoCoordinator)
        reason = "down" if ordinary else str(error)
        if was_connected:
            what = "What is begun goes on; results are kept until the farm is back."
            self._notify(Notice(NoticeKind.DISCONNECTED, f"{error} {what}"))
        elif reason != self._said:
            self._notify(Notice(NoticeKind.SEARCHING, f"{error} Trying until it works."))
        self._said = reason


async def _receive(
    socket: aiohttp.ClientWebSocketResponse, seconds: float | None
) -> CoordinatorMessage:
    try:
        message = await socket.receive(seconds)
    except TimeoutError as error:
        raise Unreachable("The coordinator is silent.") from error
    if message.type is aiohttp.WSMsgType.BINARY:
        try:
            return decode_coordinator_message(message.data)
        except CodecError as error:
            raise Unreachable(f"The coordinator sent what cannot be read: {error}") from error
    reason = message.extra if isinstance(message.extra, str) else ""
    raise Unreachable(f"The coordinator ended the connection{': ' + reason if reason else ''}.")
