"""Nodes: the settings they were started with, and those that the farm sets for them.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Every node met so far has the settings that need no saying."""
    for name in ("settings", "farm_settings"):
        op.add_column("nodes", sa.Column(name, sa.Text(), nullable=False, server_default="{}"))
