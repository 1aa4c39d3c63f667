"""Print how fair turns and affinity serve many GPUs, beside first in first out and random routing.

    python -m tests.simulation [--replicas 1000] [--hours 0.2] [--load 0.75] [--window 0.2] [--seed 0]
    python -m tests.simulation --cost

The hours are one tide of a day, high and low. The same arguments give the same table.
"""

import argparse
import sys

from tests.simulation.cost import costs
from tests.simulation.table import table


def main() -> None:
    """Print a table; how long it took goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=1000, help="GPUs")
    parser.add_argument("--hours", type=float, default=0.2, help="of arrivals: one tide of a day")
    parser.add_argument("--load", type=float, default=0.75, help="of the GPUs by painting alone, on average")
    parser.add_argument("--window", type=float, default=0.2, help="jobs whose turn has come and that may be reordered, "
                        "for each GPU")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true", help="measure FairQueue's decisions instead")
    given = parser.parse_args()
    if given.cost:
        print(costs())
        return
    lines = table(given.replicas, given.hours * 3600, given.load, int(given.window * given.replicas), given.seed,
                  lambda told: print(told, file=sys.stderr, flush=True))  # fmt: skip
    print(lines)


if __name__ == "__main__":
    main()
