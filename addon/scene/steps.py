"""Work on the open scene in short steps: Blender goes on in between, and nothing waits for a disk.

What may take long is a generator. It yields `PAUSE` where its caller may stop for a while, and
`Elsewhere` for what must not be done in Blender's main thread at all: whatever touches a file or a
folder, for either may lie on a drive that does not answer. It returns what it has found::

    def size_steps(scene) -> Steps[int]:
        paths = []
        for image in all_of(bpy.data.images):
            paths.append(image.filepath)
            yield PAUSE
        return (yield from elsewhere(lambda: sum(map(os.path.getsize, paths))))

Between two steps the artist may have changed the file. A data-block that is gone by then raises
ReferenceError when it is used; what lies inside of one (a node, a modifier) must not be kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

PAUSE = None
"""Yielded where a caller may stop for a while."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Something to be done in another thread; what comes of it is sent back, errors included."""

    work: Callable[[], Any]
    """Touches disks, and nothing of bpy. It may never come back: a drive that is gone."""


Steps = Generator[Elsewhere | None, Any, T]


def elsewhere(work: Callable[[], T]) -> Steps[T]:
    """Have something done in another thread and return what comes of it."""
    return (yield Elsewhere(work))


def in_one_go(steps: Steps[T]) -> T:
    """Take all steps here and now: for callers that have no window."""
    try:
        step = next(steps)
        while True:
            if step is None:
                step = next(steps)
                continue
            try:
                answer = step.work()
            except Exception as error:  # noqa: BLE001 - it belongs to who asked
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return end.value


def at_once(steps: Callable[P, Steps[T]]) -> Callable[P, T]:
    """Return a function as ``steps``, with the same arguments, that does it in one go."""

    @functools.wraps(steps)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return in_one_go(steps(*args, **kwargs))

    return run
