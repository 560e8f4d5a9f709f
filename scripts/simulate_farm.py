"""Run whole farms under seeded faults in virtual time, for as long as wanted.

The real farm code, a database that is a dict, nodes that follow the protocol
(tests/coordinator/farm/farm_simulation.py), and what goes wrong: nodes killed, restarted, cut off,
frozen, slow, broken; coordinators killed between commit and sending; clocks set while nobody runs;
results that come twice, late, out of turn or with times that cannot be; people who cancel, pause,
change, retry, approve, reject and remove at any moment. Every invariant of the farm is checked
after every event and every promise when a job has ended. The first seed that breaks one is printed.

    python scripts/simulate_farm.py [--seeds N] [--first SEED] [--jobs N] [--nodes N]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "coordinator" / "farm"))

from farm_world import run_world


def main() -> int:
    """Run the seeds; 1 when one of them breaks a promise."""
    parser = argparse.ArgumentParser(description="Simulated farms under faults.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=100, help="jobs for each seed")
    parser.add_argument("--nodes", type=int, default=0, help="nodes (default: 3 to 6, by seed)")
    arguments = parser.parse_args()
    ended: Counter[str] = Counter()
    events, began = 0, time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        nodes = arguments.nodes or 3 + seed % 4
        try:
            world = run_world(seed, arguments.jobs, nodes)
        except Exception:  # noqa: BLE001 - whatever it is, the seed is what is wanted
            traceback.print_exc()
            print(f"seed {seed} with {arguments.jobs} jobs on {nodes} nodes breaks a promise")
            return 1
        events += world.events
        ended.update({state.value: count for state, count in world.ended.items()})
    seconds = time.monotonic() - began
    print(
        f"{arguments.seeds} seeds, {sum(ended.values()):,} jobs ended "
        f"({', '.join(f'{count:,} {state}' for state, count in sorted(ended.items()))}), "
        f"{events:,} events, each invariant after each event, in {seconds:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
