"""Who sends what and when: a few visitors send most of it, and a few mixes are in most of it."""

import bisect
import itertools
import math
import random
from dataclasses import dataclass

from serving.routing import Mix

# Assumed, of 25 steps of SDXL on a large GPU; pictures differ in size and steps.
SECONDS, SPREAD = 8.0, 0.4
MIXES, ADAPTERS = 5000, 3000
# Of Zipf's law for mixes, and of Pareto's for the pictures that a visitor sends, of which there are at most so many.
ZIPF, PARETO, MOST = 1.0, 1.1, 400
# Up to so many pictures a visitor is light and sends one after the other, so many seconds from each other, whatever
# becomes of them; a heavy one is a program and sends all at once.
LIGHT, APART = 10, 15.0
# A visitor's next picture has the same mix so often.
FAITHFUL = 0.95
# The busiest and the quietest time of the day are so far from its mean.
TIDE = 0.3


@dataclass(frozen=True, eq=False)
class Job:
    """One picture: who sent it, at which second, how many seconds it takes to paint and with which mix."""

    visitor: str
    light: bool
    sent: float
    seconds: float
    mix: Mix


class Mixes:
    """Adapter mixes as often as Zipf's law says."""

    def __init__(self, rng: random.Random, number: int = MIXES):
        self._rng = rng
        sizes = [int(rng.uniform(20e6, 250e6)) for _ in range(ADAPTERS)]
        popular = zipf(ADAPTERS)
        self._mixes = []
        for i in range(number):
            used = {bisect.bisect(popular, rng.random()) for _ in range(rng.choice((1, 1, 2, 3)))}
            self._mixes.append(Mix(f"mix {i}", tuple((f"adapter {a}", sizes[a]) for a in sorted(used))))
        self._often = zipf(number)

    def one(self) -> Mix:
        """Any of them."""
        return self._mixes[bisect.bisect(self._often, self._rng.random())]


def zipf(number: int) -> list[float]:
    """The shares of the first, the first two... of so many things; the last is 1."""
    sums = list(itertools.accumulate((rank + 1) ** -ZIPF for rank in range(number)))
    return [value / sums[-1] for value in sums[:-1]] + [1.0]


def jobs(replicas: int, seconds: float, load: float, seed: int) -> list[Job]:
    """What comes in so many seconds, which are one day's high and low tide, by the time when it is sent.

    Painting alone would take `load` of all that the replicas can do.
    """
    rng = random.Random(seed)
    mixes = Mixes(rng)
    work, enough = 0.0, load * replicas * seconds
    found: list[Job] = []
    while work < enough:
        session = visit(rng, mixes, f"visitor {len(found)}", moment(rng) * seconds)
        found += session
        work += sum(job.seconds for job in session)
    return sorted(found, key=lambda job: job.sent)


def visit(rng: random.Random, mixes: Mixes, visitor: str, now: float) -> list[Job]:
    """All that one visitor sends."""
    number = min(MOST, int(rng.paretovariate(PARETO)))
    light, mix, sent = number <= LIGHT, mixes.one(), []
    for _ in range(number):
        if rng.random() > FAITHFUL:
            mix = mixes.one()
        sent.append(Job(visitor, light, now, rng.lognormvariate(math.log(SECONDS) - SPREAD**2 / 2, SPREAD), mix))
        now += rng.expovariate(1 / APART) if light else 0.0
    return sent


def moment(rng: random.Random) -> float:
    """When in the day (0..1) a visitor comes: rarely in the night."""
    while True:
        when = rng.random()
        if rng.random() * (1 + TIDE) < 1 - TIDE * math.cos(2 * math.pi * when):
            return when
