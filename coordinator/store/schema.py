"""The tables of the coordinator's database.

What the farm looks up or people search by is a column; what is only ever read as a whole (a job's
spec, a frame's leases and result, a node's machine) is one JSON text in the same row. The columns
of a record's table are the fields of its dataclass in `farm.records`: see `rows`.

A change here needs a migration in ``migrations/versions``; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    comment="The farm's id and name, the ceiling of epochs.",
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("manifest", String(64), nullable=False),
    Column("scene_bytes", Integer, nullable=False),
    Column("scene_files", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("untouched", String(16), nullable=False),
    Column("scouts_approved", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("problem", Text, nullable=False),
    Column("penalties", Text, nullable=False),
    Column("assembly_failed", Boolean, nullable=False),
)

frames = Table(
    "frames",
    metadata,
    Column(
        "job",
        String(32),
        ForeignKey("jobs.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("leases", Text, nullable=False),
    Column("result", Text),
    Column("failed_on", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("problem", Text, nullable=False),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column(
        "job",
        String(32),
        ForeignKey("jobs.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("node", String(32), nullable=False),
    Column("node_name", String, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("log", Text, nullable=False),
    sqlite_with_rowid=False,
    comment="Tries that are over; those in progress are the leases of the frame.",
)

Index("attempts_by_node", attempts.c.node, attempts.c.ended, attempts.c.epoch)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String, nullable=False),
    Column("incarnation", String, nullable=False),
    Column("software", String, nullable=False),
    Column("machine", Text, nullable=False),
    Column("drained", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("frames_done", Integer, nullable=False),
    Column("settings", Text, nullable=False),
    Column("farm_settings", Text, nullable=False),
)

scripts = Table(
    "scripts",
    metadata,
    Column(
        "job",
        String(32),
        ForeignKey("jobs.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("script", Text, nullable=False),
    comment="What a job's nodes feed to Blender, kept for people to read.",
)

submissions = Table(
    "submissions",
    metadata,
    Column("key", String, primary_key=True),
    Column("body", LargeBinary(32), nullable=False, comment="SHA-256 of the submission."),
    Column(
        "job",
        String(32),
        ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("created", Float, nullable=False),
    comment="Idempotency keys: the same key with the same body is the same job.",
)
Index("submissions_by_job", submissions.c.job)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("hash", LargeBinary(32), nullable=False, unique=True, comment="SHA-256 of the token."),
    Column("name", String, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    Column(
        "nodes",
        Text,
        nullable=False,
        server_default="[]",
        comment="Ids of the nodes it speaks for, as JSON.",
    ),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("member", String, nullable=False, comment="Name and id of the token's holder."),
    Column("address", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("outcome", String, nullable=False),
    comment="Who did what, when, from where, with what outcome; rows are only ever added.",
)
