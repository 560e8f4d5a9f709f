"""Says on the local network that there is a farm here. A hint only: the certificate decides."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket

from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, NonUniqueNameException
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

_log = logging.getLogger(__name__)

SERVICE = "_rendermill._tcp.local."
NAME_MAX_BYTES = 63
"""Longest DNS label."""


class Announcement:
    """One service on the network, from `start` to `stop`."""

    def __init__(
        self, *, farm: str, farm_id: str, fingerprint: str, port: int, address: str | None
    ) -> None:
        """``address``: the one interface to use; None: all of this machine."""
        self._address = address
        host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().split(".")[0]) or "rendermill"
        # Farms may share a name; the id keeps their services apart.
        label = f"{farm} {farm_id[:8]}".replace(".", "-")
        label = label.encode()[:NAME_MAX_BYTES].decode("utf-8", "ignore")
        self._info = AsyncServiceInfo(
            SERVICE,
            f"{label}.{SERVICE}",
            port=port,
            properties={
                "v": "1",
                "id": farm_id,
                # A TXT entry has at most 255 bytes, key included.
                "name": farm.encode()[:200].decode("utf-8", "ignore"),
                "fp": fingerprint,
                "tls": "1" if fingerprint else "0",
            },
            server=f"{host}-{farm_id[:8]}.local.",
            parsed_addresses=[address] if address else _own_addresses(),
        )
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self) -> None:
        """Announce. A network that does not let us is logged and harms nothing else."""
        try:
            self._zeroconf = AsyncZeroconf(
                interfaces=[self._address] if self._address else InterfaceChoice.All,
                ip_version=IPVersion.V4Only,
            )
            await self._zeroconf.async_register_service(self._info)
        except (OSError, ZeroconfError, NonUniqueNameException) as error:
            _log.warning(
                "not announced on the network; machines need --coordinator URL: error=%s", error
            )
            await self.stop()

    async def stop(self) -> None:
        """Take the announcement back."""
        if self._zeroconf is not None:
            zeroconf, self._zeroconf = self._zeroconf, None
            await zeroconf.async_unregister_service(self._info)
            await zeroconf.async_close()


def _own_addresses() -> list[str]:
    import psutil

    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET
    ]
    outside = [text for text in found if not ipaddress.ip_address(text).is_loopback]
    return outside or found or ["127.0.0.1"]
