"""Blocking work beside the event loop, never left behind half done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Closable(Protocol):
    """Something that holds files or locks until it is closed."""

    def close(self) -> None:
        """Let go of them; blocks."""
        ...


C = TypeVar("C", bound=Closable)


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


@contextlib.asynccontextmanager
async def opened_in_thread(
    function: Callable[P, C], *args: P.args, **kwargs: P.kwargs
) -> AsyncGenerator[C]:
    """Give what ``function`` opens in a thread, and close it in a thread afterwards.

    Also when the caller was cancelled while it was being opened: nobody else would know of it, and
    its locks would be held for as long as the process lives.
    """
    opened: list[C] = []
    try:
        await in_thread(lambda: opened.append(function(*args, **kwargs)))
        yield opened[0]
    finally:
        for each in opened:
            await in_thread(each.close)
