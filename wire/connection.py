"""The connection of a member to its coordinator: typed requests, streams, events, WebSocket.

    async with FarmConnection(await resolve()) as farm:
        page = await farm.get("/api/v1/jobs", JobPage, params={"state": "rendering"})

The certificate is pinned by fingerprint; no certificate authority has a say. Before the first
request ``GET /health`` is asked once, so that another protocol version or another farm at the old
address is told as such and not as a puzzling failure later. Connection faults are retried, with
backoff and jitter, for as long as ``patience_seconds`` allows and where a repeat is harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar, overload

import aiohttp
from yarl import URL

from ..protocol import PROTOCOL_VERSION
from ..protocol.codec import CodecError, encode_json, from_plain
from ..protocol.messages import MESSAGE_MAX_BYTES
from ..protocol.views import Event, FarmView, Health, Problem
from .credentials import Credentials
from .errors import (
    Damaged,
    FarmError,
    NotAllowed,
    NotFound,
    ProtocolMismatch,
    Refused,
    ShutOut,
    Unreachable,
)
from .events import EventParser

T = TypeVar("T")
Piece = bytes | memoryview
Body = bytes | Callable[[], AsyncIterator[Piece]]
"""Bytes, or a function that gives the pieces anew for every attempt."""

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Longest silence within an answer: a big blob takes its time to reach a slow disk."""
EVENT_SILENCE_SECONDS = 45.0
"""The event stream carries a comment every 15 s; three missing ones mean the line is dead."""
PATIENCE_SECONDS = 10.0
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""Longest JSON answer: a page of frames is far below."""

_FAULTS = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError, OSError)


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt ``attempt`` (from 1): exponential, with full jitter.

    Jitter spreads a hundred nodes that lost the same coordinator in the same moment.
    """
    ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(attempt, 16))
    return random.uniform(ceiling / 4, ceiling)  # noqa: S311 not a secret


