"""The log of the farm on disk: what nodes and their Blenders say, searchable, within bounds.

A SQLite file of its own beside the farm's: lines are worth less than frames, so they are neither
flushed one by one nor ever allowed to fail a job. What is kept is bounded for each attempt, for
each node and in all; the oldest go first. A block is what one message brought, up to 200 lines,
so that a farm of hundreds of nodes costs a row a second each.

Case of ASCII letters does not matter to a search, that of others does (SQLite's LIKE).
"""

from __future__ import annotations

import logging
import sqlite3
import string
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.logs import LogLine, LogPage

_log = logging.getLogger(__name__)

ATTEMPT_MAX_BYTES = 4 * 1024 * 1024
"""Of one try at a frame; a scene that prints without end must not push out all others."""
NODE_MAX_BYTES = 32 * 1024 * 1024
TOTAL_MAX_BYTES = 256 * 1024 * 1024
"""A search without an index reads all of it: about a second."""
TRIM_PART = 0.9
"""What exceeds a bound is cut to this part of it, so that not every line costs a deletion."""
ATTEMPTS_REMEMBERED = 4096
CUT_TEXT = "... further lines of this attempt are not kept"
PAGE_MAX_LINES = 5000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, -- of the first line
    lines INTEGER NOT NULL,
    time REAL NOT NULL,
    node TEXT NOT NULL,
    job TEXT NOT NULL,
    frame INTEGER,
    bytes INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS blocks_of_node ON blocks (node, number);
