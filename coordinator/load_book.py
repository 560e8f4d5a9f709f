"""Keeps the load of the farm over a restart: in the database, once a minute and at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from .clock import Clock
from .load import LoadHistory, UnreadableHistory
from .store import StoreError
from .store.store import Store

SETTING = "load_history"
SAVE_SECONDS = 60.0
"""A coordinator that is killed forgets no more than that of its chart."""

_log = logging.getLogger(__name__)


class LoadBook:
    """Writes a `LoadHistory` down and takes it up again."""

    def __init__(self, load: LoadHistory, store: Store, clock: Clock) -> None:
        self._load = load
        self._store = store
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what is kept, and go on writing. Raises `StoreError`."""
        text = await self._store.setting(SETTING, "")
        if text:
            try:
                self._load.take_up(text)
            except UnreadableHistory as error:
                _log.warning("the load of the last hours begins anew: %s", error)
        self._task = asyncio.create_task(self._run(), name="load book")

    async def stop(self) -> None:
        """Write a last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self.save()

    async def save(self) -> None:
        """Write now; a chart is no reason to stop a farm whose disk is full."""
        with contextlib.suppress(StoreError):
            await self._store.change_setting(SETTING, self._load.written(self._clock.now()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self.save()
