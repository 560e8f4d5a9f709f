"""Progress of long commands: a bar on a terminal, a line now and then anywhere else.

Everything goes to standard error: standard output belongs to the result.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from .printing import escape

LINE_SECONDS = 5.0
"""Least time between two plain lines of one stage."""


class ProgressBar:
    """One bar whose stage, amount and text change. A context manager."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """``is_quiet``: show nothing (``--json``)."""
        self._is_quiet = is_quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._printed = 0.0
        self._line = ""

    def __enter__(self) -> ProgressBar:
        """Show the bar, on a terminal."""
        if not self._is_quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, stage: str, fraction: float | None, text: str = "") -> None:
        """Show a stage's progress; ``fraction`` 0 to 1, None: not known."""
        if self._is_quiet:
            return
        if self._bar is not None:
            self._show_bar(self._bar, stage, fraction, text)
            return
        now = time.monotonic()
        percent = "" if fraction is None else f" {fraction:.0%}"
        line = f"{stage}{percent}{f', {text}' if text else ''}"
        is_news = stage != self._stage or now - self._printed >= LINE_SECONDS or fraction == 1.0
        if is_news and line != self._line:
            self._stage, self._printed, self._line = stage, now, line
            print(line, file=sys.stderr, flush=True)

    def _show_bar(self, bar: Progress, stage: str, fraction: float | None, text: str) -> None:
        if self._task is None or stage != self._stage:
            if self._task is not None:
                bar.remove_task(self._task)
            self._task = bar.add_task(escape(stage), total=None, text="")
            self._stage = stage
        bar.update(
            self._task,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            text=escape(text),
        )
