"""What fair turns and affinity are compared with: first in first out, and any idle replica."""

import random
from collections import deque
from collections.abc import Collection

from serving.queue import Ticket
from serving.routing import ROOM, Mix
from tests.simulation.dispatching import Dispatcher


class Fifo:
    """As much of FairQueue as the simulation uses; whoever comes first is first."""

    def __init__(self) -> None:
        self.at_once = 1
        self._waiting: deque[Ticket] = deque()
        self._running: set[Ticket] = set()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def resize(self, at_once: int) -> None:
        """Let so many jobs run at once."""
        self.at_once = at_once
        self._advance()

    def enter(self, session: str | None, seconds: float) -> Ticket:
        """Join the queue."""
        ticket = Ticket(session, seconds)
        self._waiting.append(ticket)
        self._advance()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the ticket of a job back that has run."""
        self._running.discard(ticket)
        self._advance()

    def _advance(self) -> None:
        while self._waiting and len(self._running) < self.at_once:
            ticket = self._waiting.popleft()
            self._running.add(ticket)
            ticket.turn.set()


class RandomRouting(Dispatcher):
    """Any idle replica; the figures are counted as those of Dispatcher."""

    def __init__(self, room: int = ROOM, seed: int = 0):
        super().__init__(room)
        self._rng = random.Random(seed)

    def best(self, mix: Mix, idle: Collection[str]) -> str:
        """Any."""
        return self._rng.choice(list(idle))
