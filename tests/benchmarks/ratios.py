"""Interleaved pairs: what a ratio measured on a shared machine can be trusted for."""

import gc
import operator
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Benchmark `number` of the plan: median, lowest and highest of `pairs` ratios ours / theirs, and the goal."""

    number: int
    what: str
    goal: float
    values: tuple[float, ...]
    seconds: tuple[float, float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def row(self) -> str:
        low, high = min(self.values), max(self.values)
        ours, theirs = self.seconds
        return (
            f"| {self.number} | {self.what} | {self.median:.3f} | {low:.3f} to {high:.3f} | {self.goal:.2f} "
            f"| {ours:.3f} / {theirs:.3f} s |"
        )


HEADER = "| # | ratio | median | range | goal | median times |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Variant:
    """One side of a pair: `run` is what is timed, `ready` comes before it and `shows` tells what it came to.

    Without `shows` that is what `run` returns.
    """

    run: Callable[[], object]
    ready: Callable[[], object] = lambda: None
    shows: Callable[[], object] | None = None

    def outcome(self) -> object:
        """What it gives, outside of the clock."""
        self.ready()
        result = self.run()
        return self.shows() if self.shows else result


def paired(
    number: int, what: str, goal: float, ours: Variant, theirs: Variant, pairs: int, same: Callable = operator.eq,
    clock: Callable[[], float] = time.process_time,
) -> Ratio:  # fmt: skip
    """Run both in turn, the first to go alternating, after one run of each that does not count.

    Both must come to the same: a faster run that paints something else is no faster run.
    """
    assert same(ours.outcome(), theirs.outcome()), f"{what}: the two do not give the same"
    times: list[tuple[float, float]] = []
    for i in range(pairs):
        took = {}
        for side in (ours, theirs) if i % 2 else (theirs, ours):
            side.ready()
            gc.collect()
            start = clock()
            side.run()
            took[side] = clock() - start
        times.append((took[ours], took[theirs]))
    medians = tuple(statistics.median(column) for column in zip(*times))
    return Ratio(number, what, goal, tuple(a / b for a, b in times), medians)
