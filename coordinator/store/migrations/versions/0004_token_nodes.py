"""Tokens: the nodes that each one speaks for. Audit: rows can only be added.

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Tokens given out so far get their nodes when these connect next."""
    op.add_column("tokens", sa.Column("nodes", sa.Text(), nullable=False, server_default="[]"))
    for what in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_keeps_on_{what.lower()} BEFORE {what} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END"
        )
