"""The audit log: who did what, when, from where. Written with what it tells of, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from sqlalchemy import Connection

from ..identity.audit import audit_row, describe, write_audit
from . import keys


def audit_entry(
    request: web.Request, action: str, subject: str, outcome: str = "done"
) -> Callable[[Connection], None]:
    """Return what writes one row, for the transaction that does the thing itself."""
    member = request[keys.MEMBER]
    row = audit_row(describe(member), request.remote or "", action, subject, outcome)
    return lambda connection: write_audit(connection, row)
