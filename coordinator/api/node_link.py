"""The WebSocket of a node: messages of `protocol.messages` both ways, each in its own time.

Reading and sending are two tasks. What a node says is handled in the order in which it says it,
and only as fast as the farm takes it; what it shall hear waits in a bounded queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import WSMsgType, web
from sqlalchemy import Connection, literal
from sqlalchemy.dialects.sqlite import insert

from ...protocol import PROTOCOL_VERSION
from ...protocol.codec import CodecError, decode_node_message, encode_message
from ...protocol.messages import (
    MESSAGE_MAX_BYTES,
    FailureKind,
    FrameDone,
    FrameFailed,
    FrameRefused,
    Hello,
    Inspected,
    JobScript,
    LogLines,
    NodeMessage,
)
from ..connections import NodeConnection, NodeConnections
from ..farm.events import MessageReceived, NodeDisconnected, NodeJoined
from ..identity.roles import Role
from ..identity.tokens import NotItsNode
from ..store import DiskFull, schema
from . import guard, keys
from .node_bounds import OutOfBounds, Traffic, bounded

_log = logging.getLogger(__name__)

HELLO_SECONDS = 15.0
"""A connection that does not say who it is within this time is closed."""
SEND_SECONDS = 30.0
"""A node that does not take a message for so long is cut off."""
PING_SECONDS = 20.0
"""A line that is cut shows in this time even when nobody has anything to say."""
ID_MAX_CHARS = 64
NAME_MAX_CHARS = 200
SCRIPT_MAX_CHARS = 512 * 1024

CLOSE_PROTOCOL = 4001
"""The node speaks another version of the protocol."""
CLOSE_BAD_MESSAGE = 4002
"""A message that cannot be read, or one that has no place there."""
CLOSE_CUT_OFF = 4003
"""The farm ended the connection; the node may come back."""
CLOSE_REVOKED = 4004
"""The node's token was revoked: this machine has to join the farm again."""
CLOSE_STOPPING = 1001
REASON_MAX_BYTES = 120
"""A close frame carries at most 123 bytes of reason (RFC 6455)."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/api/v1/node", talk, allow_head=False)]


class _Ended(Exception):
    """The conversation is over; says how to close."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@guard.serves(Role.NODE, Role.ADMIN)
async def talk(request: web.Request) -> web.StreamResponse:
    """Hold the conversation with one node, from `Hello` to the end of the connection."""
    socket = web.WebSocketResponse(
        max_msg_size=MESSAGE_MAX_BYTES, heartbeat=PING_SECONDS, compress=False
    )
    await socket.prepare(request)
    code, reason = CLOSE_STOPPING, ""
    traffic = Traffic(asyncio.get_running_loop().time)
    try:
        hello = await _hello(socket, traffic)
        await _let_speak(request, hello.node)
        await _Conversation(request, socket, hello, traffic).hold()
    except _Ended as ended:
        code, reason = ended.code, ended.reason
        _log.info("node connection ended: address=%s reason=%s", request.remote, reason)
    finally:
        message = reason.encode()[:REASON_MAX_BYTES].decode("utf-8", "ignore").encode()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await socket.close(code=code, message=message)
    return socket


async def _let_speak(request: web.Request, node: str) -> None:
    member = request[keys.MEMBER]
    try:
        await request.app[keys.TOKENS].speak_for(member, node)
    except NotItsNode as error:
        _log.warning("node refused: member=%s node=%s reason=%s", member.id, node, error)
        raise _Ended(CLOSE_BAD_MESSAGE, str(error)) from error


async def _hello(socket: web.WebSocketResponse, traffic: Traffic) -> Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await _receive(socket, traffic)
    except TimeoutError:
        raise _Ended(CLOSE_BAD_MESSAGE, "The node did not say who it is.") from None
    if not isinstance(message, Hello):
        raise _Ended(CLOSE_BAD_MESSAGE, "The first message of a node must be Hello.")
    if message.protocol != PROTOCOL_VERSION:
        older = "node" if message.protocol < PROTOCOL_VERSION else "coordinator"
        raise _Ended(
            CLOSE_PROTOCOL,
            f"Protocol {message.protocol} against {PROTOCOL_VERSION} here: update Rendermill on "
            f"the {older}.",
        )
    if (
        len(message.node) != 32
        or message.node.strip("0123456789abcdef")
        or not 0 < len(message.incarnation) <= ID_MAX_CHARS
        or not 0 < len(message.name) <= NAME_MAX_CHARS
    ):
        raise _Ended(CLOSE_BAD_MESSAGE, "The node's id, incarnation or name cannot be used.")
    return message


async def _receive(socket: web.WebSocketResponse, traffic: Traffic) -> NodeMessage | None:
    """Return the next message, None when the node has closed the connection."""
    frame = await socket.receive()
    if frame.type is WSMsgType.BINARY:
        try:
            traffic.count(len(frame.data))
            return bounded(decode_node_message(frame.data))
        except (CodecError, OutOfBounds) as error:
            raise _Ended(CLOSE_BAD_MESSAGE, str(error)) from error
    if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        return None
    raise _Ended(CLOSE_BAD_MESSAGE, "Messages are binary.")


