"""How far a frame is, from Blender's own render handlers.

`render_stats` is called by threads of Cycles: here it only reads its text and the clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import bpy

INTERVAL_SECONDS = 0.25
"""Between two reports of progress, at least."""

_TILES = re.compile(r"Rendered (\d+)/(\d+) Tiles")
_SAMPLES = re.compile(r"Sample (\d+)/(\d+)")
_EEVEE = re.compile(r"Rendering (\d+) / (\d+)")
_NOISE = re.compile(r"^(?:Fra:|Mem:|Peak|Time:|Remaining:|Sce:|Ve:|Scene, |\d\d:\d\d)")

HANDLERS = ("render_pre", "render_post", "render_write", "render_cancel", "render_stats")


def fraction_of(text: str) -> float | None:
    """Return how much of one view layer a text of `render_stats` says is done; None: nothing."""
    sampled = _SAMPLES.search(text) or _EEVEE.search(text)
    share = _share(sampled)
    tiled = _TILES.search(text)
    if tiled is None:
        return share
    done, tiles = int(tiled[1]), max(1, int(tiled[2]))
    if done >= tiles:
        return 1.0
    return (done + (share or 0.0)) / tiles


def _share(match: re.Match[str] | None) -> float | None:
    return None if match is None else min(1.0, int(match[1]) / max(1, int(match[2])))


def words_of(text: str) -> str:
    """Return what a text of `render_stats` says, without times and memory."""
    parts = (part.strip() for part in text.split("|"))
    return " | ".join(part for part in parts if part and not _NOISE.match(part))


class Progress:
    """Follows one frame over its view layers and views and reports a fraction that only grows."""

    def __init__(self, passes: int, report: Callable[[float, str], None]) -> None:
        """``passes``: how often the engine renders for this frame, view layers times views."""
        self._passes = max(1, passes)
        self._report = report
        self._finished = 0
        self._current = 0.0
        self._best = 0.0
        self._last = 0.0
        self.events: set[str] = set()
        """Names of the handlers that were called."""
        self._installed: list[tuple[Any, Any]] = []

    def __enter__(self) -> Progress:
        for name in HANDLERS:
            handler = self._handler(name)
            handlers = getattr(bpy.app.handlers, name)
            handlers.append(handler)
            self._installed.append((handlers, handler))
        return self

    def __exit__(self, *_: object) -> None:
        for handlers, handler in self._installed:
            if handler in handlers:
                handlers.remove(handler)

    def _handler(self, name: str) -> Callable[..., None]:
        def seen(*args: Any) -> None:
            self.events.add(name)
            if name == "render_stats":
                self._stats(next((arg for arg in args if isinstance(arg, str)), ""))

        return seen

    def _stats(self, text: str) -> None:
        share = fraction_of(text)
        if share is not None:
            # The engine began anew: the next view layer or view.
            if share + 0.5 < self._current:
                self._finished += 1
            self._current = share
            self._best = max(self._best, min(1.0, (self._finished + share) / self._passes))
        now = time.monotonic()
        if now - self._last < INTERVAL_SECONDS:
            return
        self._last = now
        self._report(self._best, words_of(text))
