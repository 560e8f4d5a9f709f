"""Puts the coordinator together: store, farm, interface, announcement. Wiring only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from .. import __version__
from ..wire.credentials import Credentials, JoinToken, remove_local, write_local
from ..wire.threads import in_thread, opened_in_thread
from .announce import Announcement
from .api import (
    attempts,
    blobs,
    downloads,
    drafts,
    events,
    farm,
    films,
    frames,
    guard,
    jobs,
    keys,
    logs,
    node_history,
    node_link,
    nodes,
    page,
    sign_in,
)
from .api.problems import answer_problems
from .api.tokens import routes as token_routes
from .clock import Clock
from .conductor import Conductor
from .connections import NodeConnections
from .drafts import DraftDesk
from .farm.config import FarmConfig
from .farm.farm import Farm
from .identity import joining, tokens
from .identity.certificate import Certificate, load_or_make_certificate
from .identity.joining import JoinDesk
from .identity.roles import Role
from .identity.secrets import load_or_make
from .identity.tokens import TokenBook
from .inventory import Inventory
from .load_book import LoadBook
from .logbook import LogBook
from .open_files import raise_open_files
from .results import ResultChecks
from .store.collection import Collector
from .store.store import Store

_log = logging.getLogger(__name__)

DEFAULT_PORT = 7878
EVERYWHERE = "0.0.0.0"  # noqa: S104 - with TLS and tokens; --host narrows it
STOP_SECONDS = 5.0
"""What requests in progress get to end when the coordinator stops."""

INTERFACE_VARIABLE = "RENDERMILL_INTERFACE"


class CannotServe(Exception):
    """The coordinator cannot listen where it was told to; the message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a coordinator is started with."""

    data: Path
    host: str = EVERYWHERE
    port: int = DEFAULT_PORT
    """0: any free one."""
    name: str = ""
    """Name of the farm; '' keeps the one it has, at first the machine's."""
    interface: str = ""
    """The one address to announce on; '' all, or 127.0.0.1 for a coordinator on loopback."""
    announces: bool = True
    writes_local: bool = True
    """Whether everything of this user on this machine is let in by ``local.json``."""
    config: FarmConfig = field(default_factory=FarmConfig)


