"""Replicas that take time but no work, on a clock that jumps from event to event."""

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from serving.queue import FairQueue, Ticket, client_address
from tests.simulation.dispatching import Dispatcher, Window
from tests.simulation.rivals import Fifo
from tests.simulation.workload import Job

# Assumed: seconds that another mix takes to be put on, bytes a second in which its adapters come, and for how many
# seconds a replica is gone that dies, of which each does every so many seconds.
SWITCH, BANDWIDTH, GONE, LIFE = 0.7, 500e6, 120.0, 8 * 3600.0


MakeQueue = Callable[[Callable[[], float]], FairQueue | Fifo]


class Turn(asyncio.Event):
    """Tells when it is set: nothing here waits on an event loop, and to ask all who wait would take long."""

    def __init__(self, told: Callable[[], None]):
        super().__init__()
        self._told = told

    def set(self) -> None:
        super().set()
        self._told()


@dataclass
class Outcome:
    """When each job was done and how often, the longest queue, and the seconds that GPUs were there, were busy, and
    of these painted what was not lost.

    `again` jobs lost their replica; `decisions` of the queue took `deciding` seconds of a real processor.
    """

    done: dict[Job, float] = field(default_factory=dict)
    runs: Counter[Job] = field(default_factory=Counter)
    there: float = 0.0
    busy: float = 0.0
    painting: float = 0.0
    again: int = 0
    longest: int = 0
    decisions: int = 0
    deciding: float = 0.0


class Simulation:
    """Lets a queue and a routing serve jobs; `window` jobs more than there are replicas may have their turn at once."""

    def __init__(
        self,
        make_queue: MakeQueue,
        routing: Dispatcher,
        replicas: int,
        window: int = 0,
        life: float = LIFE,
        seed: int = 0,
    ):
        self.now = 0.0
        self.outcome = Outcome()
        self._queue = make_queue(lambda: self.now)
        self._routing, self._window, self._more = routing, Window[Job](routing, patience=2 * window), window
        self._rng, self._life = random.Random(seed), life
        self._events: list[tuple[float, int, Callable, tuple]] = []
        self._number = itertools.count()
        self._tickets: dict[Job, Ticket] = {}
        # What each paints, and since when.
        self._painting: dict[str, tuple[Job, float]] = {}
        # Since when each replica is there.
        self._there: dict[str, float] = {}
        for i in range(replicas):
            self._come(f"replica {i}")

    def run(self, jobs: Sequence[Job]) -> Outcome:
        """Serve all of them to the end."""
        coming = deque(jobs)
        while coming or self._tickets:
            if coming and (not self._events or coming[0].sent <= self._events[0][0]):
                self.now = coming[0].sent
                self._send(coming.popleft())
            else:
                self.now, _, action, args = heapq.heappop(self._events)
                action(*args)
            self._start()
        self.outcome.there += sum(self.now - since for since in self._there.values())
        return self.outcome

    def _after(self, seconds: float, action: Callable, *args: object) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), action, args))

    def _send(self, job: Job) -> None:
        client_address.set(job.visitor)
        ticket = self._tickets[job] = self._decide(self._queue.enter, job.visitor, job.seconds)
        if ticket.turn.is_set():
            self._window.enter(job, job.mix)
        else:
            ticket.turn = Turn(partial(self._window.enter, job, job.mix))
            self.outcome.longest = max(self.outcome.longest, self._queue.waiting)

    def _decide(self, decision: Callable, *args: object) -> Any:
        begun = time.process_time()
        result = decision(*args)
        self.outcome.deciding += time.process_time() - begun
        self.outcome.decisions += 1
        return result

    def _start(self) -> None:
        figures = self._routing.figures
        while (begun := (figures.misses, figures.moved)) and (started := self._window.start()):
            job, replica = started
            seconds = SWITCH * (figures.misses - begun[0]) + (figures.moved - begun[1]) / BANDWIDTH + job.seconds
            self._painting[replica] = job, self.now
            self._after(seconds, self._done, replica, job, self.now)

    def _done(self, replica: str, job: Job, began: float) -> None:
        if self._painting.get(replica) != (job, began):
            return  # The replica died meanwhile.
        del self._painting[replica]
        self.outcome.busy += self.now - began
        self._routing.done(replica)
        self.outcome.done[job] = self.now
        self.outcome.runs[job] += 1
        self.outcome.painting += job.seconds
        self._decide(self._queue.leave, self._tickets.pop(job))

    def _come(self, replica: str) -> None:
        self._routing.come(replica)
        self._there[replica] = self.now
        self._allow()
        self._after(self._rng.expovariate(1 / self._life), self._die, replica)

    def _allow(self) -> None:
        # With 0 it would refuse whoever comes, and all ways are to serve the same.
        self._queue.resize(max(1, len(self._there) + self._more))

    def _die(self, replica: str) -> None:
        self._routing.go(replica)
        self.outcome.there += self.now - self._there.pop(replica)
        self._allow()
        self._after(GONE, self._come, replica)
        if painting := self._painting.pop(replica, None):
            job, began = painting
            self.outcome.again += 1
            self.outcome.busy += self.now - began
            self._window.enter(job, job.mix, again=True)
