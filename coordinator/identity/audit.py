"""Rows of the audit log: who, what, when, from where, with what outcome. Only ever added."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, insert

from ..store import schema
from .roles import Member


def audit_row(who: str, address: str, action: str, subject: str, outcome: str) -> dict[str, Any]:
    """Return a row for now."""
    return {
        "time": time.time(),
        "member": who,
        "address": address,
        "action": action,
        "subject": subject,
        "outcome": outcome,
    }


def describe(member: Member) -> str:
    """Return who somebody is, for the log."""
    return f"{member.name} ({member.role.value} {member.id})"


def write_audit(connection: Connection, row: dict[str, Any]) -> None:
    """Add a row."""
    connection.execute(insert(schema.audit).values(row))