class RunningCoordinator:
    """A coordinator that serves, until `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the sentence for people, when the disk or the farm failed for good."""
        self._stack = contextlib.AsyncExitStack()

    @property
    def farm_name(self) -> str:
        """Name of the farm."""
        return self._identity.name

    @property
    def url(self) -> str:
        """Address for this machine."""
        return self._credentials.url

    @property
    def token(self) -> str:
        """Admin token of this machine."""
        return self._credentials.token

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, '' on plain http."""
        return self._credentials.fingerprint

    @property
    def credentials(self) -> Credentials:
        """What `wire` needs to talk to this coordinator."""
        return self._credentials

    @property
    def network_url(self) -> str:
        """Address for other machines; that of this one where it listens on loopback only."""
        if not self._identity.is_tls or self.options.host != EVERYWHERE:
            return self.url
        return f"https://{socket.gethostname()}:{self.port}"

    def fail(self, sentence: str) -> None:
        """Note that nothing more can be accepted. May be called from any thread, more than once."""

        def note() -> None:
            if not self.failed.done():
                self.failed.set_result(sentence)

        with contextlib.suppress(RuntimeError):  # The loop is closed: there is nobody to tell.
            self._loop.call_soon_threadsafe(note)

    async def start(self) -> None:
        """Begin to serve. Raises `CannotServe`, `store.StoreError`, OSError."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        options, stack = self.options, self._stack
        too_few = raise_open_files()
        if too_few:
            _log.warning(too_few)
        # First of all: a port that is taken must be said before anything is made or locked.
        listener = _listen(options.host, options.port)
        stack.callback(listener.close)
        self.port = listener.getsockname()[1]
        self.store = Store(options.data, self.fail)
        await stack.enter_async_context(opened_in_thread(self._open_store))

        certificate = await self._identify()
        self.tokens = TokenBook(self.store.writer)
        await self.store.read(self.tokens.load)
        folder = self.store.identity_folder
        local_token = await in_thread(load_or_make, folder / "local-token", tokens.TOKEN_BYTES)
        await self.tokens.admit(local_token, tokens.LOCAL_NAME, Role.ADMIN)
        secret = await in_thread(load_or_make, folder / "join-secret", joining.SECRET_BYTES)
        self.join_token = JoinToken(certificate.fingerprint if certificate else "", secret)
        self._credentials = Credentials(
            _own_url(options.host, self.port, certificate is not None),
            local_token,
            certificate.fingerprint if certificate else "",
            self._identity.name,
            self._identity.id,
        )
        await self._serve(listener, JoinDesk(secret, self.tokens, self._loop.time), certificate)
        if options.writes_local:
            stack.push_async_callback(in_thread, remove_local, self._credentials)
            await in_thread(write_local, self._credentials)
        if options.announces:
            announcement = Announcement(
                farm=self._identity.name,
                farm_id=self._identity.id,
                fingerprint=self.fingerprint,
                port=self.port,
                address=_interface(options),
            )
            await announcement.start()
            stack.push_async_callback(announcement.stop)

    def _open_store(self) -> Store:
        self.store.open()
        return self.store

    async def _identify(self) -> Certificate | None:
        options = self.options
        default = options.name or socket.gethostname().split(".")[0] or "Rendermill"
        name = await self.store.setting("farm_name", default)
        if options.name and options.name != name:
            name = await self.store.change_setting("farm_name", options.name)
        certificate = None
        if not is_loopback(options.host):
            certificate = await in_thread(load_or_make_certificate, self.store.identity_folder)
        self._identity = keys.FarmIdentity(
            name=name,
            id=await self.store.farm_id(),
            software=f"rendermill {__version__}",
            is_tls=certificate is not None,
            hosts=_own_names(options.host),
        )
        return certificate

    async def _serve(
        self, listener: socket.socket, desk: JoinDesk, certificate: Certificate | None
    ) -> None:
        config = replace(self.options.config, farm=self._identity.name)
        self.connections = NodeConnections()
        self.conductor = Conductor(Farm(config), self.store, self.connections, Clock(), self.fail)
        await self.conductor.start()
        self._stack.push_async_callback(self.conductor.stop)
        book = LoadBook(self.conductor.load, self.store, self.conductor.clock)
        await book.start()
        self._stack.push_async_callback(book.stop)
        self.collector = Collector(self.store)
        self.app = build_app(
            self._identity, self.store, self.conductor, self.tokens, desk, self.collector
        )
        # Bodies are decoded by the handlers that allow it, under limits of their own.
        runner = web.AppRunner(
            self.app, auto_decompress=False, access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        context: ssl.SSLContext | None = certificate.server_context() if certificate else None
        await web.SockSite(runner, listener, ssl_context=context).start()

    async def stop(self) -> None:
        """Stop serving; everything that was acknowledged is on the disk. May be called twice."""
        await self._stack.aclose()


async def start_coordinator(
    data: Path, host: str = "127.0.0.1", port: int = 0, **options: object
) -> RunningCoordinator:
    """Start a coordinator in this event loop and return it once it serves."""
    running = RunningCoordinator(Options(data=data, host=host, port=port, **options))  # pyright: ignore[reportArgumentType]
    await running.start()
    return running


def build_app(
    identity: keys.FarmIdentity,
    store: Store,
    conductor: Conductor,
    token_book: TokenBook,
    desk: JoinDesk,
    collector: Collector,
) -> web.Application:
    """Return the web application over parts that are running."""
    app = web.Application(middlewares=[answer_problems, guard.guard])
    log_book = LogBook(
        store.logs,
        store.in_thread,
        lambda block: conductor.feed.tell_log(
            block.lines, block.node, block.job, frame=block.frame, number=block.number
        ),
    )
    app[keys.IDENTITY] = identity
    app[keys.STORE] = store
    app[keys.CONDUCTOR] = conductor
    app[keys.TOKENS] = token_book
    app[keys.JOIN_DESK] = desk
    app[keys.COLLECTOR] = collector
    app[keys.LOG_BOOK] = log_book
    app[keys.DRAFTS] = DraftDesk(store, conductor)
    app[keys.RESULT_CHECKS] = ResultChecks(store)
    app.on_shutdown.append(_close_drafts)
    app.on_cleanup.append(_close_result_checks)
    app[events.FOLLOWERS] = set()
    app[jobs.SUBMITTING] = set()
    for theme in (
        farm, sign_in, blobs, jobs, frames, films, attempts, downloads, nodes,
        node_history, drafts, logs, events, node_link, page,
    ):  # fmt: skip
        app.add_routes(theme.routes())
    app.add_routes(token_routes())
    app.on_response_prepare.append(guard.add_headers)
    app.on_shutdown.append(events.end_followers)
    app.on_shutdown.append(_close_nodes)
    app.cleanup_ctx.append(_in_background(collector.run))
    app.cleanup_ctx.append(_in_background(Inventory(store, conductor).run))
    app.cleanup_ctx.append(_in_background(log_book.run))
    return app


async def _close_drafts(app: web.Application) -> None:
    await app[keys.DRAFTS].close()


async def _close_result_checks(app: web.Application) -> None:
    await app[keys.RESULT_CHECKS].close()


async def _close_nodes(app: web.Application) -> None:
    app[keys.CONDUCTOR].connections.close_all("the coordinator stops")


def _in_background(
    work: Callable[[], Awaitable[None]],
) -> Callable[[web.Application], AsyncGenerator[None]]:
    async def context(_app: web.Application) -> AsyncGenerator[None]:
        task = asyncio.ensure_future(work())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return context


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
    except (OSError, OverflowError) as error:
        raise CannotServe(
            f"This machine has no address {host}; name another with --host."
        ) from error
    try:
        if os.name == "posix":
            # A port whose last connections linger is free; on Windows the option means another.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", None)):
            raise CannotServe(
                f"Port {port} is in use by another program; stop it, or choose another with --port."
            ) from error
        raise CannotServe(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error
    listener.setblocking(False)
    return listener


def _own_url(host: str, port: int, is_tls: bool) -> str:
    name = "127.0.0.1" if host in (EVERYWHERE, "::", "localhost") else host
    return f"{'https' if is_tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"


def _own_names(host: str) -> frozenset[str]:
    machine = socket.gethostname().lower()
    short = machine.split(".")[0]
    names = {"localhost", machine, short, f"{short}.local", host.lower()}
    return frozenset(name for name in names if name)


def _interface(options: Options) -> str | None:
    named = options.interface or os.environ.get(INTERFACE_VARIABLE, "")
    if is_loopback(options.host):
        return "127.0.0.1"
    if named:
        return named
    return None if options.host in (EVERYWHERE, "::") else options.host
