"""A fair queue: whoever sends twenty jobs waits for them, and nobody else does. Lives on one event loop."""

import asyncio
import math
import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count, islice

from lora.errors import Busy
from serving.turns import Address, Line, Rounds

# The first few hear their place at each pulse, others at a multiple of it that grows with their place.
NEAR, SELDOM = 2, 20
# So many are counted before they are told their place; for those behind them it may be estimated.
EXACT = 64
CLOSING = "The app is restarting; try again in a minute."
BUMPED = "The queue is full, and this was the last of many jobs from your address; try again in a minute."
# The address for which a task works. Sessions are made up as one likes, addresses are not.
client_address: ContextVar[str] = ContextVar("visitor", default="")
# The job of a page for which a task works, by which its visitor can name it here.
job_name: ContextVar[str] = ContextVar("job", default="")


@dataclass(eq=False)
class Ticket:
    """One job: who sent it, how many seconds it should run, and since when it has run; why it will not, if so; and
    whether it comes `last`, behind all that are not.
    """

    session: str | None
    seconds: float
    address: str = ""
    job: str = ""
    refused: str = ""
    last: bool = False
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    since: float | None = None


@dataclass(frozen=True)
class Position:
    """Where a waiting job stands: `place` 1 is next; its turn should come in `expected_seconds`."""

    place: int
    expected_seconds: float


class FairQueue:
    """Lets `at_once` jobs run and takes the others in turns over the sessions, at most `places` of them.

    A session's jobs keep their order. Of several sessions the one whose last turn is longest ago comes first; a new
    one stands before those that had a turn since it came and behind all others, so that nobody starves. Before that it
    is the same for addresses, so that many sessions of one have the turns of one; and where all places are taken,
    whose address has most of them gives one up for whose has fewer.

    Behind all of these stand, in the order in which they came, jobs that may rest for as long as others have any.
    """

    def __init__(
        self, places: int, places_per_session: int, at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ):
        self.places = places
        self.places_per_session = places_per_session
        self.at_once = at_once
        self._back_in = 0.0
        self._clock = clock
        self._lines: dict[str | None, Line[Ticket]] = {}
        # The addresses that have jobs, each with the turn that it had last.
        self._served: dict[str, Address[Ticket]] = {}
        self._order: Rounds[Address[Ticket], Ticket] = Rounds()
        self._numbers = count()
        self._turns = 0
        # Of all that wait.
        self._seconds = 0.0
        # The first that wait, with how many jobs and seconds are before each; None when that has changed.
        self._front: dict[Ticket, tuple[int, float]] | None = None
        self._resting: list[Ticket] = []
        # When each should be done that runs, and all of these sorted.
        self._running: dict[Ticket, float] = {}
        self._ends: list[float] = []
        self._shut = False

    def resize(self, at_once: int, back_in: float = 60.0) -> None:
        """Let so many jobs run at once from now on. More start those who are next, fewer stop nobody.

        With 0 no machine is there, and one should be in about `back_in` seconds: until then those who wait stay, and
        others are refused.
        """
        self.at_once, self._back_in = at_once, back_in
        self._advance()

    def enter(self, session: str | None, seconds: float, again: bool = False, last: bool = False) -> Ticket:
        """Join the queue; whoever enters must `leave`. Raises Busy when there is no place left, or no machine.

        `again`: a job of many parts has had a turn and stands behind all others for its next one. It is not refused,
        for its first parts would be lost; there are no more of those than jobs that run. `last`: it stands behind all
        others, those too that come after it, and takes no place of theirs.
        """
        if last:
            return self._rest_behind(session, seconds)
        if (bumped := self._admit(session, again)) is not None:
            self._refuse(bumped)
        line = self._lines.get(session)
        if line is None:
            name = client_address.get()
            address = self._served.setdefault(name, Address(name, self._turns - 1))
            address.sessions += 1
            line = self._lines[session] = Line(address, self._turns - 1, next(self._numbers))
        # A session that goes on from another address keeps its line.
        ticket = Ticket(session, seconds, line.address.name, job_name.get())
        with self._changing(line, seconds):
            line.jobs.append(ticket)
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
        for ticket in (*self._order, *self._resting):
            ticket.turn.set()

    @property
    def closing(self) -> bool:
        """Whether it is shut."""
        return self._shut

    @property
    def stalled(self) -> dict:
        """What those who wait are told beside their place: that no machine is there, where that is so."""
        return {} if self.at_once else {"stalled": True}

    @property
    def waiting(self) -> int:
        """How many jobs wait; those that rest behind them do not count."""
        return self._order.waiting

    def sooner(self, session: str | None, job: str) -> None:
        """Let a job that waits come before the session's others. Nobody else's turn changes."""
        if line := self._lines.get(session):
            with self._changing(line):
                line.jobs = deque(sorted(line.jobs, key=lambda ticket: ticket.job != job))

    def leave(self, ticket: Ticket) -> None:
        """Give the ticket back, whether its job has run or not; a second time does nothing."""
        ran = ticket in self._running
        if ran:
            del self._ends[bisect_left(self._ends, self._running.pop(ticket))]
        if ticket in self._resting:
            self._resting.remove(ticket)
        line = None if ticket.last else self._lines.get(ticket.session)
        if line is None:
            return self._advance()
        if ran:
            line.running -= 1
        elif ticket in line.jobs:
            with self._changing(line, -ticket.seconds):
                line.jobs.remove(ticket)
        if not line.jobs and not line.running:
            del self._lines[ticket.session]
            line.address.sessions -= 1
            if not line.address.sessions:
                del self._served[line.address.name]
        self._advance()

    def place(self, ticket: Ticket) -> Position:
        """Where a waiting ticket stands now.

        The place of the first `EXACT`, and of the next job of each address, is exact; that of others is estimated. The
        seconds before the first are added up, those before others taken from the mean.
        """
        if ticket.last:
            before_it = self._resting[: self._resting.index(ticket)]
            seconds = self._seconds + sum(each.seconds for each in before_it)
            return Position(self.waiting + len(before_it) + 1, self._expected(seconds))
        if self._front is None:
            self._front, before = {}, 0.0
            for i, each in enumerate(islice(self._order, EXACT)):
                self._front[each] = i, before
                before += each.seconds
        if ticket in self._front:
            ahead, seconds = self._front[ticket]
        else:
            line = self._lines[ticket.session]
            own = line.address.ahead(line, line.jobs.index(ticket))
            ahead = max(EXACT, self._order.ahead(line.address, own))
            seconds = self._seconds * ahead / self.waiting
        return Position(ahead + 1, self._expected(seconds))

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
        expected = self._expected(self._seconds)
        return {"waiting": self.waiting, "running": len(self._running), "expected_seconds": expected}

    def _expected(self, seconds: float) -> float:
        """In how many seconds the running jobs and so many seconds of waiting ones should be done.

        While no machine is there it is as if one came when it should.
        """
        away = self._back_in if self.waiting and not self.at_once else 0.0
        # Rounding may leave a little less than nothing.
        return round(away + max(0.0, self._rest() + seconds) / max(1, self.at_once), 1)

    def _rest(self) -> float:
        """How many seconds the running jobs still need together; one that should be done needs none."""
        now = self._clock()
        ends = self._ends[bisect_right(self._ends, now) :]
        return sum(ends) - now * len(ends)

    @contextmanager
    def _changing(self, line: Line[Ticket], seconds: float = 0.0) -> Iterator[None]:
        """Takes a line out of the order while its jobs change, which become so many seconds more."""
        address = line.address
        self._order.remove(address)
        address.remove(line)
        yield
        address.add(line)
        self._order.add(address)
        # What rounding has left over goes when nobody waits.
        self._seconds = self._seconds + seconds if self.waiting else 0.0
        self._front = None

    def _advance(self) -> None:
        while self.waiting and len(self._running) < self.at_once and not self._shut:
            line = self._order.first.first
            ticket = line.jobs[0]
            with self._changing(line, -ticket.seconds):
                line.jobs.popleft()
                self._turns += 1
                line.served = line.address.served = self._turns
            line.running += 1
            self._begin(ticket)
        while self._resting and not self.waiting and len(self._running) < self.at_once and not self._shut:
            self._begin(self._resting.pop(0))

    def _begin(self, ticket: Ticket) -> None:
        ticket.since = self._clock()
        self._running[ticket] = ticket.since + ticket.seconds
        insort(self._ends, self._running[ticket])
        ticket.turn.set()

    def _rest_behind(self, session: str | None, seconds: float) -> Ticket:
        if self._shut:
            raise Busy(CLOSING)
        ticket = Ticket(session, seconds, client_address.get(), job_name.get(), last=True)
        of_address = sum(each.address == ticket.address for each in self._resting)
        if len(self._resting) >= self.places or of_address >= self.places_per_session:
            raise Busy(f"Too many are live at once; {come_back(self._rest() / max(1, self.at_once))}.")
        self._resting.append(ticket)
        self._advance()
        return ticket

    def _admit(self, session: str | None, again: bool) -> Ticket | None:
        """The ticket that gives its place up for the one that enters, if one does. Raises Busy."""
        if self._shut:
            raise Busy(CLOSING)
        if again or len(self._running) < self.at_once:
            return None
        if not self.at_once:
            raise Busy(f"No machine is there to paint just now; {come_back(self._back_in)}.")
        line = self._lines.get(session)
        later = come_back(self._rest() / self.at_once)
        full = self.waiting >= self.places
        bumped = self._one_too_many(line.address.name if line else client_address.get()) if full else None
        if full and not bumped:
            raise Busy(f"All {self.places} places in the queue are taken; {later}.")
        if line and line.waiting >= self.places_per_session:
            raise Busy(f"{self.places_per_session} of your pictures are waiting already; {later}.")
        return bumped

    def _one_too_many(self, name: str) -> Ticket | None:
        """The last job of the address that has most, if that has two more than this one."""
        most, own = self._order.longest, self._served.get(name)
        return most.last if most.waiting >= (own.waiting if own else 0) + 2 else None

    def _refuse(self, ticket: Ticket) -> None:
        ticket.refused = BUMPED
        self.leave(ticket)
        ticket.turn.set()


def come_back(seconds: float) -> str:
    """When to try again, in words."""
    return f"try again in about {max(1, math.ceil(seconds))} s"
