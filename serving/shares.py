"""Room that many use: bounded in all, and for each of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Shares:
    """Counts what is in use of `total`, at most `share` of it by one user. Lives on one event loop."""

    def __init__(self, total: int, share: int):
        self._total, self._share = total, share
        self._used: Counter[str] = Counter()

    def fits(self, who: str, amount: int) -> bool:
        """Whether there is room for `amount`."""
        return self._used[who] + amount <= self._share and self._used.total() + amount <= self._total

    @contextmanager
    def taken(self, who: str, amount: int) -> Iterator[bool]:
        """Whether there was room for `amount`; if so it is given back at the end."""
        if not self.fits(who, amount):
            yield False
            return
        self._used[who] += amount
        try:
            yield True
        finally:
            self._used[who] -= amount
            if not self._used[who]:
                del self._used[who]
