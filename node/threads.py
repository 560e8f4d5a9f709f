"""Blocking work beside the event loop, never left behind half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a thread and return what it returns.

    A thread cannot be stopped: whoever cancels this waits for its end, so that files it writes
    are not there again after they were cleaned away.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue  # Asked twice; the thread still runs.
        if not work.cancelled():
            work.exception()  # Taken, so that it is not reported as never retrieved.
        raise
