"""How commands print: tables for people, one line of JSON for scripts, times and sizes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..protocol.codec import encode_json
from ..protocol.states import JobState
from ..protocol.views import JobView

WIDE_CHARS = 160
"""Width of tables that go into a file or pipe, where nothing says how wide the reader is."""


def print_json(value: Any) -> None:
    """Print a view, or plain data, as one line."""
    print(encode_json(value).decode(), flush=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without lines; ``>`` before a heading aligns its column to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(
            heading.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Return a console on standard output that does not break lines in a pipe."""
    return Console(
        width=None if sys.stdout.isatty() else WIDE_CHARS, highlight=False, soft_wrap=False
    )


def escape(text: str) -> str:
    """Return ``text`` such that names of jobs and files can neither style nor move the cursor."""
    return printable(text).replace("[", r"\[")


def printable(text: str) -> str:
    """Return ``text`` without characters that could move the cursor or hide what stands there."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def size(count: float) -> str:
    """Return a number of bytes for people: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int, thing: str) -> str:
    """Return a number of things for people: ``1 file``, ``2 files``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def duration(seconds: float | None) -> str:
    """Return a duration for people: ``0.4 s``, ``75 s``, ``12 min``, ``3 h 05``; '' for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02}"


def job_state(job: JobView) -> str:
    """Return the state of a job for people."""
    if job.paused and job.state in (JobState.QUEUED, JobState.RENDERING):
        return "paused"
    if job.state is JobState.ASSEMBLING and job.film is not None:
        return f"encoding film {job.film.progress:.0%}"
    return job.state.value


def frame_total(job: JobView) -> int:
    """Return how many frames a job has."""
    counts = job.counts
    return counts.waiting + counts.leased + counts.done + counts.failed + counts.cancelled
