"""Tokens: 256 random bits that let one device in, kept here only as their SHA-256.

A stolen database lets nobody in. A token is revoked by itself, so one lost laptop does not mean
pairing every machine anew.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from sqlalchemy import Connection, delete, insert, select, update

from ..store.schema import tokens
from ..store.writer import Writer
from .roles import Member, Role

TOKEN_BYTES = 32
NAME_MAX_CHARS = 100

Also = Callable[[Connection, Member], None]


class TokenBook:
    """All tokens that are good, in memory; every change goes through the database first."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._members: dict[bytes, Member] = {}

    def load(self, connection: Connection) -> None:
        """Read the tokens that were not revoked."""
        rows = connection.execute(select(tokens).where(tokens.c.revoked.is_(None)))
        self._members = {row.hash: Member(row.id, row.name, Role(row.role)) for row in rows}

    def check(self, token: str) -> Member | None:
        """Return who holds ``token``; None for one that is unknown or revoked."""
        digest = _hash(token)
        for known, member in self._members.items():
            # Over all of them and in constant time: nothing about a hash is told by how long
            # the answer takes. A farm has tens of tokens.
            if hmac.compare_digest(known, digest):
                return member
        return None

    def knows(self, member_id: str) -> bool:
        """Whether this member is still let in."""
        return any(member.id == member_id for member in self._members.values())

    async def issue(self, name: str, role: Role, also: Also | None = None) -> str:
        """Make a token for a device called ``name``, durable when this returns.

        ``also`` writes in the same transaction.
        """
        token = secrets.token_hex(TOKEN_BYTES)
        await self.admit(token, name, role, also)
        return token

    async def admit(self, token: str, name: str, role: Role, also: Also | None = None) -> Member:
        """Let in whoever holds ``token``, which must be as random as one of ours."""
        member = Member(secrets.token_hex(8), name[:NAME_MAX_CHARS], role)
        digest = _hash(token)
        known = self._members.get(digest)
        if known is not None and known.role is role:
            return known

        def write(connection: Connection) -> None:
            connection.execute(delete(tokens).where(tokens.c.hash == digest))
            connection.execute(
                insert(tokens).values(
                    id=member.id,
                    hash=digest,
                    name=member.name,
                    role=role.value,
                    created=time.time(),
                )
            )
            if also is not None:
                also(connection, member)

        await self._writer.run(write)
        self._members[digest] = member
        return member

    async def revoke(self, member_id: str) -> bool:
        """Shut out one device at once and for good; whether there was such a one."""
        digests = [digest for digest, member in self._members.items() if member.id == member_id]
        for digest in digests:
            # Out of memory first: a commit that fails must not leave the door open meanwhile.
            del self._members[digest]
        await self._writer.run(
            lambda connection: connection.execute(
                update(tokens).where(tokens.c.id == member_id).values(revoked=time.time())
            )
        )
        return bool(digests)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
