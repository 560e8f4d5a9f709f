"""Fair shares of the farm between submitters of equal priority: in time, not in frames.

What a submitter has had is counted in seconds of nodes. The one whose turn it is has the smallest
``frames in hand + seconds had / horizon`` (`FarmConfig.share_horizon_seconds`): nodes are spread
evenly at once, and what frames of unequal length take from that is given back within a few
horizons. Counting seconds alone would let all nodes swing from one submitter to the other; counting
frames alone would give most of the farm to whoever has the longest frames.

What somebody had while nobody else wanted anything is not held against them: a newcomer begins
level with whoever has had least. Nothing of this is stored; after a restart all begin level.
"""

from __future__ import annotations

from dataclasses import dataclass

SUBMITTERS_REMEMBERED = 1000
"""At one priority; of more, those without work are forgotten."""


@dataclass(slots=True, eq=False)
class Share:
    """What one submitter has of the farm at one priority."""

    leases: int = 0
    """Frames in hand, fetched ahead or begun."""
    queues: int = 0
    """Jobs with frames to hand out."""
    served: int = 0
    """Epoch of the last lease given to them."""
    had_seconds: float = 0.0
    """Seconds of nodes, of frames that are over."""
    _begun: int = 0
    _begun_sum: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether anything of it is wanted or in hand."""
        return bool(self.leases or self.queues)

    def spent(self, now: float) -> float:
        """Return the seconds of nodes it has had, frames in progress included."""
        return self.had_seconds + self._begun * now - self._begun_sum

    def begin(self, now: float) -> None:
        """A node has begun a frame."""
        self._begun += 1
        self._begun_sum += now

    def end(self, started: float | None, now: float) -> None:
        """A lease is over; ``started`` as given to `begin`, None when that never was."""
        self.leases -= 1
        if started is not None:
            self.had_seconds += now - started
            self._begun -= 1
            # Exact again whenever it can be: sums of large numbers drift.
            self._begun_sum = self._begun_sum - started if self._begun else 0.0


class Shares:
    """The shares of all submitters, by priority."""

    def __init__(self) -> None:
        self._all: dict[int, dict[str, Share]] = {}

    def of(self, priority: int, submitter: str) -> Share:
        """Return the share of a submitter at a priority."""
        known = self._all.setdefault(priority, {})
        share = known.get(submitter)
        if share is None:
            if len(known) >= SUBMITTERS_REMEMBERED:
                for name in [name for name, one in known.items() if not one.is_active]:
                    del known[name]
            share = known[submitter] = Share()
        return share

    def queue(self, priority: int, submitter: str, now: float) -> None:
        """A job of the submitter has frames to hand out."""
        share = self.of(priority, submitter)
        if not share.is_active:
            others = [one.spent(now) for one in self._all[priority].values() if one.is_active]
            share.had_seconds = max(share.had_seconds, min(others, default=0.0))
        share.queues += 1

    def unqueue(self, priority: int, submitter: str) -> None:
        """It has none any more."""
        self.of(priority, submitter).queues -= 1

    def items(self) -> dict[tuple[int, str], Share]:
        """Return the active shares by priority and submitter; for `validate`."""
        return {
            (priority, submitter): share
            for priority, some in self._all.items()
            for submitter, share in some.items()
            if share.is_active
        }