class FarmConnection:
    """One member's connection; an async context manager. Not for use from several loops.

    Every method raises `FarmError` or one of its kinds and nothing else; a request may be
    cancelled at any time.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        any_certificate: bool = False,
    ) -> None:
        """``patience_seconds``: how long connection faults are retried; 0: one attempt.

        ``any_certificate`` is for asking who is there, and refused together with a token.
        """
        if any_certificate and credentials.token:
            raise ValueError("a token is sent to a pinned certificate only")
        self.credentials = credentials
        self._any_certificate = any_certificate
        self.patience_seconds = patience_seconds
        self._url = credentials.url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._health: Health | None = None
        self._health_lock = asyncio.Lock()

    @property
    def is_loopback(self) -> bool:
        """Whether the coordinator is on this machine, so that sending costs next to nothing."""
        host = URL(self._url).host or ""
        return host.startswith("127.") or host in ("localhost", "::1")

    async def __aenter__(self) -> FarmConnection:
        """Open the session; nothing is sent yet."""
        ssl: aiohttp.Fingerprint | bool = not self._any_certificate
        if self.credentials.fingerprint:
            ssl = aiohttp.Fingerprint(bytes.fromhex(self.credentials.fingerprint))
        # Blobs are compressed one by one where that pays; a second layer would only cost time.
        headers = {"User-Agent": "rendermill", "Accept-Encoding": "identity"}
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl, limit=32),
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            ),
            # A proxy from the environment has no business between members of one network.
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- typed requests ----------------------------------------------------------------------

    async def health(self) -> Health:
        """Return what the coordinator says of itself; asked once per connection.

        Raises `ProtocolMismatch`; raises `NotAllowed` when another farm answers at this address.
        """
        async with self._health_lock:
            health = self._health
            if health is None:
                health = await self._call("GET", "/health", Health, retry=True, checked=False)
                if health.protocol != PROTOCOL_VERSION:
                    older = "coordinator" if health.protocol < PROTOCOL_VERSION else "machine"
                    raise ProtocolMismatch(
                        f"The coordinator at {self._url} runs Rendermill {health.software} "
                        f"(protocol {health.protocol}), this machine speaks protocol "
                        f"{PROTOCOL_VERSION}; update Rendermill on the {older}."
                    )
                wanted = self.credentials.farm_id
                if wanted and health.farm_id != wanted:
                    raise NotAllowed(
                        f"At {self._url} there is now another farm ({health.farm!r}) than the one "
                        f"joined ({self.credentials.farm!r}); join it first."
                    )
                self._health = health
        return health

    @overload
    async def get(
        self, path: str, answer: type[T], *, params: Mapping[str, Any] | None = None
    ) -> T: ...
    @overload
    async def get(
        self, path: str, answer: None, *, params: Mapping[str, Any] | None = None
    ) -> None: ...
    async def get(self, path: str, answer: Any, *, params: Mapping[str, Any] | None = None) -> Any:
        """GET ``path`` and return the view of type ``answer``; ``params`` of None are left out."""
        return await self._call("GET", path, answer, params=params, retry=True)

    @overload
    async def post(
        self, path: str, answer: type[T], *, body: Any = None, key: str = "", retry: bool = False
    ) -> T: ...
    @overload
    async def post(
        self, path: str, answer: None, *, body: Any = None, key: str = "", retry: bool = False
    ) -> None: ...
    async def post(
        self, path: str, answer: Any, *, body: Any = None, key: str = "", retry: bool = False
    ) -> Any:
        """POST a view (or plain JSON data) and return the view of type ``answer``; None: no answer.

        ``key`` is sent as Idempotency-Key and makes a repeat harmless, as ``retry=True`` claims
        for calls that are so by nature.
        """
        return await self._call(
            "POST",
            path,
            answer,
            body=b"" if body is None else encode_json(body),
            headers={"Idempotency-Key": key} if key else None,
            retry=retry or bool(key),
        )

    async def patch(self, path: str, answer: type[T], *, body: Any) -> T:
        """PATCH ``path``; a repeat sets the same values, so it is retried."""
        return await self._call("PATCH", path, answer, body=encode_json(body), retry=True)

    async def delete(self, path: str) -> None:
        """DELETE ``path``."""
        await self._call("DELETE", path, None, retry=True)

    async def text(self, path: str) -> str:
        """GET ``path`` as text."""
        return (await self._bytes("GET", path, retry=True)).decode("utf-8", "replace")

    # --- streams -----------------------------------------------------------------------------

    async def send(
        self, method: str, path: str, body: Body, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a body of bytes that may be repeated; returns status (2xx) and answer."""
        status = 0

        def note(response: aiohttp.ClientResponse) -> None:
            nonlocal status
            status = response.status

        answer = await self._bytes(
            method, path, body=body, headers=headers, retry=True, note=note, json_body=False
        )
        return status, answer

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        silence_seconds: float = READ_SECONDS,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Open an answer to be read piece by piece (``response.content``). One attempt.

        The caller resumes: what a repeat means depends on what was read. Connection faults inside
        the block become `Unreachable`.
        """
        await self.health()
        try:
            async with self._open(
                method,
                path,
                body=body,
                headers=headers,
                params=params,
                silence_seconds=silence_seconds,
            ) as response:
                yield response
        except _FAULTS as error:
            raise self._fault(error) from error

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, heartbeat_seconds: float = 20.0
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket. One attempt; faults inside the block become `Unreachable`.

        A line that was silent for ``heartbeat_seconds`` is asked for a sign of life, and counts as
        cut when none comes within half that time.
        """
        await self.health()
        try:
            async with self._opened().ws_connect(
                self._url + path,
                max_msg_size=MESSAGE_MAX_BYTES + 1024,
                # Both sides send messages every few seconds; the ping finds a line that is cut.
                heartbeat=heartbeat_seconds,
                compress=0,
            ) as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as error:
            raise self._refusal(
                error.status, b"", f"The coordinator refused the connection ({error.status})."
            ) from error
        except _FAULTS as error:
            raise self._fault(error) from error

    async def events(
        self,
        *,
        job: str | None = None,
        after: int | None = None,
        on_connection: Callable[[bool], None] | None = None,
    ) -> AsyncGenerator[Event]:
        """Follow what changes: of one job, or of the whole farm. Never ends by itself.

        ``after``: sequence number of the last event known; None: from now on. A lost connection is
        taken up again where it broke, for ever; ``on_connection`` hears False and True. An event
        of kind ``reset`` says that events were lost and that views must be fetched anew. Raises
        `NotAllowed`, `Refused`, `ProtocolMismatch`; a job that does not exist has no events.
        """
        if after is None:
            # A place to resume from, so that nothing is lost even before the first event.
            after = (await self.get("/api/v1/farm", FarmView)).sequence
        failures = 0
        connected = True
        while True:
            parser = EventParser()
            try:
                async with self.stream(
                    "GET",
                    "/api/v1/events",
                    headers={"Accept": "text/event-stream", "Last-Event-ID": str(after)},
                    params={"job": job, "after": after},
                    silence_seconds=EVENT_SILENCE_SECONDS,
                ) as response:
                    failures = 0
                    if not connected and on_connection is not None:
                        on_connection(True)
                    connected = True
                    async for piece in response.content.iter_any():
                        for event in parser.feed(piece):
                            after = event.sequence
                            yield event
                        if parser.last_id is not None:
                            after = parser.last_id
            except Unreachable:
                failures += 1
            except Refused as error:
                # 5xx: it is in trouble or on its way down. Anything else will not change by asking.
                if error.problem.status < 500:
                    raise
                failures += 1
            if connected and on_connection is not None:
                on_connection(False)
            connected = False
            # The coordinator may be back as another version: look again before going on.
            self._health = None
            await asyncio.sleep(backoff(max(failures, 1)))

    # --- inside ------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        answer: Any,
        *,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool,
        checked: bool = True,
    ) -> Any:
        data = await self._bytes(
            method, path, params=params, body=body, headers=headers, retry=retry, checked=checked
        )
        if answer is None:
            return None
        try:
            # Unlike bodies that people write, answers may carry fields of a newer version.
            return from_plain(json.loads(data), answer)
        except (CodecError, ValueError, RecursionError) as error:
            raise Damaged(
                f"The coordinator at {self._url} gave an answer to {method} {path} that cannot be "
                f"read: {error}"
            ) from error

    async def _bytes(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool,
        checked: bool = True,
        note: Callable[[aiohttp.ClientResponse], None] | None = None,
        json_body: bool = True,
    ) -> bytes:
        """One request with its whole answer, repeated after connection faults where ``retry``."""
        if checked:
            await self.health()
        headers = dict(headers or {})
        if body and json_body:
            headers["Content-Type"] = "application/json"
        give_up = time.monotonic() + self.patience_seconds
        broken: list[Exception] = []
        watched = _watch(body, broken) if callable(body) else body
        attempt = 0
        while True:
            attempt += 1
            wait = backoff(attempt)
            try:
                async with self._open(
                    method, path, body=watched, headers=headers, params=params
                ) as response:
                    data = await _read(response)
                    if note is not None:
                        note(response)
                    return data
            except _FAULTS as error:
                if broken:
                    raise broken[0] from None
                fault: FarmError = self._fault(error)
                if isinstance(fault, NotAllowed):
                    raise fault from error
                cause: BaseException = error
            except Refused as error:
                # 503 is a coordinator that starts, stops or is full for a moment.
                if error.problem.status != 503:
                    raise
                fault, cause = error, error
            if not retry or time.monotonic() + wait > give_up:
                raise fault from cause
            await asyncio.sleep(wait)

    @contextlib.asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        body: Body | None,
        headers: Mapping[str, str] | None,
        params: Mapping[str, Any] | None,
        silence_seconds: float = READ_SECONDS,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        query = {name: str(value) for name, value in (params or {}).items() if value is not None}
        async with self._opened().request(
            method,
            self._url + path,
            params=query,
            data=body() if callable(body) else body,
            headers=headers,
            # A redirect would carry the token to wherever it points.
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds
            ),
        ) as response:
            if not 200 <= response.status < 300:
                raise self._refusal(
                    response.status,
                    await _read(response),
                    f"The coordinator at {self._url} answered {method} {path} with "
                    f"{response.status} {response.reason}.",
                )
            yield response

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("FarmConnection is used outside its `async with` block")
        return self._session

    def _fault(self, error: BaseException) -> FarmError:
        if isinstance(error, aiohttp.ServerFingerprintMismatch):
            return NotAllowed(
                f"The certificate of {self._url} is not the one of the farm that was joined; if "
                "the coordinator was set up anew, join it again, otherwise someone else answers."
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return NotAllowed(
                f"The certificate of {self._url} cannot be trusted; join the farm with the token "
                "that its coordinator prints, which pins the certificate."
            )
        what = "does not answer" if isinstance(error, asyncio.TimeoutError) else "cannot be reached"
        return Unreachable(
            f"The coordinator at {self._url} {what}; is it running, and is this machine on its "
            "network?",
            str(error) or type(error).__name__,
        )

    def _refusal(self, status: int, body: bytes, otherwise: str) -> FarmError:
        try:
            problem = from_plain(json.loads(body), Problem)
        except (CodecError, ValueError, RecursionError):
            problem = Problem(title="Refused", status=status, detail=otherwise)
        if status in (401, 403):
            told = problem.detail if body else ""
            kind = ShutOut if status == 401 and self.credentials.token else NotAllowed
            return kind(
                told
                or "This machine's token is not valid here; join the farm again with the token its "
                "coordinator prints."
            )
        return NotFound(problem) if status == 404 else Refused(problem)


def _watch(
    body: Callable[[], AsyncIterator[Piece]], broken: list[Exception]
) -> Callable[[], AsyncIterator[Piece]]:
    """Return ``body`` such that an error of its own is known from one of the connection.

    aiohttp reports both as a connection that failed, and only the latter is worth a retry.
    """

    async def pieces() -> AsyncIterator[Piece]:
        try:
            async for piece in body():
                yield piece
        except Exception as error:
            broken.append(error)
            raise

    return pieces


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    length = 0
    async for piece in response.content.iter_any():
        length += len(piece)
        if length > ANSWER_MAX_BYTES:
            raise Damaged(f"The coordinator's answer is longer than {ANSWER_MAX_BYTES} bytes.")
        pieces.append(piece)
    return b"".join(pieces)