class _Conversation:
    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        hello: Hello,
        traffic: Traffic,
    ) -> None:
        self._member = request[keys.MEMBER]
        self._tokens = request.app[keys.TOKENS]
        self._traffic = traffic
        self._conductor = request.app[keys.CONDUCTOR]
        self._store = request.app[keys.STORE]
        self._log_book = request.app[keys.LOG_BOOK]
        self._checks = request.app[keys.RESULT_CHECKS]
        self._socket = socket
        self._hello = hello
        self._end: asyncio.Future[_Ended] = asyncio.get_running_loop().create_future()
        self._connection = NodeConnection(hello.node, hello.incarnation, self._cut_off)
        self._connection.inspects = hello.inspects
        self._drafts = request.app[keys.DRAFTS]
        self._scripts: set[str] = set()

    def _cut_off(self, reason: str) -> None:
        self._end_with(CLOSE_CUT_OFF, reason)

    def _shut_out(self) -> None:
        self._end_with(
            CLOSE_REVOKED, "The token of this node was revoked; join the farm again to come back."
        )

    def _end_with(self, code: int, reason: str) -> None:
        if not self._end.done():
            self._end.set_result(_Ended(code, reason))

    async def hold(self) -> None:
        """Talk until one side ends it; raises `_Ended` when it was ours to end."""
        with self._tokens.watched(self._member.id, self._shut_out):
            if not self._tokens.knows(self._member.id):
                self._shut_out()  # Revoked while it said hello.
            await self._hold()

    async def _hold(self) -> None:
        connections: NodeConnections = self._conductor.connections
        connections.add(self._connection)
        tasks = [
            asyncio.create_task(self._listen(), name="node listener"),
            asyncio.create_task(self._speak(), name="node speaker"),
        ]
        try:
            await self._conductor.post(NodeJoined(hello=self._hello))
            await asyncio.wait([*tasks, self._end], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if connections.remove(self._connection):
                await self._conductor.post(
                    NodeDisconnected(node=self._hello.node, incarnation=self._hello.incarnation)
                )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(
                result, asyncio.CancelledError | ConnectionError
            ):
                raise result
        if self._end.done():
            raise self._end.result()

    async def _speak(self) -> None:
        while True:
            message = await self._connection.unsent.get()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_bytes(encode_message(message))
            except TimeoutError:
                raise _Ended(CLOSE_CUT_OFF, "the node does not take its messages") from None

    async def _listen(self) -> None:
        while True:
            message = await _receive(self._socket, self._traffic)
            if message is None:
                return
            match message:
                case Hello():
                    raise _Ended(CLOSE_BAD_MESSAGE, "A node says Hello once.")
                case FrameDone():
                    message = await self._checked(message)
                case LogLines(lines=lines, frame=frame):
                    await self._log_book.add(self._hello.node, lines, frame)
                case FrameFailed(frame=ref, kind=kind, reason=reason):
                    words = f"Frame {ref.frame} failed ({kind.value}): {reason}"
                    await self._log_book.add(self._hello.node, (words,), ref)
                case JobScript():
                    await self._keep_script(message)
                case Inspected():
                    self._drafts.answered(self._hello.node, message)
                    message = None
                case _:
                    pass
            if message is not None:
                await self._conductor.post(
                    MessageReceived(
                        node=self._hello.node, incarnation=self._hello.incarnation, message=message
                    )
                )

    async def _checked(self, done: FrameDone) -> FrameDone | FrameFailed | None:
        """Return what the farm shall hear of a finished frame; None where the node must repeat."""
        spec = self._conductor.farm.spec(done.frame.job)
        if spec is None:
            return done  # The farm says by itself that the job is gone.
        fault = await self._checks.check(spec, done)
        if fault is None:
            return done
        _log.warning(
            "result refused: node=%s job=%s frame=%d reason=%s",
            self._hello.node,
            done.frame.job,
            done.frame.frame,
            fault.reason,
        )
        self._conductor.connections.send(
            self._hello.node,
            self._hello.incarnation,
            FrameRefused(frame=done.frame, reason=fault.reason, retry=fault.is_missing),
        )
        if fault.is_missing:
            return None
        return FrameFailed(
            frame=done.frame,
            kind=FailureKind.OUTPUT,
            reason=fault.reason,
            log=done.log,
            seconds=done.stats.seconds,
        )

    async def _keep_script(self, message: JobScript) -> None:
        is_known = self._conductor.farm.spec(message.job) is not None
        if not is_known or message.job in self._scripts or len(message.script) > SCRIPT_MAX_CHARS:
            return
        self._scripts.add(message.job)

        def write(connection: Connection) -> None:
            # The first one is kept: all nodes make the same from the same spec. A job deleted in
            # the meantime takes its script with it.
            statement = insert(schema.scripts).from_select(
                ["job", "script"],
                schema.jobs.select()
                .with_only_columns(schema.jobs.c.id, literal(message.script))
                .where(schema.jobs.c.id == message.job),
            )
            connection.execute(statement.on_conflict_do_nothing())

        try:
            await self._store.writer.run(write)
        except DiskFull as error:
            # It is there to be read and nothing hangs on it, least of all the line to the node.
            _log.warning("script not kept: job=%s error=%s", message.job, error)
