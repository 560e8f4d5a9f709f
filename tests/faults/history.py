"""What the artist was told: an event stream followed over every fault, and never contradicted.

The follower is the real client. It keeps for each (frame, generation) the files it was told are
done. From then on another answer is a broken promise, whatever happened to the farm in between;
`History.broken` says which.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rendermill.protocol.states import FrameState
from rendermill.protocol.views import FramePage, FrameView, JobDetail
from rendermill.wire.connection import FarmConnection, backoff
from rendermill.wire.credentials import Credentials
from rendermill.wire.errors import FarmError

END_SECONDS = 120.0
GOODBYE_SECONDS = 10.0
CLOSED_LOOK_SECONDS = 0.02
PAGE_FRAMES = 500

Told = tuple[tuple[str, str, str, int], ...]
"""Root, path, SHA-256 and length of every file of a frame."""


@dataclass
class History:
    """Follows one job, in a thread of its own, from `__enter__` to `__exit__`."""

    credentials: Credentials
    job: str
    done: dict[tuple[int, int], Told] = field(default_factory=dict)
    """(frame, generation) -> the files the farm said are its result."""
    heard_at: dict[tuple[int, int], float] = field(default_factory=dict)
    """When that was heard first, by the clock of this machine (seconds since 1970)."""
    broken: list[str] = field(default_factory=list)
    """Sentences: what was said once and taken back later."""
    looks: int = 0
    """How often the whole job was fetched: at the start, and whenever events were lost."""

    def __enter__(self) -> History:
        """Begin to follow."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()
        if not self._ready.wait(END_SECONDS):
            raise RuntimeError("the follower of the job did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following."""
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("the follower of the job did not end")

    def note(self, view: FrameView) -> None:
        """Hold a frame's view against all that was said of it before."""
        key = view.frame, view.generation
        known = self.done.get(key)
        if view.state is not FrameState.DONE:
            if known is not None:
                self.broken.append(
                    f"frame {view.frame} was done in generation {view.generation} and is "
                    f"{view.state.value} now"
                )
            return
        files = tuple((file.root, file.path, file.sha256, file.length) for file in view.files)
        if known is None:
            self.done[key] = files
            self.heard_at[key] = time.time()
        elif known != files:
            self.broken.append(
                f"frame {view.frame} of generation {view.generation} was {known} and is {files} now"
            )

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._follow())
        self._ready.set()
        await asyncio.wait([self._task])
        # A stream over TLS that is cut off says goodbye first; a loop that ends before leaves the
        # socket behind.
        # One that is closed has let go of its socket, but may stay known until it is collected.
        end = time.monotonic() + GOODBYE_SECONDS
        transports = getattr(self._loop, "_transports", {})
        while time.monotonic() < end and any(  # noqa: ASYNC110 - transports have no event
            getattr(transport, "_sock", None) is not None for transport in transports.values()
        ):
            await asyncio.sleep(CLOSED_LOOK_SECONDS)
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            self.broken.append(f"the follower ended: {error!r}")

    async def _follow(self) -> None:
        attempt = 0
        while True:
            try:
                async with FarmConnection(self.credentials, patience_seconds=END_SECONDS) as farm:
                    await self._look(farm)
                    async for event in farm.events(job=self.job):
                        attempt = 0
                        if event.kind == "reset":
                            await self._look(farm)
                        elif event.frame is not None:
                            self.note(event.frame)
            except FarmError:
                # A coordinator in trouble: the client would tell its user and try again.
                attempt += 1
                await asyncio.sleep(backoff(attempt))

    async def _look(self, farm: FarmConnection) -> None:
        self.looks += 1
        await farm.get(f"/api/v1/jobs/{self.job}", JobDetail)
        after: int | None = None
        while True:
            params: dict[str, Any] = {"limit": PAGE_FRAMES, "after": after}
            page = await farm.get(f"/api/v1/jobs/{self.job}/frames", FramePage, params=params)
            for view in page.frames:
                self.note(view)
            if page.next is None:
                return
            after = page.next
