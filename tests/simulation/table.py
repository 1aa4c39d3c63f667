"""The figures of several ways to serve the same jobs."""

import sys
import time
from collections.abc import Callable, Iterable

from serving.queue import FairQueue
from tests.simulation.dispatching import Dispatcher
from tests.simulation.rivals import Fifo, RandomRouting
from tests.simulation.simulation import MakeQueue, Outcome, Simulation
from tests.simulation.workload import Job, jobs

HEADER = (
    "way", "wait p50 s", "wait p99 s", "light p50 s", "light p99 s", "GPUs busy %", "of it painting %",
    "mix on %", "switches / 1,000", "moved GB", "Jain", "longest queue", "run again", "lost or doubled",
)  # fmt: skip


def fair(clock: Callable[[], float]) -> FairQueue:
    """Nobody is refused, so that all ways serve the same."""
    return FairQueue(sys.maxsize, sys.maxsize, clock=clock)


def fifo(clock: Callable[[], float]) -> Fifo:
    """Knows no time."""
    return Fifo()


# Name, queue, routing, and whether there is a window.
WAYS: tuple[tuple[str, MakeQueue, Callable[[], Dispatcher], bool], ...] = (
    ("fair, affinity, window", fair, Dispatcher, True),
    ("fair, affinity", fair, Dispatcher, False),
    ("fair, random", fair, RandomRouting, False),
    ("first in first out, affinity", fifo, Dispatcher, False),
    ("first in first out, random", fifo, RandomRouting, False),
)


def table(
    replicas: int, seconds: float, load: float, window: int, seed: int, tell: Callable[[str], None] = lambda told: None
) -> str:
    """A row for each way, in Markdown. The clock of the world goes to `tell` only."""
    sent = jobs(replicas, seconds, load, seed)
    visitors = len({job.visitor for job in sent})
    tell(f"{len(sent)} pictures of {visitors} visitors")
    rows = [HEADER, ("---", *("---:" for _ in HEADER[1:]))]
    for name, queue, routing, windowed in WAYS:
        begun, router = time.perf_counter(), routing()
        outcome = Simulation(queue, router, replicas, window if windowed else 0, seed=seed).run(sent)
        rows.append((name, *figures(sent, outcome, router)))
        tell(f"{name}: {time.perf_counter() - begun:.0f} s, of it {outcome.decisions} decisions of the queue at "
             f"{outcome.deciding / outcome.decisions * 1000:.3f} ms")  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figures(sent: list[Job], outcome: Outcome, routing: Dispatcher) -> tuple[str, ...]:
    """A row's numbers. A job waits for all that is not its own painting: others, a switch, adapters, a death."""
    waits = sorted(outcome.done[job] - job.sent - job.seconds for job in sent)
    light = sorted(outcome.done[job] - job.sent - job.seconds for job in sent if job.light)
    found = routing.figures
    started = found.hits + found.misses
    busy, painting = outcome.busy / outcome.there, outcome.painting / outcome.busy
    numbers = *(quantile(values, share) for values in (waits, light) for share in (0.5, 0.99)), 100 * busy
    numbers += 100 * painting, 100 * found.hits / started
    return (
        *(f"{number:.1f}" for number in numbers),
        f"{1000 * found.misses / started:.0f}",
        f"{found.moved / 1e9:.0f}",
        f"{jain(slowdowns(sent, outcome)):.2f}",
        str(outcome.longest),
        str(outcome.again),
        str(sum(outcome.runs[job] != 1 for job in sent)),
    )


def quantile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def slowdowns(sent: list[Job], outcome: Outcome) -> list[float]:
    """How many times as long each visitor took as with one GPU for nobody else; below 1 it had more than one."""
    alone: dict[str, float] = {}
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for job in sent:
        first.setdefault(job.visitor, job.sent)
        alone[job.visitor] = max(alone.get(job.visitor, 0.0), job.sent) + job.seconds
        last[job.visitor] = max(last.get(job.visitor, 0.0), outcome.done[job])
    return [(last[v] - first[v]) / (alone[v] - first[v]) for v in first]


def jain(values: Iterable[float]) -> float:
    """Jain's index: 1 where all are alike, 1/n where one has all."""
    values = list(values)
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))
