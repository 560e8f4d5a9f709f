"""Tokens: 256 random bits that let one device in, kept here only as their SHA-256.

A stolen database lets nobody in. A token is revoked by itself, so one lost laptop does not mean
pairing every machine anew. Whatever its holder has open at that moment is closed.

A node's token belongs to the nodes it first said `Hello` for: none can pass for the node of another
machine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ..store.schema import tokens
from ..store.writer import Writer
from .audit import write_audit
from .roles import Member, Role

TOKEN_BYTES = 32
NAME_MAX_CHARS = 100
LOCAL_NAME = "this machine"
"""Name of the token of the coordinator's own user and machine."""
NODES_MAX = 16
"""Nodes that one token may speak for: the slots of one machine."""

Also = Callable[[Connection, Member], None]


class NotItsNode(Exception):
    """A token spoke for a node that is not its own; the message is for people."""


class TokenBook:
    """All tokens that are good, in memory; every change goes through the database first."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._members: dict[bytes, Member] = {}
        self._nodes: dict[str, list[str]] = {}
        """Member that is let in -> nodes it speaks for."""
        self._owners: dict[str, str] = {}
        """Node -> member that speaks for it."""
        self._watchers: dict[str, set[Callable[[], object]]] = {}

    def load(self, connection: Connection) -> None:
        """Read the tokens that were not revoked."""
        for row in connection.execute(select(tokens).where(tokens.c.revoked.is_(None))):
            self._members[row.hash] = Member(row.id, row.name, Role(row.role))
            nodes: list[str] = json.loads(row.nodes)
            self._nodes[row.id] = nodes
            for node in nodes:
                self._owners[node] = row.id

    def check(self, token: str) -> Member | None:
        """Return who holds ``token``; None for one that is unknown or revoked."""
        # Looked up by its hash: how long that takes tells of a hash which nobody can aim at
        # without having the token.
        return self._members.get(_hash(token))

    def knows(self, member_id: str) -> bool:
        """Whether this member is still let in."""
        return member_id in self._nodes

    def member(self, member_id: str) -> Member | None:
        """Return who holds the token of this id; None for one that is unknown or revoked."""
        found = (member for member in self._members.values() if member.id == member_id)
        return next(found, None)

    def nodes_of(self, member_id: str) -> tuple[str, ...]:
        """Return the ids of the nodes that a token speaks for."""
        return tuple(self._nodes.get(member_id, ()))

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
        if known is not None:
            self._nodes.pop(known.id, None)
        self._members[digest] = member
        self._nodes[member.id] = []
        return member

    async def revoke(
        self, member_id: str, also: Callable[[Connection], None] | None = None
    ) -> bool:
        """Shut out one device at once and for good; whether there was such a one.

        ``also`` writes in the same transaction.
        """
        digests = [digest for digest, member in self._members.items() if member.id == member_id]
        if not digests:
            return False
        for digest in digests:
            # Out of memory first: a commit that fails must not leave the door open meanwhile.
            del self._members[digest]
        for node in self._nodes.pop(member_id, ()):
            if self._owners.get(node) == member_id:
                del self._owners[node]
        for cut_off in tuple(self._watchers.get(member_id, ())):
            cut_off()

        def write(connection: Connection) -> None:
            connection.execute(
                update(tokens).where(tokens.c.id == member_id).values(revoked=time.time())
            )
            if also is not None:
                also(connection)

        await self._writer.run(write)
        return True

    @contextmanager
    def watched(self, member_id: str, cut_off: Callable[[], object]) -> Iterator[None]:
        """Have ``cut_off`` called if the token is revoked while this lasts."""
        watchers = self._watchers.setdefault(member_id, set())
        watchers.add(cut_off)
        try:
            yield
        finally:
            watchers.discard(cut_off)
            if not watchers:
                self._watchers.pop(member_id, None)

    async def note(self, row: dict[str, Any]) -> None:
        """Add a row to the audit log, of something that changed nothing here."""
        await self._writer.run(lambda connection: write_audit(connection, row))

    async def speak_for(self, member: Member, node: str) -> None:
        """Let the holder of a node token speak for ``node``, now and from now on.

        Raises `NotItsNode`. A new token takes over the node of a machine that has joined again;
        one that speaks for a node already gets only such as nobody has, up to `NODES_MAX`.
        """
        if member.role is not Role.NODE or self._owners.get(node) == member.id:
            return
        own = self._nodes.get(member.id, [])
        former = self._owners.get(node)
        if former is not None and own:
            raise NotItsNode("The token belongs to another node; join the farm on this machine.")
        if len(own) >= NODES_MAX:
            raise NotItsNode(f"One token serves at most {NODES_MAX} nodes; join the farm again.")
        changed = {member.id: [*own, node]}
        if former is not None:
            changed[former] = [one for one in self._nodes.get(former, ()) if one != node]
        # In memory first: of two that come at once, the second must see the first.
        self._nodes.update(changed)
        self._owners[node] = member.id

        def write(connection: Connection) -> None:
            for member_id, nodes in changed.items():
                connection.execute(
                    update(tokens).where(tokens.c.id == member_id).values(nodes=json.dumps(nodes))
                )

        await self._writer.run(write)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
