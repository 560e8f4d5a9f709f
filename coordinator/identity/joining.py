"""Joining from another machine: whoever knows the farm's join secret gets a token of its own.

The secret has 128 random bits, so it cannot be guessed; the limits on wrong tries are there so
that trying is noticed, costs nothing here, and never becomes a way in through some later mistake.
"""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable

from sqlalchemy import Connection

from .audit import audit_row, describe, write_audit
from .roles import Member, Role
from .tokens import NAME_MAX_CHARS, TokenBook

_log = logging.getLogger(__name__)

SECRET_BYTES = 16
WRONG_TRIES_MAX = 5
"""Wrong secrets from one address within `LOCK_SECONDS`, after which that address is locked out."""
WRONG_TRIES_MAX_ALL = 100
"""The same for all addresses together: an IPv6 neighbour has addresses without end."""
LOCK_SECONDS = 600.0
ADDRESSES_MAX = 1000
"""Addresses remembered for their wrong tries."""

ROLES = {"node": Role.NODE, "artist": Role.SUBMIT}
"""What a device may join as. Admin tokens are never given out over the network."""


class JoinRefused(Exception):
    """The secret is wrong; the message is for people."""


class JoinLocked(Exception):
    """Too many wrong tries; ``seconds`` until the next is looked at."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Too many wrong join tokens came from this address; try again in {seconds:.0f} s."
        )
        self.seconds = seconds


class JoinDesk:
    """Checks join secrets and hands out tokens. ``now`` is a monotonic clock in seconds."""

    def __init__(self, secret: str, tokens: TokenBook, now: Callable[[], float]) -> None:
        self._secret = secret
        self._tokens = tokens
        self._now = now
        self._wrong: dict[str, deque[float]] = {}
        self._wrong_all: deque[float] = deque(maxlen=WRONG_TRIES_MAX_ALL)

    async def join(self, secret: str, name: str, kind: str, address: str) -> str:
        """Return a new token. Raises `JoinRefused`, `JoinLocked`, KeyError for an unknown kind."""
        role = ROLES[kind]
        self._require_unlocked(address)
        if not hmac.compare_digest(secret.encode("utf-8", "replace"), self._secret.encode()):
            self._count_wrong(address)
            # Not without end: whoever goes on is locked out before it gets here.
            await self._tokens.note(
                audit_row(name[:NAME_MAX_CHARS], address, "join", "", "refused")
            )
            _log.warning("wrong join token: address=%s name=%r", address, name)
            raise JoinRefused(
                "The join token is not this farm's; copy the whole line the coordinator prints."
            )
        self._wrong.pop(address, None)

        def audit(connection: Connection, member: Member) -> None:
            row = audit_row(describe(member), address, "join", member.id, "done")
            write_audit(connection, row)

        token = await self._tokens.issue(name, role, audit)
        _log.info("joined: name=%r role=%s address=%s", name, role.value, address)
        return token

    def _require_unlocked(self, address: str) -> None:
        now = self._now()
        tries = self._wrong.get(address, deque())
        for latest, most in ((tries, WRONG_TRIES_MAX), (self._wrong_all, WRONG_TRIES_MAX_ALL)):
            while latest and latest[0] <= now - LOCK_SECONDS:
                latest.popleft()
            if len(latest) >= most:
                raise JoinLocked(latest[0] + LOCK_SECONDS - now)

    def _count_wrong(self, address: str) -> None:
        now = self._now()
        self._wrong_all.append(now)
        # The last to try wrongly stands last, so that what is dropped first is the oldest.
        tries = self._wrong.pop(address, deque(maxlen=WRONG_TRIES_MAX))
        tries.append(now)
        self._wrong[address] = tries
        while len(self._wrong) > ADDRESSES_MAX:
            del self._wrong[next(iter(self._wrong))]
