"""Whose turn it is: addresses take turns, and at the turn of an address its sessions do. Knows no clock and no job."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

Job = TypeVar("Job")
# Whoever takes turns: `served` is the number of the turn that it had last, `waiting` how many jobs it has.
Member = TypeVar("Member", bound="Address | Line")


class Rounds(Generic[Member, Job]):
    """Members that have jobs, and by iteration all their jobs in the order of their turns.

    The member comes first whose last turn is longest ago, of several the one with the lowest number. A turn puts it
    behind all others, so the same order comes round again, each time without those that have no job left.

    It is kept in sorted lists and never made anew, so a member must be removed before any of its numbers changes, and
    added when it has. A heap could neither delete one nor say how many are before it.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._order: list[tuple[int, int, Member]] = []
        # Those with most jobs first, of several in the order of their turns.
        self._most: list[tuple[int, int, int, Member]] = []

    def __iter__(self) -> Iterator[Job]:
        return in_rounds(iter(member) for _, _, member in self._order)

    def add(self, member: Member) -> None:
        """Let it take turns; one that has no jobs does not."""
        if member.waiting:
            self.waiting += member.waiting
            insort(self._order, (member.served, member.number, member))
            insort(self._most, (-member.waiting, member.served, member.number, member))

    def remove(self, member: Member) -> None:
        """Let it take no more turns; nothing happens where it has no jobs."""
        if member.waiting:
            self.waiting -= member.waiting
            del self._order[bisect_left(self._order, (member.served, member.number))]
            del self._most[bisect_left(self._most, (-member.waiting, member.served, member.number))]

    @property
    def first(self) -> Member:
        """Whose turn is next."""
        return self._order[0][-1]

    @property
    def longest(self) -> Member:
        """Who has most jobs, of several whose turn is next."""
        return self._most[0][-1]

    @property
    def last(self) -> Job:
        """The job that comes after all others: that of the last turn in the last round."""
        return self._most[self._in_round(self.longest.waiting - 1) - 1][-1].last

    def ahead(self, member: Member, own: int) -> int:
        """How many jobs come before a member's job that comes after so many of its own.

        Exact for its next one. For later ones it is estimated, as if those who are in that round were spread evenly
        over all, for to count those before it would be to ask each.
        """
        before = bisect_left(self._order, (member.served, member.number))
        beside = i = self._in_round(own)
        turns = beside * own
        # Those who have no turn in that round have had all of theirs. Whoever had as many counts at once.
        while i < len(self._most):
            had = self._most[i][-1].waiting
            as_many = self._in_round(had - 1) - i
            turns += as_many * had
            i += as_many
        return turns + before * beside // len(self._order)

    def _in_round(self, i: int) -> int:
        """How many have a turn in a round, for which they must have more jobs than its number; the next one is 0."""
        return bisect_left(self._most, (-i,))


class Address(Rounds["Line[Job]", Job]):
    """The sessions of one address. Of several addresses the one comes first whose next session did."""

    def __init__(self, name: str, served: int):
        super().__init__()
        self.name = name
        self.served = served
        # Those with it that run too.
        self.sessions = 0

    @property
    def number(self) -> int:
        """That of the session whose turn is next."""
        return self.first.number


@dataclass(eq=False)
class Line(Generic[Job]):
    """The jobs of one session: those that wait, and how many run. `number` says when it came."""

    address: Address[Job]
    served: int
    number: int
    jobs: deque[Job] = field(default_factory=deque)
    running: int = 0

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.jobs)

    @property
    def last(self) -> Job:
        """The one that waits behind the others."""
        return self.jobs[-1]


def in_rounds(members: Iterable[Iterator[Job]]) -> Iterator[Job]:
    """One of each, then the next of each that has one, and so on. Asks nobody before its turn."""
    while members:
        left = []
        for jobs in members:
            for job in islice(jobs, 1):
                yield job
                left.append(jobs)
        members = left
