"""Attempts: found by their node too, for its history.

Revision: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """An index; nothing that is stored changes."""
    op.create_index("attempts_by_node", "attempts", ["node", "ended", "epoch"])
