"""Find the coordinator: given, on this machine, or announced on the network.

Zeroconf is only a hint. It says at which address a farm that was joined can be found today; what
lets a member in is the token it holds, and what it trusts is the certificate it pinned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace

from yarl import URL
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from ..protocol import views
from .connection import FarmConnection
from .credentials import Credentials, JoinToken, load_local, save_farm, saved_farms
from .errors import (
    FarmError,
    NoCoordinator,
    NotAllowed,
    NothingFound,
    NotJoined,
    ProtocolMismatch,
    Unreachable,
)

SERVICE_TYPE = "_rendermill._tcp.local."
INTERFACE_VARIABLE = "RENDERMILL_INTERFACE"
COORDINATOR_VARIABLE = "RENDERMILL_COORDINATOR"
DEFAULT_PORT = 7878
BROWSE_SECONDS = 3.0
"""A responder answers within a second on a healthy network; Wi-Fi loses the first question."""
JOIN_BROWSE_SECONDS = 10.0
"""The same for a person who joins, once: what is found ends the wait."""
PROBE_SECONDS = 10.0
"""A coordinator whose machine renders on all cores takes a moment."""
PROBE_HERE_SECONDS = 30.0
"""The same on this machine: that nobody listens is told at once here, so who is silent is busy."""


@dataclass(frozen=True, slots=True)
class Found:
    """A coordinator that announces itself. None of it is proven."""

    url: str
    farm: str
    farm_id: str
    fingerprint: str
    """'' when it serves plain http."""
    tls: bool
    protocol: int


async def browse(seconds: float = BROWSE_SECONDS) -> AsyncGenerator[Found]:
    """Give each coordinator as it is seen, for ``seconds``; leave the loop to stop earlier.

    A machine where multicast is not possible (no network, no permission) sees none.
    """
    queue: asyncio.Queue[str] = asyncio.Queue()

    def changed(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        del zeroconf, service_type
        if state_change is not ServiceStateChange.Removed:
            queue.put_nowait(name)

    interface = os.environ.get(INTERFACE_VARIABLE, "").strip()
    try:
        network = AsyncZeroconf(
            interfaces=[interface] if interface else InterfaceChoice.Default,
            ip_version=IPVersion.V4Only if interface else None,
        )
    except OSError:
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    browser = AsyncServiceBrowser(network.zeroconf, SERVICE_TYPE, handlers=[changed])
    try:
        while (left := deadline - loop.time()) > 0:
            try:
                # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
                async with asyncio.timeout(left):
                    name = await queue.get()
            except TimeoutError:
                return
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            left = max(0.1, deadline - loop.time())
            if await info.async_request(network.zeroconf, left * 1000):
                found = _read(info)
                if found is not None:
                    yield found
    finally:
        await browser.async_cancel()
        await network.async_close()


def _read(info: AsyncServiceInfo) -> Found | None:
    """Return what the announcement says; None for one that is not ours or makes no sense."""
    fields = {
        key.decode("utf-8", "replace"): (value or b"").decode("utf-8", "replace")
        for key, value in info.properties.items()
    }
    # IPv4 first: a link-local IPv6 address needs a scope that a URL cannot carry everywhere.
    addresses = info.parsed_addresses(IPVersion.V4Only) or info.parsed_addresses(IPVersion.V6Only)
    if not addresses or not info.port or not fields.get("id") or not fields.get("v", "").isdigit():
        return None
    tls = fields.get("tls") == "1"
    url = URL.build(scheme="https" if tls else "http", host=addresses[0], port=info.port)
    return Found(
        url=str(url).rstrip("/"),
        farm=fields.get("name", ""),
        farm_id=fields["id"],
        fingerprint=fields.get("fp", ""),
        tls=tls,
        protocol=int(fields["v"]),
    )


def normal_url(text: str) -> str:
    """Return a coordinator's address as a URL: ``host``, ``host:port`` and URLs are understood.

    Plain http is for this machine alone; any other host gets https. Raises `NoCoordinator`.
    """
    text = text.strip()
    try:
        url = URL(text if "://" in text else f"//{text}")
        host, port = url.host, url.explicit_port
    except ValueError:
        host, port, url = None, None, URL()
    if not host or url.scheme not in ("", "http", "https") or url.path not in ("", "/"):
        raise NoCoordinator(
            f"{text!r} is not the address of a coordinator; write it like studio-pc:{DEFAULT_PORT} "
            f"or https://192.168.1.5:{DEFAULT_PORT}."
        )
    scheme = url.scheme or ("http" if _is_loopback(host) else "https")
    # Spelled out, even the port that the scheme implies: addresses are compared as text.
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


async def resolve(url: str | None = None, *, browse_seconds: float = BROWSE_SECONDS) -> Credentials:
    """Return the way into the farm this machine should use, after its coordinator has answered.

    In this order: ``url``; the address in the environment variable ``RENDERMILL_COORDINATOR``;
    the coordinator of this user on this machine; a farm that was joined, at the address it had
    last or at the one where zeroconf sees it now (which is then remembered). Raises
    `NoCoordinator`, for a given address also `Unreachable`, `NotAllowed`, `ProtocolMismatch`.
    """
    given = url or os.environ.get(COORDINATOR_VARIABLE, "").strip()
    if given:
        return await _resolve_given(normal_url(given))
    tried: list[str] = []
    candidates: list[Credentials] = []
    local = load_local()
    if local is not None:
        candidates.append(local)
    joined = saved_farms()
    candidates.extend(joined)
    # All at once: a farm whose machine is off keeps silent until the time is up.
    probes = [asyncio.create_task(probe(credentials)) for credentials in candidates]
    try:
        for credentials, answer in zip(candidates, probes, strict=True):
            try:
                await answer
            except (Unreachable, NotAllowed) as error:
                tried.append(str(error))
            else:
                return credentials
    finally:
        for answer in probes:
            answer.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    moved = await _seen_elsewhere({farm.farm_id: farm for farm in joined}, browse_seconds)
    if moved is not None:
        save_farm(moved)
        return moved
    raise NothingFound(tuple(tried))


async def _resolve_given(url: str) -> Credentials:
    known = [farm for farm in (load_local(), *saved_farms()) if farm is not None]
    # By address first; a farm that moved is then recognised by its certificate and id.
    known.sort(key=lambda farm: farm.url != url)
    refusal: FarmError | None = None
    for farm in known:
        candidate = replace(farm, url=url)
        if url.startswith("https://") != bool(farm.fingerprint):
            continue
        try:
            await probe(candidate)
        except NotAllowed as error:
            refusal = refusal or error
        else:
            return candidate
    if not known or refusal is None:
        # Nothing to let us in: tell "not there" from "not joined".
        await probe(Credentials(url, "", "", "", ""), any_certificate=True)
    raise NotJoined(url) from refusal


async def probe(credentials: Credentials, *, any_certificate: bool = False) -> views.Health:
    """Ask the coordinator for its health, once and briefly. Raises as `FarmConnection.health`."""
    is_here = _is_loopback(URL(credentials.url).host or "")
    async with FarmConnection(
        credentials, patience_seconds=0, any_certificate=any_certificate
    ) as farm:
        try:
            async with asyncio.timeout(PROBE_HERE_SECONDS if is_here else PROBE_SECONDS):
                return await farm.health()
        except TimeoutError as error:
            raise Unreachable(f"The coordinator at {credentials.url} does not answer.") from error


async def _seen_elsewhere(
    joined: dict[str, Credentials], browse_seconds: float
) -> Credentials | None:
    if not joined:
        return None
    async with contextlib.aclosing(browse(browse_seconds)) as announcements:
        async for found in announcements:
            farm = joined.get(found.farm_id)
            # Never follow a farm that was joined over TLS to an address without.
            if farm is None or found.tls != bool(farm.fingerprint):
                continue
            candidate = replace(farm, url=found.url)
            try:
                await probe(candidate)
            except (Unreachable, NotAllowed, ProtocolMismatch):
                continue
            return candidate
    return None


async def announced(
    token: JoinToken, *, browse_seconds: float = BROWSE_SECONDS
) -> AsyncGenerator[str]:
    """Give the addresses at which the coordinator that printed ``token`` may announce itself.

    It is told by the fingerprint in the token. A token without one is for this machine alone, so
    every announcement on loopback counts then.
    """
    async with contextlib.aclosing(browse(browse_seconds)) as announcements:
        async for found in announcements:
            is_near = found.tls or _is_loopback(URL(found.url).host or "")
            if is_near and found.fingerprint == token.fingerprint:
                yield found.url


async def join(
    url: str,
    token: JoinToken,
    *,
    name: str,
    kind: str = "artist",
    browse_seconds: float = JOIN_BROWSE_SECONDS,
) -> Credentials:
    """Join the farm at ``url`` and remember it. ``kind``: ``artist`` or ``node``.

    An empty ``url``: where the coordinator announces itself. Raises as `FarmConnection.post`;
    `NotAllowed` for a wrong or used-up token, `NoCoordinator`.
    """
    return await _enter(
        url, token, lambda at: _join_at(at, token, name, kind), browse_seconds=browse_seconds
    )


async def resolve_or_join(
    url: str | None,
    token: JoinToken,
    *,
    name: str,
    kind: str,
    may_join: bool,
    browse_seconds: float = BROWSE_SECONDS,
) -> Credentials:
    """Return the way into the farm of ``token``, joining it first if ``may_join``.

    ``url`` as for `join`. Raises as `resolve` and `join`.
    """

    async def attempt(at: str) -> Credentials:
        try:
            return await resolve(at)
        except NotAllowed:
            if not may_join:
                raise
            return await _join_at(at, token, name, kind)

    return await _enter(url or "", token, attempt, browse_seconds=browse_seconds)


async def _enter(
    url: str,
    token: JoinToken,
    attempt: Callable[[str], Awaitable[Credentials]],
    *,
    browse_seconds: float,
) -> Credentials:
    if url:
        return await attempt(normal_url(url))
    refusal: FarmError | None = None
    async with contextlib.aclosing(announced(token, browse_seconds=browse_seconds)) as addresses:
        async for address in addresses:
            try:
                return await attempt(address)
            except (NotAllowed, Unreachable) as error:
                refusal = error
    raise refusal or NoCoordinator(
        "The coordinator that printed this token does not announce itself on this network; start "
        "it, or give its address too."
    )


async def _join_at(url: str, token: JoinToken, name: str, kind: str) -> Credentials:
    """Join at one address. The certificate in ``token`` is pinned before the secret is sent."""
    if url.startswith("https://") and not token.fingerprint:
        raise NotAllowed(
            f"The token is one for the coordinator's own machine, {url} is another; start the "
            "coordinator with `--host` so that others can join, and use the token it prints then."
        )
    async with FarmConnection(Credentials(url, "", token.fingerprint, "", "")) as farm:
        joined = await farm.post(
            "/api/v1/join",
            _Joined,
            body={"secret": token.secret, "name": name, "kind": kind},
        )
    credentials = Credentials(url, joined.token, token.fingerprint, joined.farm, joined.farm_id)
    save_farm(credentials)
    return credentials


@dataclass(frozen=True, slots=True)
class _Joined:
    token: str
    farm: str
    farm_id: str
