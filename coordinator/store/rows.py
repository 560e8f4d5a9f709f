"""The farm's records to rows and back, and the decisions of the farm as statements.

A record's table has a column for each of its fields. Plain values are stored as they are, states
as their text, and everything with parts as JSON.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, func, select, tuple_
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.compiler import SQLCompiler

from ...protocol.frames import FILM_FRAME
from ...protocol.states import FrameState, JobState
from ..farm.decisions import (
    Decision,
    DeleteJob,
    SaveAttempt,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
    SaveNode,
)
from ..farm.records import AllDone, AttemptRecord, FrameRecord, JobRecord, NodeRecord
from . import schema

Record = JobRecord | FrameRecord | AttemptRecord | NodeRecord
R = TypeVar("R", JobRecord, FrameRecord, AttemptRecord, NodeRecord)

TABLES: dict[type[Any], Table] = {
    JobRecord: schema.jobs,
    FrameRecord: schema.frames,
    AttemptRecord: schema.attempts,
    NodeRecord: schema.nodes,
}

JOBS_ASKED_MAX = 500
"""Jobs named in one query: old libraries take 999 values."""

_EPOCH_CEILING = "epoch_ceiling"
_PLAIN = (str, int, float, bool)


@cache
def _composite(cls: type[Any]) -> dict[str, Any]:
    """Names and types of the fields that are stored as JSON."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in fields(cls)
        if not any(
            part in _PLAIN or (isinstance(part, type) and issubclass(part, Enum))
            for part in (hints[field.name], *typing.get_args(hints[field.name]))
            # A tuple of text has text among its arguments, and is JSON all the same.
            if typing.get_origin(hints[field.name]) is not tuple
        )
    }


@cache
def _columns(cls: type[Any]) -> tuple[tuple[str, bool], ...]:
    """Return the columns in their order, and whether each is stored as JSON."""
    composite = _composite(cls)
    return tuple((column.name, column.name in composite) for column in TABLES[cls].columns)


def to_row(record: Record) -> tuple[Any, ...]:
    """Return the values of a record's columns, in the order of its table."""
    row: list[Any] = []
    for name, is_composite in _columns(type(record)):
        value = getattr(record, name)
        if isinstance(value, Enum):
            value = value.value
        elif is_composite and value is not None:
            value = msgspec.json.encode(value).decode() if value != () else "[]"
        row.append(value)
    return tuple(row)


def from_row(row: Any, cls: type[R]) -> R:
    """Return the record in a row. Raises `msgspec.ValidationError` for one that does not fit."""
    plain = {field.name: row._mapping[field.name] for field in fields(cls)}
    for name in _composite(cls):
        if plain[name] is not None:
            plain[name] = msgspec.json.decode(plain[name])
    return msgspec.convert(plain, cls)


def write_decisions(connection: Connection, decisions: Iterable[Decision]) -> None:
    """Write everything in ``decisions`` that is to be stored; later ones replace earlier ones."""
    latest: dict[tuple[Any, ...], Record] = {}
    for decision in decisions:
        match decision:
            case SaveJob(record=record):
                latest[JobRecord, record.id] = record
            case SaveFrames(records=records):
                for frame in records:
                    latest[FrameRecord, frame.job, frame.frame] = frame
            case SaveAttempt(record=record):
                latest[AttemptRecord, record.job, record.frame, record.epoch] = record
            case SaveNode(record=record):
                latest[NodeRecord, record.id] = record
            case SaveEpochCeiling(ceiling=ceiling):
                write_setting(connection, _EPOCH_CEILING, str(ceiling))
            case DeleteJob(job=job):
                latest = {key: value for key, value in latest.items() if job not in key}
                connection.execute(delete(schema.jobs).where(schema.jobs.c.id == job))
            case _:
                pass  # Messages and views: the conductor's part, once this is durable.
    # Jobs first: frames and attempts refer to them.
    for cls in TABLES:
        rows = [to_row(record) for key, record in latest.items() if key[0] is cls]
        if rows:
            connection.exec_driver_sql(_upsert(cls), rows)


@cache
def _upsert(cls: type[Any]) -> str:
    """Return the statement as the driver takes it, a value for each column in their order.

    Thousands of rows a second go through it; the library's own way would look at every value.
    """
    table = TABLES[cls]
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    compiled = statement.on_conflict_do_update(
        index_elements=keys,
        set_={c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys},
    ).compile(dialect=sqlite.dialect(paramstyle="qmark"))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup == [column.name for column in table.columns]
    return str(compiled)


def read_jobs(connection: Connection) -> list[JobRecord]:
    """Return all jobs in the order of their submission."""
    rows = connection.execute(select(schema.jobs).order_by(schema.jobs.c.number))
    return [from_row(row, JobRecord) for row in rows]


