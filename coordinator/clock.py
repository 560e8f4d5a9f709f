"""Time as the farm sees it: seconds since 1970 that never jump."""

from __future__ import annotations

import time


class Clock:
    """The system's date at the start, and from then on the monotonic clock.

    A date that is set back must not make leases immortal, nor one set forward expire them all.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset
