"""A fair queue: whoever sends twenty jobs waits for them, and nobody else does. Lives on one event loop."""

import asyncio
import heapq
import math
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field

from lora.errors import Busy

# The first few hear their place at each pulse, others at a multiple of it that grows with their place.
NEAR, SELDOM = 2, 20
CLOSING = "The app is restarting; try again in a minute."
BUMPED = "The queue is full, and this was the last of many jobs from your address; try again in a minute."
# The address for which a task works. Sessions are made up as one likes, addresses are not.
client_address: ContextVar[str] = ContextVar("visitor", default="")
# The job of a page for which a task works, by which its visitor can name it here.
job_name: ContextVar[str] = ContextVar("job", default="")


@dataclass(eq=False)
class Ticket:
    """One job: who sent it, how many seconds it should run, and since when it has run; why it will not, if so."""

    session: str | None
    seconds: float
    address: str = ""
    job: str = ""
    refused: str = ""
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    since: float | None = None


@dataclass(frozen=True)
class Position:
    """Where a waiting job stands: `place` 1 is next; its turn should come in `expected_seconds`."""

    place: int
    expected_seconds: float


@dataclass
class Line:
    """The jobs of one session; `served` is the number of the turn that it had last."""

    served: int
    address: str = ""
    waiting: deque[Ticket] = field(default_factory=deque)
    running: int = 0


class FairQueue:
    """Lets `at_once` jobs run and takes the others in turns over the sessions, at most `places` of them.

    A session's jobs keep their order. Of several sessions the one whose last turn is longest ago comes first; a new
    one stands before those that had a turn since it came and behind all others, so that nobody starves. Before that it
    is the same for addresses, so that many sessions of one have the turns of one; and where all places are taken,
    whose address has most of them gives one up for whose has fewer.
    """

    def __init__(
        self, places: int, places_per_session: int, at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ):
        self.places = places
        self.places_per_session = places_per_session
        self.at_once = at_once
        self._clock = clock
        self._lines: dict[str | None, Line] = {}
        # The turn that each address had last, for as long as it has jobs.
        self._served: dict[str, int] = {}
        self._running: list[Ticket] = []
        self._order: list[Ticket] = []
        self._turns = 0
        self._shut = False

    def enter(self, session: str | None, seconds: float, again: bool = False) -> Ticket:
        """Join the queue; whoever enters must `leave`. Raises Busy when there is no place left.

        `again`: a job of many parts has had a turn and stands behind all others for its next one. It is not refused,
        for its first parts would be lost; there are no more of those than jobs that run.
        """
        if (bumped := self._admit(session, again)) is not None:
            self._refuse(bumped)
        line = self._lines.get(session)
        # A session that goes on from another address keeps its line.
        address = line.address if line else client_address.get()
        ticket = Ticket(session, seconds, address, job_name.get())
        self._served.setdefault(address, self._turns - 1)
        self._lines.setdefault(session, Line(self._turns - 1, address)).waiting.append(ticket)
        self._advance()
        return ticket

    async def wait(self, ticket: Ticket, pulse: float = 1.0) -> AsyncGenerator[Position]:
        """Yield the ticket's place every `pulse` seconds until it is its turn. Holds no thread.

        Far behind it is told less often: each telling takes the server's time, and with a hundred who wait that is
        time that the engine waits for. Raises Busy when the queue is shut before the turn comes.
        """
        while not ticket.turn.is_set():
            place = self.place(ticket)
            yield place
            try:
                async with asyncio.timeout(pulse * min(SELDOM, max(1.0, place.place / NEAR))):
                    await ticket.turn.wait()
            except TimeoutError:
                continue
        if ticket.since is None:
            raise Busy(ticket.refused or CLOSING)

    def shut(self) -> None:
        """Let nobody in from now on, and tell those who wait. Whoever runs goes on."""
        self._shut = True
        for ticket in self._order:
            ticket.turn.set()

    @property
    def closing(self) -> bool:
        """Whether it is shut."""
        return self._shut

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._order)

    def sooner(self, session: str | None, job: str) -> None:
        """Let a job that waits come before the session's others. Nobody else's turn changes."""
        if line := self._lines.get(session):
            line.waiting = deque(sorted(line.waiting, key=lambda ticket: ticket.job != job))
            self._advance()

    def leave(self, ticket: Ticket) -> None:
        """Give the ticket back, whether its job has run or not; a second time does nothing."""
        line = self._lines.get(ticket.session)
        if line is None:
            return
        if ticket in self._running:
            self._running.remove(ticket)
            line.running -= 1
        elif ticket in line.waiting:
            line.waiting.remove(ticket)
        if not line.waiting and not line.running:
            del self._lines[ticket.session]
            if not any(other.address == line.address for other in self._lines.values()):
                del self._served[line.address]
        self._advance()

    def place(self, ticket: Ticket) -> Position:
        """Where a waiting ticket stands now."""
        ahead = self._order.index(ticket)
        seconds = self._rest() + sum(t.seconds for t in self._order[:ahead]) / self.at_once
        return Position(ahead + 1, round(seconds, 1))

    def estimate(self, session: str | None) -> Position:
        """Where a job would stand that the session sent now; 0 begins at once. Raises Busy as `enter` does."""
        if len(self._running) < self.at_once and not self._shut:
            return Position(0, 0.0)
        # Nobody loses a place for a question. It enters and leaves before anybody else can.
        self._admit(session, again=False)
        ticket = self.enter(session, 0.0, again=True)
        place = self.place(ticket)
        self.leave(ticket)
        return place

    def status(self) -> dict:
        """How many jobs wait and run, and in how many seconds all of them should be done."""
        backlog = self._rest() + sum(t.seconds for t in self._order) / self.at_once
        return {"waiting": self.waiting, "running": len(self._running), "expected_seconds": round(backlog, 1)}

    def _rest(self) -> float:
        now = self._clock()
        passed = ((t.seconds, now - (now if t.since is None else t.since)) for t in self._running)
        return sum((max(0.0, seconds - since) for seconds, since in passed), 0.0) / self.at_once

    def _advance(self) -> None:
        self._order = self._turns_to_come()
        while self._order and len(self._running) < self.at_once and not self._shut:
            ticket = self._order.pop(0)
            line = self._lines[ticket.session]
            line.waiting.popleft()
            self._turns += 1
            line.served, line.running = self._turns, line.running + 1
            self._served[line.address] = self._turns
            ticket.since = self._clock()
            self._running.append(ticket)
            ticket.turn.set()

    def _admit(self, session: str | None, again: bool) -> Ticket | None:
        """The ticket that gives its place up for the one that enters, if one does. Raises Busy."""
        if self._shut:
            raise Busy(CLOSING)
        if again or len(self._running) < self.at_once:
            return None
        line = self._lines.get(session)
        come_back = f"try again in about {max(1, math.ceil(self._rest()))} s"
        full = len(self._order) >= self.places
        bumped = self._one_too_many(line.address if line else client_address.get()) if full else None
        if full and not bumped:
            raise Busy(f"All {self.places} places in the queue are taken; {come_back}.")
        if line and len(line.waiting) >= self.places_per_session:
            raise Busy(f"{self.places_per_session} of your pictures are waiting already; {come_back}.")
        return bumped

    def _one_too_many(self, address: str) -> Ticket | None:
        """The last job of the address that has most, if that has two more than this one."""
        waiting = Counter(ticket.address for ticket in self._order)
        most, number = waiting.most_common(1)[0]
        if number < waiting[address] + 2:
            return None
        return next(ticket for ticket in reversed(self._order) if ticket.address == most)

    def _refuse(self, ticket: Ticket) -> None:
        ticket.refused = BUMPED
        self.leave(ticket)
        ticket.turn.set()

    def _turns_to_come(self) -> list[Ticket]:
        addresses: dict[str, list[tuple[int, Iterable[Ticket]]]] = {}
        for line in self._lines.values():
            if line.waiting:
                addresses.setdefault(line.address, []).append((line.served, line.waiting))
        lines = [(self._served[address], in_turns(lines, self._turns)) for address, lines in addresses.items()]
        return in_turns(lines, self._turns)


def in_turns(lines: Iterable[tuple[int, Iterable[Ticket]]], turn: int) -> list[Ticket]:
    """The tickets of lines in the order in which they come, by the turns that each line had last; `turn` was now."""
    waiting = [(served, i, iter(line)) for i, (served, line) in enumerate(lines)]
    heapq.heapify(waiting)
    order = []
    while waiting:
        _, i, line = waiting[0]
        if ticket := next(line, None):
            order.append(ticket)
            turn += 1
            heapq.heapreplace(waiting, (turn, i, line))
        else:
            heapq.heappop(waiting)
    return order
