"""Frames of ended jobs: in the database, and in memory only while somebody looks at them.

A farm keeps its jobs for months. Their frames leave the farm's memory soon after the job has ended
and come back when they are asked for; so what a coordinator needs is bounded by what is open.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .farm.farm import Farm
from .farm.records import FrameRecord
from .store import rows
from .store.store import Store

KEPT_MAX_FRAMES = 20_000
"""Frames of ended jobs that stay in memory, those asked for last; one job may be longer."""


class EndedJobs:
    """Which ended jobs have their frames in memory. Belongs to one event loop."""

    def __init__(self, farm: Farm, store: Store) -> None:
        self._farm = farm
        self._store = store
        self._kept: OrderedDict[str, int] = OrderedDict()
        """Ended job -> its frames, the one asked for last at the end."""
        self._frames = 0
        self._reading: dict[str, int] = {}
        """Jobs that are being read, by how many: what is read must not change meanwhile."""

    async def recall(self, job: str) -> None:
        """Have the frames of a job in memory, if there is such a job, until others are wanted.

        They are there when this returns and until the caller awaits something. Raises what reading
        the database raises.
        """
        if job in self._kept:
            self._kept.move_to_end(job)
        while self._farm.is_shed(job):
            self._reading[job] = self._reading.get(job, 0) + 1
            try:
                frames = await self._store.read(
                    lambda connection: list(rows.read_frames(connection, job))
                )
                self._take_back(job, frames)
            finally:
                self._reading[job] -= 1
                if not self._reading[job]:
                    del self._reading[job]
                self._let_go()

    def _take_back(self, job: str, frames: Iterable[FrameRecord]) -> None:
        # Somebody else may have been quicker; the job may even have changed since.
        if self._farm.is_shed(job):
            self._farm.recall(job, frames)
            self.ended((job,))

    def ended(self, jobs: Iterable[str]) -> None:
        """Note jobs that have ended, all stored and told, and let go of those least asked for."""
        for job in jobs:
            self._frames -= self._kept.pop(job, 0)
            count = self._farm.frame_count(job)
            self._kept[job] = count
            self._frames += count
        self._let_go()

    def _let_go(self) -> None:
        for job in list(self._kept):
            if self._frames <= KEPT_MAX_FRAMES or len(self._kept) == 1:
                return
            if job not in self._reading:
                # A job that was opened again stays, and is noted when it ends.
                self._frames -= self._kept.pop(job)
                self._farm.shed(job)
