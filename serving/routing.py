"""Which replica paints which adapter mix: the one where it is on, so that little is switched and little moved.

Knows no clock, no network and no model. Whoever asks says what came, went, began and ended; the same calls have the
same answers.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

# Bytes of adapters that a replica is taken to keep; the least recently used ones go first.
ROOM = 8 * 2**30


@dataclass(frozen=True)
class Mix:
    """Adapters at weights, by their digest; `adapters` are (hash, bytes) of each file that it needs."""

    digest: str
    adapters: tuple[tuple[str, int], ...] = ()


@dataclass
class Replica:
    """What one has: the mix that is on, the adapters that are there with their bytes, the number of its last job."""

    on: str | None = None
    adapters: OrderedDict[str, int] = field(default_factory=OrderedDict)
    used: int = 0

    def lacks(self, mix: Mix) -> int:
        """The bytes that it would have to be sent."""
        return sum(size for name, size in mix.adapters if name not in self.adapters)

    def take(self, mix: Mix, room: int) -> None:
        """Put a mix on; of the adapters that it does not need the least recently used go where `room` is short."""
        self.on = mix.digest
        for name, size in mix.adapters:
            self.adapters[name] = size
            self.adapters.move_to_end(name)
        for _ in give_way(self.adapters, room, len(mix.adapters)):
            pass


def give_way(sizes: OrderedDict[str, int], room: int, needed: int) -> Iterator[str]:
    """Take out, and yield, the least recently used where their bytes are above `room`, but none of the last `needed`.

    Whoever keeps adapters keeps to it, so that the account of a replica's is true.
    """
    total = sum(sizes.values())
    while total > room and len(sizes) > needed:
        name, size = sizes.popitem(last=False)
        total -= size
        yield name


class Routing:
    """Sends a mix to an idle replica that has it on, else to the one that lacks fewest bytes of it, of several to the
    longest unused one.

    Nobody waits for a busy replica while another idles, so a hot mix spreads; and of the replicas that have it on the
    latest used one takes it, so those that it does not need any more become the longest unused ones.
    """

    def __init__(self, room: int = ROOM):
        self._room = room
        self._replicas: dict[str, Replica] = {}
        # The replicas that have a mix on, in the order in which they took it.
        self._on: dict[str, dict[str, None]] = {}
        self._choices = 0

    def on(self, replica: str) -> str | None:
        """The digest of the mix that a replica has on."""
        return self._replicas[replica].on

    def come(self, replica: str) -> None:
        """A replica is there with nothing on. Raises ValueError where one of that name is there already.

        One that comes back needs another name wherever somebody may still say `done` of what it painted before.
        """
        if replica in self._replicas:
            raise ValueError(f"{replica} is there already.")
        self._replicas[replica] = Replica()

    def go(self, replica: str) -> None:
        """A replica is gone with all that it had; one that is gone already stays so."""
        if gone := self._replicas.pop(replica, None):
            self._off(replica, gone)

    def best(self, mix: Mix, idle: Collection[str]) -> str:
        """Of these replicas, which idle and of which there is at least one, that which shall paint a mix; of several
        alike the first.
        """
        ready = [name for name in self._on.get(mix.digest, ()) if name in idle]
        if ready:
            return max(ready, key=lambda name: self._replicas[name].used)
        return min(idle, key=lambda name: self._replicas[name].lacks(mix))

    def used(self, replica: str) -> int:
        """How many jobs had begun anywhere when it began its last one."""
        return self._replicas[replica].used

    def lacks(self, replica: str, mix: Mix) -> int:
        """The bytes that a replica would have to be sent."""
        return self._replicas[replica].lacks(mix)

    def take(self, replica: str, mix: Mix) -> None:
        """A replica begins to paint a mix."""
        one = self._replicas[replica]
        self._choices += 1
        if one.on != mix.digest:
            self._off(replica, one)
            self._on.setdefault(mix.digest, {})[replica] = None
        one.take(mix, self._room)
        one.used = self._choices

    def _off(self, name: str, replica: Replica) -> None:
        if replica.on is not None:
            holders = self._on[replica.on]
            del holders[name]
            if not holders:
                del self._on[replica.on]