def read_frames(connection: Connection, job: str | None = None) -> Iterator[FrameRecord]:
    """Yield the frames of one job, or of all."""
    statement = select(schema.frames)
    if job is not None:
        statement = statement.where(schema.frames.c.job == job)
    for row in connection.execute(statement):
        yield from_row(row, FrameRecord)


def read_all_done(connection: Connection) -> list[AllDone]:
    """Return the sums of the jobs that are done, frames and all, and with nothing out of place.

    A farm keeps its jobs for months: the database adds up, where reading each frame would make a
    start take minutes.
    """
    frames, jobs = schema.frames.c, schema.jobs.c
    is_json = func.json_valid(frames.result) == 1
    seconds = case((is_json, func.json_extract(frames.result, "$.stats.seconds")))
    thumbnail = case((is_json, func.json_extract(frames.result, "$.thumbnail")))
    whole = and_(frames.state == FrameState.DONE.value, frames.leases == "[]", seconds.is_not(None))
    query = (
        select(
            frames.job,
            func.count(),
            func.sum(seconds),
            func.max(case((thumbnail != "", frames.frame))),
        )
        .join_from(schema.frames, schema.jobs, frames.job == jobs.id)
        .where(jobs.state == JobState.DONE.value, frames.frame != FILM_FRAME)
        .group_by(frames.job)
        .having(func.min(case((whole, 1), else_=0)) == 1)
    )
    return [
        AllDone(job=job, frames=count, seconds=taken, newest_thumbnail=newest)
        for job, count, taken, newest in connection.execute(query)
    ]


def read_frames_but(connection: Connection, done: Collection[str]) -> Iterator[FrameRecord]:
    """Yield the frames of all jobs; of those ``done`` the film alone."""
    frames = schema.frames.c
    films = {row.job: row for row in _frame_rows(connection, frames.frame == FILM_FRAME)}
    yield from (from_row(films[job], FrameRecord) for job in done if job in films)
    known = [job for (job,) in connection.execute(select(schema.jobs.c.id))]
    left = [job for job in known if job not in done]
    for first in range(0, len(left), JOBS_ASKED_MAX):
        some = left[first : first + JOBS_ASKED_MAX]
        for row in _frame_rows(connection, frames.job.in_(some)):
            yield from_row(row, FrameRecord)


def _frame_rows(connection: Connection, where: ColumnElement[bool]) -> Iterable[Any]:
    return connection.execute(select(schema.frames).where(where))


def read_nodes(connection: Connection) -> list[NodeRecord]:
    """Return all nodes the farm has met."""
    return [from_row(row, NodeRecord) for row in connection.execute(select(schema.nodes))]


def read_attempts(connection: Connection, job: str, frame: int) -> Sequence[AttemptRecord]:
    """Return the tries at a frame that are over, the first one first."""
    table = schema.attempts
    rows = connection.execute(
        select(table).where(table.c.job == job, table.c.frame == frame).order_by(table.c.epoch)
    )
    return [from_row(row, AttemptRecord) for row in rows]


AttemptRow = tuple[int, int, int, str, str, float, float, str, str]
"""frame, epoch, generation, node, node_name, started, ended, outcome, reason."""


def read_job_attempts(
    connection: Connection,
    job: str,
    *,
    after: tuple[int, int] | None = None,
    ended_after: float | None = None,
    limit: int,
) -> list[AttemptRow]:
    """Return tries at the frames of a job that are over, by frame and epoch, without their logs.

    ``after`` is the (frame, epoch) that the page begins behind; ``ended_after`` leaves out what
    ended before or at that time.
    """
    table = schema.attempts
    columns = table.c
    query = (
        select(
            columns.frame,
            columns.epoch,
            columns.generation,
            columns.node,
            columns.node_name,
            columns.started,
            columns.ended,
            columns.outcome,
            columns.reason,
        )
        .where(columns.job == job, columns.frame != FILM_FRAME)
        .order_by(columns.frame, columns.epoch)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(columns.frame, columns.epoch) > tuple_(*after))
    if ended_after is not None:
        query = query.where(columns.ended > ended_after)
    return [tuple(row) for row in connection.execute(query)]


def read_epoch_ceiling(connection: Connection) -> int:
    """Return the number above which epochs continue; 0 on a fresh farm."""
    return int(read_setting(connection, _EPOCH_CEILING) or 0)


def read_setting(connection: Connection, name: str) -> str | None:
    """Return a setting of the farm, None when it was never written."""
    table = schema.settings
    return connection.execute(select(table.c.value).where(table.c.name == name)).scalar()


def write_setting(connection: Connection, name: str, value: str) -> None:
    """Write a setting of the farm."""
    statement = insert(schema.settings).values(name=name, value=value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"value": statement.excluded.value}
        )
    )
