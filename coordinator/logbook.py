"""What nodes say on its way to people: numbered, kept, and only then told.

Stored before told, so that whoever fetches the log and then follows the stream from the last
number has every line once: what the stream has told is already there to be fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable

from ..protocol.messages import FrameRef
from .store.logs import LogBlock, LogStore, first_number

_log = logging.getLogger(__name__)

WAITING_MAX_BLOCKS = 2000
"""Beyond it, the node that brings more waits: its socket is not read meanwhile."""
SAID_AGAIN_SECONDS = 60.0
"""Between two complaints that the log cannot be written."""

InThread = Callable[..., Awaitable[list[LogBlock]]]
Tell = Callable[[LogBlock], None]


class LogBook:
    """Takes lines as they come; `run` stores and tells them, many at a time."""

    def __init__(self, store: LogStore, in_thread: InThread, tell: Tell) -> None:
        self._store = store
        self._in_thread = in_thread
        self._tell = tell
        self._next = first_number(store.last_number())
        self._waiting: deque[LogBlock] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._complained = -SAID_AGAIN_SECONDS

    async def add(self, node: str, lines: tuple[str, ...], ref: FrameRef | None = None) -> None:
        """Take lines of a node; waits while too many wait to be stored."""
        # A line break inside a line would shift the numbers of those behind it.
        clean = tuple(part for line in lines for part in (_clean(line).splitlines() or [""]))
        if not clean:
            return
        await self._room.wait()
        self._waiting.append(
            LogBlock(
                number=self._next,
                time=time.time(),
                node=node,
                job=ref.job if ref else "",
                frame=ref.frame if ref else None,
                epoch=ref.epoch if ref else 0,
                lines=clean,
            )
        )
        self._next += len(clean)
        if len(self._waiting) >= WAITING_MAX_BLOCKS:
            self._room.clear()
        self._came.set()

    async def run(self) -> None:
        """Store and tell until cancelled; what waits then is stored and told first."""
        try:
            while True:
                await self._came.wait()
                await self._flush()
        finally:
            with contextlib.suppress(RuntimeError):  # The threads may be gone already.
                await self._flush()

    async def _flush(self) -> None:
        blocks = list(self._waiting)
        self._waiting.clear()
        self._came.clear()
        self._room.set()
        if not blocks:
            return
        try:
            blocks = await self._in_thread(self._store.add, blocks)
        except sqlite3.Error as error:
            # Lines are worth less than frames: they are told, and found again only by who saw
            # them, until there is room.
            now = time.monotonic()
            if now - self._complained >= SAID_AGAIN_SECONDS:
                self._complained = now
                _log.error("log lines are not kept: error=%s", error)
        for block in blocks:
            self._tell(block)


def _clean(line: str) -> str:
    # SQLite ends a text at a NUL, and stores no lone surrogates.
    return line.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
