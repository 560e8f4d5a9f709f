"""Whole farms under seeded faults, in virtual time; each found bug leaves its seed here.

The suite runs a few thousand jobs. For more: ``python scripts/simulate_farm.py --seeds 1000``.
"""

from __future__ import annotations

import pytest
from farm_world import MISHAPS, run_world
from rendermill.protocol.states import JobState

FOUND_BY_SEED = [(0, 0.0, 0.0), (1, 0.0, 0.0)]
"""Seeds, the part of the reports that were applied together, and of the moments in which the
coordinator itself had a mishap, that once found a bug. (0: an idle
node waited for a lease that was over; 1: a returning node took a job beyond its most nodes.)"""

GATHERED = 0.25
SEEDS = 20
JOBS_A_SEED = 100


@pytest.mark.parametrize(
    ("seed", "gathers", "mishap"),
    [*((seed, GATHERED, MISHAPS) for seed in range(SEEDS)), *FOUND_BY_SEED],
)
def test_promises_hold_under_faults(seed: int, gathers: float, mishap: float) -> None:
    """Every invariant after every event, every promise when a job has ended."""
    world = run_world(seed, jobs=JOBS_A_SEED, nodes=3 + seed % 4, gathers=gathers, mishap=mishap)
    assert world.done > 0.4 * JOBS_A_SEED
    assert world.ended[JobState.DONE] == world.done


def test_the_same_seed_is_the_same_trace() -> None:
    one, two = (run_world(5, jobs=20, nodes=4) for _ in range(2))
    assert (one.events, one.clock, one.ended) == (two.events, two.clock, two.ended)
    assert one.database.frames == two.database.frames
