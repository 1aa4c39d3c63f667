"""Which replica paints which adapter mix: the one where it is on, so that little is switched and little moved.

Knows no clock, no network and no model. Whoever asks says what came, went, began and ended; the same calls have the
same answers.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job", bound=Hashable)

# Bytes of adapters that a replica is taken to keep; the least recently used ones go first.
ROOM = 8 * 2**30


@dataclass(frozen=True)
class Mix:
    """Adapters at weights, by their digest; `adapters` are (hash, bytes) of each file that it needs."""

    digest: str
    adapters: tuple[tuple[str, int], ...] = ()


@dataclass
class Figures:
    """`hits` found their mix on, `misses` did not; `moved` bytes of adapters were not where they were needed."""

    hits: int = 0
    misses: int = 0
    moved: int = 0

    def public(self) -> dict[str, int]:
        """For callers."""
        return asdict(self)


@dataclass
class Replica:
    """What one has: the mix that is on, the adapters that are there with their bytes, the number of its last job."""

    on: str | None = None
    adapters: OrderedDict[str, int] = field(default_factory=OrderedDict)
    bytes: int = 0
    used: int = 0
    busy: bool = False

    def lacks(self, mix: Mix) -> int:
        """The bytes that it would have to be sent."""
        return sum(size for name, size in mix.adapters if name not in self.adapters)

    def take(self, mix: Mix, room: int) -> None:
        """Put a mix on; of the adapters that it does not need the least recently used go where `room` is short."""
        self.on = mix.digest
        for name, size in mix.adapters:
            if self.adapters.pop(name, None) is None:
                self.bytes += size
            self.adapters[name] = size
        while self.bytes > room and len(self.adapters) > len(mix.adapters):
            self.bytes -= self.adapters.popitem(last=False)[1]


class Routing:
    """Sends a mix to an idle replica that has it on, else to the one that lacks fewest bytes of it, of several to the
    longest unused one.

    Nobody waits for a busy replica while another idles, so a hot mix spreads; and of the replicas that have it on the
    latest used one takes it, so those that it does not need any more become the longest unused ones. Where all are
    busy there is no choice, and `Window` finds the job for the replica instead.
    """

    def __init__(self, room: int = ROOM):
        self.figures = Figures()
        self._room = room
        self._replicas: dict[str, Replica] = {}
        # The longest unused one first.
        self._idle: dict[str, None] = {}
        # The replicas that have a mix on, in the order in which they took it.
        self._on: dict[str, dict[str, None]] = {}
        self._choices = 0

    @property
    def idle(self) -> Iterable[str]:
        """The replicas that nobody uses."""
        return self._idle.keys()

    def on(self, replica: str) -> str | None:
        """The digest of the mix that a replica has on."""
        return self._replicas[replica].on

    def come(self, replica: str) -> None:
        """A replica is there, idle and with nothing on. Raises ValueError where one of that name is there already.

        One that comes back needs another name wherever somebody may still say `done` of what it painted before.
        """
        if replica in self._replicas:
            raise ValueError(f"{replica} is there already.")
        self._replicas[replica] = Replica()
        self._idle[replica] = None

    def go(self, replica: str) -> None:
        """A replica is gone with all that it had; one that is gone already stays so."""
        if gone := self._replicas.pop(replica, None):
            self._idle.pop(replica, None)
            self._off(replica, gone)

    def choose(self, mix: Mix) -> str | None:
        """The replica that shall paint it, busy with it until `done`; None where all are busy."""
        if not self._idle:
            return None
        name = self._choice(mix)
        replica = self._replicas[name]
        self._choices += 1
        if replica.on == mix.digest:
            self.figures.hits += 1
        else:
            self.figures.misses += 1
            self.figures.moved += replica.lacks(mix)
            self._off(name, replica)
            self._on.setdefault(mix.digest, {})[name] = None
        replica.take(mix, self._room)
        replica.busy, replica.used = True, self._choices
        del self._idle[name]
        return name

    def done(self, replica: str) -> None:
        """A replica is idle again and has on what it painted; one that is gone stays so."""
        if (there := self._replicas.get(replica)) and there.busy:
            there.busy = False
            self._idle[replica] = None

    def _choice(self, mix: Mix) -> str:
        """Of the idle replicas."""
        ready = [name for name in self._on.get(mix.digest, ()) if name in self._idle]
        if ready:
            return max(ready, key=lambda name: self._replicas[name].used)
        return min(self._idle, key=lambda name: self._replicas[name].lacks(mix))

    def _off(self, name: str, replica: Replica) -> None:
        if replica.on is not None:
            holders = self._on[replica.on]
            del holders[name]
            if not holders:
                del self._on[replica.on]


class Window(Generic[Job]):
    """The jobs whose turn has come: a replica that becomes idle takes the first whose mix it has on, else the first.

    A queue fills it that lets more jobs have their turn at once than there are replicas. What that costs in fairness:
    a newcomer stands behind all that are in here, and is overtaken by at most `patience` others.
    """

    def __init__(self, routing: Routing, patience: int):
        self._routing = routing
        self._patience = patience
        # Each job with the number of those that had started when it came, and the jobs of each mix.
        self._jobs: OrderedDict[Job, tuple[Mix, int]] = OrderedDict()
        self._of_mix: dict[str, deque[Job]] = {}
        self._started = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def enter(self, job: Job, mix: Mix, again: bool = False) -> None:
        """A job's turn has come. `again`: its replica went while it painted; it is the first now."""
        mates = self._of_mix.setdefault(mix.digest, deque())
        if again:
            self._jobs[job] = mix, self._started - self._patience
            self._jobs.move_to_end(job, last=False)
            mates.appendleft(job)
        else:
            self._jobs[job] = mix, self._started
            mates.append(job)

    def leave(self, job: Job) -> None:
        """It will not be painted; nothing happens where it has started."""
        if found := self._jobs.pop(job, None):
            mates = self._of_mix[found[0].digest]
            mates.remove(job)
            if not mates:
                del self._of_mix[found[0].digest]

    def start(self) -> tuple[Job, str] | None:
        """The next job to start, and its replica; None while there is none of either. Call it until it says None."""
        if not self._jobs or not self._routing.idle:
            return None
        job = self._next()
        replica = self._routing.choose(self._jobs[job][0])
        assert replica is not None
        self.leave(job)
        self._started += 1
        return job, replica

    def _next(self) -> Job:
        first, (_, started) = next(iter(self._jobs.items()))
        if len(self._jobs) == 1 or self._started - started >= self._patience:
            return first
        ready = (self._of_mix[on][0] for r in self._routing.idle if (on := self._routing.on(r)) in self._of_mix)
        return next(ready, first)
