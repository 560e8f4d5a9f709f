"""The frame-range grammar: ``1-250``, ``1-10:2, 40, -5-5``.

A range is a comma-separated list of items; an item is a frame (``7``, ``-3``), a run
(``1-250``, ``-5--1``) or a run with a step (``1-10:2``). Spaces are free. The frames of a range
are its distinct frames in ascending order. The notation is the one of OpenJD task chunking
(`<https://github.com/OpenJobDescription>`_) and of most render managers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeGuard

FRAME_MIN = -1_048_574
FRAME_MAX = 1_048_574
"""MINAFRAME and MAXFRAME of Blender's ``DNA_scene_types.h``: no scene has frames beyond these."""

FILM_FRAME = 2**31 - 1
"""The number under which the film of a job is leased, encoded, stored and fetched, as if it were a
frame: beyond every frame that Blender has, and the last in every order."""

JOB_FRAMES_MAX = 200_000
"""A film of more than two hours at 24 frames a second; more in one job is a typing error."""

_NAMED_MAX = 10 * JOB_FRAMES_MAX
"""Frames a range may name, those named again included."""

_TOO_MANY = f"The frame range has more than {JOB_FRAMES_MAX} frames; split it into several jobs."
_ITEM = re.compile(r"(-?[0-9]+)(?:\s*-\s*(-?[0-9]+)(?:\s*:\s*([0-9]+))?)?")


class FrameRangeError(ValueError):
    """A frame range that cannot be read; the message is for the person who typed it."""


def parse_frames(text: str) -> tuple[int, ...]:
    """Return the distinct frames of a range in ascending order.

    Raises `FrameRangeError` for an empty range, an item that is no frame, a run that goes
    backwards, a step of 0, a frame Blender cannot have, or more than `JOB_FRAMES_MAX` frames.
    """
    return tuple(frame_sequence(text))


def frame_sequence(text: str) -> Sequence[int]:
    """As `parse_frames`; a single run is a `range`, which costs the same however long it is."""
    items = text.split(",")
    if len(items) == 1:
        return _parse_item(text.strip())
    frames: set[int] = set()
    named = 0
    for item in items:
        run = _parse_item(item.strip())
        named += len(run)
        # The same frames over and over would keep whoever reads them busy for hours.
        if named > _NAMED_MAX:
            raise FrameRangeError(_TOO_MANY)
        frames.update(run)
        if len(frames) > JOB_FRAMES_MAX:
            raise FrameRangeError(_TOO_MANY)
    return tuple(sorted(frames))


def _parse_item(item: str) -> range:
    if not item:
        raise FrameRangeError(
            'The frame range is empty or has an empty item; write it like "1-250, 300".'
        )
    match = _ITEM.fullmatch(item)
    if match is None:
        raise FrameRangeError(
            f'"{item}" is not a frame or a range; write "7", "1-250" or "1-250:2".'
        )
    first_text, last_text, step_text = match.groups()
    # Digits are bounded before int(): a text of a million digits must not cost a quadratic parse.
    if any(part is not None and len(part) > 8 for part in match.groups()):
        raise FrameRangeError(f"Frames lie between {FRAME_MIN} and {FRAME_MAX} in Blender.")
    first = int(first_text)
    last = first if last_text is None else int(last_text)
    step = 1 if step_text is None else int(step_text)
    if step == 0:
        raise FrameRangeError(f'The step of "{item}" is 0; use 1 or more.')
    if last < first:
        raise FrameRangeError(f'The range "{item}" runs backwards; write "{last}-{first}".')
    if first < FRAME_MIN or last > FRAME_MAX:
        raise FrameRangeError(f"Frames lie between {FRAME_MIN} and {FRAME_MAX} in Blender.")
    if (last - first) // step + 1 > JOB_FRAMES_MAX:
        raise FrameRangeError(_TOO_MANY)
    return range(first, last + 1, step)


def format_frames(frames: Iterable[int]) -> str:
    """Return the canonical text of a set of frames: ascending, shortest runs, ``1-10:2`` for steps.

    Raises `FrameRangeError` when there is no frame. ``parse_frames(format_frames(x))`` gives back
    the distinct frames of ``x`` in order.
    """
    ordered = frames if _is_ascending(frames) else sorted(set(frames))
    if not ordered:
        raise FrameRangeError("There is no frame to render.")
    items: list[str] = []
    start = 0
    while start < len(ordered):
        end = _run_end(ordered, start)
        first, last = ordered[start], ordered[end]
        step = ordered[start + 1] - first if end > start else 1
        # Two frames apart by a step read better as two frames than as a run.
        if end == start or (end == start + 1 and step > 1):
            items.append(str(first))
            end = start
        elif step == 1:
            items.append(f"{first}-{last}")
        else:
            items.append(f"{first}-{last}:{step}")
        start = end + 1
    return ", ".join(items)


def _is_ascending(frames: Iterable[int]) -> TypeGuard[range]:
    return isinstance(frames, range) and frames.step > 0


def _run_end(ordered: Sequence[int], start: int) -> int:
    """Index of the last frame of the run of constant step that begins at ``start``."""
    if _is_ascending(ordered):
        return len(ordered) - 1
    if start + 1 >= len(ordered):
        return start
    step = ordered[start + 1] - ordered[start]
    end = start + 1
    while end + 1 < len(ordered) and ordered[end + 1] - ordered[end] == step:
        end += 1
    return end


def frame_step(frames: Sequence[int]) -> int | None:
    """Return n where ascending ``frames`` are every n-th of a range, None where they are not.

    1 for a single frame.
    """
    if len(frames) < 2:
        return 1 if frames else None
    step = frames[1] - frames[0]
    if _is_ascending(frames):
        return step
    is_even = all(later - earlier == step for earlier, later in pairwise(frames))
    return step if is_even else None
