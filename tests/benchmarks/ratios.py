"""Interleaved pairs: what a ratio measured on a shared machine can be trusted for."""

import gc
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


def paired(
    number: int, what: str, goal: float, ours: Callable, theirs: Callable, pairs: int, clock=time.process_time
) -> Ratio:
    """Run both in turn, the first to go alternating, after one run of each that does not count.

    Both must return the same thing: a faster run that paints something else is no faster run.
    """
    assert ours() == theirs(), f"{what}: the two do not give the same"
    times: list[tuple[float, float]] = []
    for i in range(pairs):
        took = {}
        for run in (ours, theirs) if i % 2 else (theirs, ours):
            gc.collect()
            start = clock()
            run()
            took[run] = clock() - start
        times.append((took[ours], took[theirs]))
    medians = tuple(statistics.median(column) for column in zip(*times))
    return Ratio(number, what, goal, tuple(a / b for a, b in times), medians)
