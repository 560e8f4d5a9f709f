"""A group of tasks that fails with the error of the first that failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator


@contextlib.asynccontextmanager
async def task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """`asyncio.TaskGroup` for tasks that all do the same thing.

    The first error cancels the others and is raised as itself, not as an exception group: a caller
    who waits for `FarmError` must not have to know how many requests were on their way.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