CREATE INDEX IF NOT EXISTS blocks_of_job ON blocks (job, frame, number);
"""
_COLUMNS = "number, lines, time, node, job, frame, text"
_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBlock:
    """Lines that came together. ``number`` is that of the first."""

    number: int
    time: float
    node: str
    job: str
    frame: int | None
    epoch: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """What is looked for; '' and None: anything."""

    job: str = ""
    frame: int | None = None
    node: str = ""
    text: str = ""


class LogStore:
    """One file. `add` from one thread at a time, `find` from any."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._node_bytes: dict[str, int] = {}
        self._bytes = 0
        self._attempts: dict[tuple[str, int | None, int, str], int] = {}
        self._connection: sqlite3.Connection | None = None

    def open(self, jobs: Collection[str]) -> None:
        """Open the file and drop the lines of jobs that are gone. Raises OSError.

        A file that SQLite cannot read is put aside as ``<name>.damaged`` and begun anew.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(jobs)
        except sqlite3.OperationalError as error:
            raise OSError(f"The log {self._file} cannot be opened: {error}.") from error
        except sqlite3.DatabaseError as error:
            _log.error("the log is damaged and begun anew: file=%s error=%s", self._file, error)
            self.close()
            for suffix in ("-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            self._file.replace(self._file.with_name(self._file.name + ".damaged"))
            self._open(jobs)

    def _open(self, jobs: Collection[str]) -> None:
        self._connection = self._connect()
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        known = self._connection.execute("SELECT DISTINCT job FROM blocks WHERE job != ''")
        for job in [name for (name,) in known if name not in jobs]:
            self._connection.execute("DELETE FROM blocks WHERE job = ?", (job,))
        self._connection.commit()
        self._count()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, check_same_thread=False, timeout=30)

    def _count(self) -> None:
        rows = self._writing.execute("SELECT node, SUM(bytes) FROM blocks GROUP BY node")
        self._node_bytes = dict(rows.fetchall())
        self._bytes = sum(self._node_bytes.values())

    @property
    def _writing(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the log is not open")
        return self._connection

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def last_number(self) -> int:
        """Return the number of the newest line kept; 0 when there is none."""
        with self._lock:
            row = self._writing.execute(
                "SELECT number + lines - 1 FROM blocks ORDER BY number DESC LIMIT 1"
            ).fetchone()
        return 0 if row is None else int(row[0])

    # --- in -----------------------------------------------------------------------------------

    def add(self, blocks: Sequence[LogBlock]) -> list[LogBlock]:
        """Keep blocks and return what is kept of them: beyond the bound of its attempt nothing,
        and one line that says so. Raises sqlite3.Error; nothing is kept then."""
        with self._lock:
            before = dict(self._attempts), dict(self._node_bytes), self._bytes
            try:
                with self._writing:
                    kept = [one for block in blocks if (one := self._bounded(block)) is not None]
                    self._writing.executemany(
                        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_row, kept)
                    )
                    self._trim()
            except BaseException:
                self._attempts, self._node_bytes, self._bytes = before
                raise
        return kept

    def _bounded(self, block: LogBlock) -> LogBlock | None:
        size = _size(block.lines)
        if block.job:
            key = block.job, block.frame, block.epoch, block.node
            used = self._attempts.pop(key, 0)
            self._attempts[key] = used + size
            if len(self._attempts) > ATTEMPTS_REMEMBERED:
                del self._attempts[next(iter(self._attempts))]
            if used > ATTEMPT_MAX_BYTES:
                return None
            if used + size > ATTEMPT_MAX_BYTES:
                block = _replace_lines(block, (CUT_TEXT,))
                size = _size(block.lines)
                self._attempts[key] = ATTEMPT_MAX_BYTES + 1
        self._node_bytes[block.node] = self._node_bytes.get(block.node, 0) + size
        self._bytes += size
        return block

    def _trim(self) -> None:
        for node, size in list(self._node_bytes.items()):
            if size > NODE_MAX_BYTES:
                self._delete_oldest(size - int(NODE_MAX_BYTES * TRIM_PART), "WHERE node = ?", node)
        if self._bytes > TOTAL_MAX_BYTES:
            self._delete_oldest(self._bytes - int(TOTAL_MAX_BYTES * TRIM_PART), "")

    def _delete_oldest(self, excess: int, where: str, *values: str) -> None:
        end = 0
        rows = self._writing.execute(
            f"SELECT number, bytes FROM blocks {where} ORDER BY number",  # noqa: S608 ours
            values,
        )
        for number, size in rows:
            if excess <= 0:
                break
            excess -= size
            end = number
        rows.close()
        also = f"{where} AND" if where else "WHERE"
        self._writing.execute(
            f"DELETE FROM blocks {also} number <= ?",  # noqa: S608 ours
            (*values, end),
        )
        self._count()

    def forget_job(self, job: str) -> None:
        """Drop the lines of a job that was removed. Raises sqlite3.Error."""
        with self._lock, self._writing:
            self._writing.execute("DELETE FROM blocks WHERE job = ?", (job,))
            self._count()

    # --- out ----------------------------------------------------------------------------------

    def find(
        self, query: LogQuery, *, after: int | None = None, before: int | None = None, limit: int
    ) -> LogPage:
        """Return the first ``limit`` lines behind ``after``, or the last ones before ``before``
        (None: before the end). Blocks; raises sqlite3.Error."""
        limit = max(1, min(limit, PAGE_MAX_LINES))
        forward = after is not None
        # A connection of its own: a long search must not hold up what is being written.
        connection = self._connect()
        try:
            connection.execute("PRAGMA query_only=1")
            connection.execute("BEGIN")
            row = connection.execute(
                "SELECT number + lines - 1 FROM blocks ORDER BY number DESC LIMIT 1"
            ).fetchone()
            newest = after or 0 if row is None else int(row[0])
            found: list[LogLine] = []
            for block in _matching_blocks(connection, query, after, before):
                lines = [line for line in block if _in_range(line.number, after, before)]
                found += lines if forward else lines[::-1]
                if len(found) > limit:
                    break
        finally:
            connection.close()
        more = len(found) > limit
        found = found[:limit]
        if not forward:
            found.reverse()
        last = found[-1].number if forward and more else max(newest, after or 0)
        return LogPage(lines=tuple(found), last=last, more=more)


def _matching_blocks(
    connection: sqlite3.Connection, query: LogQuery, after: int | None, before: int | None
) -> Iterator[list[LogLine]]:
    conditions: list[str] = []
    values: list[Any] = []
    for column, value in (("job", query.job), ("frame", query.frame), ("node", query.node)):
        if value not in ("", None):
            conditions.append(f"{column} = ?")
            values.append(value)
    if query.text:
        conditions.append("text LIKE ? ESCAPE '\\'")
        values.append(f"%{_escaped(query.text)}%")
    if after is not None:
        conditions.append("number + lines - 1 > ?")
        values.append(after)
        # The same for the index; a message has at most a few hundred lines.
        conditions.append("number > ?")
        values.append(after - _BLOCK_MAX_LINES)
    if before is not None:
        conditions.append("number < ?")
        values.append(before)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "ASC" if after is not None else "DESC"
    wanted = query.text.translate(_FOLD)
    for number, _, moment, node, job, frame, text in connection.execute(
        f"SELECT {_COLUMNS} FROM blocks {where} ORDER BY number {order}",  # noqa: S608 ours
        values,
    ):
        yield [
            LogLine(number=number + index, time=moment, node=node, job=job, frame=frame, text=line)
            for index, line in enumerate(text.split("\n"))
            if not wanted or wanted in line.translate(_FOLD)
        ]


_BLOCK_MAX_LINES = 1000
"""More lines than one message can bring."""


def _in_range(number: int, after: int | None, before: int | None) -> bool:
    return (after is None or number > after) and (before is None or number < before)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _size(lines: tuple[str, ...]) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)


def _replace_lines(block: LogBlock, lines: tuple[str, ...]) -> LogBlock:
    return LogBlock(
        number=block.number,
        time=block.time,
        node=block.node,
        job=block.job,
        frame=block.frame,
        epoch=block.epoch,
        lines=lines,
    )


def _row(block: LogBlock) -> tuple[Any, ...]:
    return (
        block.number,
        len(block.lines),
        block.time,
        block.node,
        block.job,
        block.frame,
        _size(block.lines),
        "\n".join(block.lines),
    )


def first_number(last: int) -> int:
    """Return the number of the next line where ``last`` is the newest one kept.

    Never below the microsecond of now: numbers that were given out and lost with the power are
    not given out again. Below 2**53, so that browsers count alike.
    """
    return max(last + 1, time.time_ns() // 1000)
