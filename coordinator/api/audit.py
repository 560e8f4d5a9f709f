"""The audit log: who did what, when, from where. Written with what it tells of, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from sqlalchemy import Connection, insert

from ..store import schema
from . import keys


def audit_entry(
    request: web.Request, action: str, subject: str, outcome: str = "done"
) -> Callable[[Connection], None]:
    """Return what writes one row, for the transaction that does the thing itself."""
    member = request[keys.MEMBER]
    values = {
        "time": time.time(),
        "member": f"{member.name} ({member.role.value} {member.id})",
        "address": request.remote or "",
        "action": action,
        "subject": subject,
        "outcome": outcome,
    }

    def write(connection: Connection) -> None:
        connection.execute(insert(schema.audit).values(values))

    return write
