"""What visitors bring: adapters that only their session sees, in bounded space, gone when the session is."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lora.adapter import Adapter
from lora.errors import OutOfSpace
from lora.scratch import scratch_folder

PURPOSE = "adapters"
# Sessions that have brought nothing themselves: a call without a session has a new one each time.
MOST_BORROWERS = 1000


@dataclass(frozen=True)
class Bounds:
    """Bytes of one file, adapters of one session, bytes of all sessions.

    A session's adapters go when it has not used them for `idle_seconds`, and when room is needed for `spare_seconds`.
    """

    file_bytes: int = 1024 * 2**20
    per_session: int = 16
    total_bytes: int = 4 * 2**30
    idle_seconds: float = 7200.0
    spare_seconds: float = 600.0


@dataclass
class Shelf:
    """One session's adapters by id, and the bytes in each of its folders, those still being filled among them.

    `lent` are adapters whose files are somewhere else, and are not deleted with it.
    """

    used: float
    adapters: dict[str, Adapter] = field(default_factory=dict)
    folders: dict[Path, int] = field(default_factory=dict)
    lent: tuple[Adapter, ...] = ()

    @property
    def bytes(self) -> int:
        """All that is on it."""
        return sum(self.folders.values())

    @property
    def filling(self) -> bool:
        """Whether a file is on its way."""
        return len(self.folders) > len(self.adapters)


class PrivateAdapters:
    """The shelves of all sessions. Thread-safe. Old ones are looked for at each use: nothing runs in between."""

    def __init__(
        self, bounds: Bounds | None = None, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ):
        """Files go into `folder`, or else into a temporary one that only this user can read (mode 0700)."""
        self.bounds = bounds or Bounds()
        self._root = folder or scratch_folder(PURPOSE)
        self._clock = clock
        self._lock = threading.Lock()
        self._shelves: dict[str, Shelf] = {}

    def count(self) -> dict[str, int]:
        """How many there are, and their bytes."""
        with self._lock:
            shelves = list(self._shelves.values())
            return {"own": sum(len(shelf.adapters) for shelf in shelves),
                    "own_bytes": sum(shelf.bytes for shelf in shelves)}  # fmt: skip

    def all(self, session: str) -> tuple[Adapter, ...]:
        """The session's adapters, the oldest first, and then those that it was lent."""
        with self._lock:
            shelf = self._used(session)
            return (*shelf.adapters.values(), *shelf.lent) if shelf else ()

    def lend(self, session: str, adapters: tuple[Adapter, ...]) -> None:
        """Put adapters on the session's shelf whose files stay where they are, in place of those lent before."""
        with self._lock:
            shelf = self._used(session)
            if shelf is None and adapters:
                borrowers = [name for name, each in self._shelves.items() if not each.folders]
                if len(borrowers) >= MOST_BORROWERS:
                    self._forget(min(borrowers, key=lambda name: self._shelves[name].used))
                shelf = self._shelves.setdefault(session, Shelf(self._clock()))
            if shelf:
                shelf.lent = adapters

    @contextmanager
    def reserve(self, session: str, size: int) -> Iterator[Path]:
        """A new folder for `size` bytes; deleted at the end unless an adapter in it was kept. Raises OutOfSpace."""
        folder = self._reserve(session, size)
        try:
            yield folder
        finally:
            with self._lock:
                shelf = self._shelves.get(session)
                if not (shelf and any(adapter.path.parent == folder for adapter in shelf.adapters.values())):
                    self._delete(folder)
                    if shelf:
                        shelf.folders.pop(folder, None)

    def keep(self, adapter: Adapter, session: str) -> Adapter:
        """Put an adapter on the shelf whose file is in a place of that session; of equal files the first is kept."""
        with self._lock:
            shelf = self._used(session)
            if shelf is None or adapter.path.parent not in shelf.folders:
                raise OutOfSpace("The session has ended; load the page again.")
            same = next((known for known in shelf.adapters.values() if known.sha256 == adapter.sha256), None)
            if same is None:
                shelf.adapters[adapter.id] = adapter
            return same or adapter

    def forget(self, session: str) -> None:
        """Delete all that a session brought."""
        with self._lock:
            self._forget(session)

    def _reserve(self, session: str, size: int) -> Path:
        bounds = self.bounds
        if size > bounds.file_bytes:
            raise OutOfSpace(f"The file has {megabytes(size)}; up to {megabytes(bounds.file_bytes)} are taken.")
        with self._lock:
            shelf = self._used(session)
            if shelf and len(shelf.folders) >= bounds.per_session:
                raise OutOfSpace(
                    f"You have brought {bounds.per_session} adapters, as many as are taken; load the page again to "
                    f"begin anew."
                )
            self._make_room(session, size)
            if not self._root.is_dir():
                # A cleaner of the system was here. Under a new name: by now anybody may have taken the old one.
                self._root = scratch_folder(PURPOSE)
            folder = Path(tempfile.mkdtemp(dir=self._root))
            self._shelves.setdefault(session, Shelf(self._clock())).folders[folder] = size
            return folder

    def _make_room(self, session: str, size: int) -> None:
        spare = sorted(
            (shelf.used, name)
            for name, shelf in self._shelves.items()
            if name != session and not shelf.filling and self._clock() - shelf.used > self.bounds.spare_seconds
        )
        while sum(shelf.bytes for shelf in self._shelves.values()) + size > self.bounds.total_bytes:
            # Then whoever has more than this one will have: nobody is refused for what another has brought.
            wanted = size + (self._shelves[session].bytes if session in self._shelves else 0)
            shelves = ((shelf.bytes, name) for name, shelf in self._shelves.items() if not shelf.filling)
            most, largest = max((shelf for shelf in shelves if shelf[1] != session), default=(0, ""))
            if not spare and most <= wanted:
                raise OutOfSpace(
                    f"The {megabytes(self.bounds.total_bytes)} for visitors' adapters are taken; try again later."
                )
            self._forget(spare.pop(0)[1] if spare else largest)

    def _used(self, session: str) -> Shelf | None:
        """The session's shelf, used now; those that nobody has used for long are cleared."""
        now = self._clock()
        if session in self._shelves:
            self._shelves[session].used = now
        for name, each in list(self._shelves.items()):
            if now - each.used > self.bounds.idle_seconds and not each.filling:
                self._forget(name)
        if shelf := self._shelves.get(session):
            shelf.lent = tuple(adapter for adapter in shelf.lent if adapter.path.is_file())
            for adapter in list(shelf.adapters.values()):
                # A cleaner of the system has taken it.
                if not adapter.path.is_file():
                    del shelf.adapters[adapter.id]
                    del shelf.folders[adapter.path.parent]
                    self._delete(adapter.path.parent)
        return shelf

    def _forget(self, session: str) -> None:
        shelf = self._shelves.pop(session, Shelf(0))
        # What is still being filled is deleted by whoever fills it.
        for adapter in shelf.adapters.values():
            self._delete(adapter.path.parent)

    @staticmethod
    def _delete(folder: Path) -> None:
        # Errors are no news here: the system's own cleaner may have been there first.
        shutil.rmtree(folder, ignore_errors=True)


def megabytes(size: int) -> str:
    """A size in words."""
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size / 2**10:.1f} KB"
