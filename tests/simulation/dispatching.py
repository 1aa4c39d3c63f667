"""Jobs to simulated replicas by the real policy, where it is known who idles; and what could be done beside it."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from serving.routing import ROOM, Mix, Routing

Job = TypeVar("Job", bound=Hashable)


@dataclass
class Figures:
    """`hits` found their mix on, `misses` did not; `moved` bytes of adapters were not where they were needed."""

    hits: int = 0
    misses: int = 0
    moved: int = 0

    def public(self) -> dict[str, int]:
        """For callers."""
        return asdict(self)


class Dispatcher(Routing):
    """Sends each mix to the best of the replicas that idle; nobody waits for a busy one meanwhile."""

    def __init__(self, room: int = ROOM):
        super().__init__(room)
        self.figures = Figures()
        # The longest unused one first.
        self._idle: dict[str, None] = {}
        self._busy: set[str] = set()

    @property
    def idle(self) -> Iterable[str]:
        """The replicas that nobody uses."""
        return self._idle.keys()

    def come(self, replica: str) -> None:
        """See Routing; it is idle."""
        super().come(replica)
        self._idle[replica] = None

    def go(self, replica: str) -> None:
        """See Routing."""
        super().go(replica)
        self._idle.pop(replica, None)
        self._busy.discard(replica)

    def choose(self, mix: Mix) -> str | None:
        """The replica that shall paint it, busy with it until `done`; None where all are busy."""
        if not self._idle:
            return None
        name = self.best(mix, self._idle)
        if self.on(name) == mix.digest:
            self.figures.hits += 1
        else:
            self.figures.misses += 1
            self.figures.moved += self.lacks(name, mix)
        self.take(name, mix)
        self._busy.add(name)
        del self._idle[name]
        return name

    def done(self, replica: str) -> None:
        """A replica is idle again and has on what it painted; one that is gone stays so."""
        if replica in self._busy:
            self._busy.remove(replica)
            self._idle[replica] = None


class Window(Generic[Job]):
    """The jobs whose turn has come: a replica that becomes idle takes the first whose mix it has on, else the first.

    A queue fills it that lets more jobs have their turn at once than there are replicas. What that costs in fairness:
    a newcomer stands behind all that are in here, and is overtaken by at most `patience` others.
    """

    def __init__(self, dispatcher: Dispatcher, patience: int):
        self._dispatcher = dispatcher
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
        if not self._jobs or not self._dispatcher.idle:
            return None
        job = self._next()
        replica = self._dispatcher.choose(self._jobs[job][0])
        assert replica is not None
        self.leave(job)
        self._started += 1
        return job, replica

    def _next(self) -> Job:
        first, (_, started) = next(iter(self._jobs.items()))
        if len(self._jobs) == 1 or self._started - started >= self._patience:
            return first
        ready = (self._of_mix[on][0] for r in self._dispatcher.idle if (on := self._dispatcher.on(r)) in self._of_mix)
        return next(ready, first)
