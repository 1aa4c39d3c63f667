"""Rows of SQLite and the files that they are about, so that neither is ever without the other.

A row is written when its files are on the disk, and goes before they do. So whenever the process is killed every row
has its files; files without a row are deleted at the next start. Only a database that has our tables can say so:
files beside another one, an empty one or none are damage, which is set aside in `damaged-<time>/`.
"""

import hashlib
import hmac
import itertools
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from lora.errors import AtelierError
from serving.disk import add_ballast, damage, damaged

# What every kind has: the key that addresses are signed with.
SECRET = "CREATE TABLE secret (key BLOB NOT NULL)"
log = logging.getLogger(__name__)


class KeptFiles:
    """Files of one kind of all owners. Thread-safe, and safe beside another process on the same folder.

    A kind says the names of its database, of the folder of its files and of the table of its rows; how a file of ours
    is called, finished or not; its tables, beside SECRET, as its first version had them; what the log calls all of it;
    and what is told of damage, as which error. A row's `files` are the bytes of each file by its name, as JSON.
    """

    DATABASE: ClassVar[str]
    FILES: ClassVar[str]
    ROWS: ClassVar[str]
    OURS: ClassVar[re.Pattern[str]]
    TABLES: ClassVar[Sequence[str]]
    WHOLE: ClassVar[str]
    DAMAGED: ClassVar[str]
    ERROR: ClassVar[type[AtelierError]]

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        """Open or make the folder. Raises OSError or sqlite3.Error where nothing can be written there."""
        self.notice = ""
        self.files = folder / self.FILES
        self._folder, self._clock = folder, clock
        self._lock = threading.RLock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.Error as error:
            if not damaged(error):
                raise
            self._set_aside()
        # Found damaged on the way, it has been set aside.
        with suppress(self.ERROR):
            self._sweep()

    def signature(self, owner: str, name: str) -> str:
        """What proves that this server told an owner of that file."""
        return hmac.new(self._key, f"{owner}/{name}".encode(), hashlib.sha256).hexdigest()[:40]

    def proves(self, key: str, owner: str, name: str) -> bool:
        """Whether it is that signature; how long it takes does not tell how much of it is right."""
        return hmac.compare_digest(self.signature(owner, name).encode(), key.encode())

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self.db.close()

    @contextmanager
    def rows(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The database, in a transaction if it is written to. One that turns out to be damaged is set aside.

        Raises the kind's error then.
        """
        with self._lock:
            try:
                if write:
                    self.db.execute("BEGIN IMMEDIATE")
                yield self.db
                if write:
                    self.db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self.db.rollback()
                if damaged(error):
                    self._set_aside()
                    raise self.ERROR(self.DAMAGED) from error
                raise

    def _upgrade(self, db: sqlite3.Connection) -> None:
        """Make tables of any version into today's, in the caller's transaction."""

    def _mend(self, db: sqlite3.Connection, row: sqlite3.Row, bad: set[str]) -> dict[str, int]:
        """Take files out of a row that are not there, or not as they were written; what is left of it."""
        raise NotImplementedError

    def _outdated(self, db: sqlite3.Connection) -> set[str]:
        """Take out the rows that are too old at a start; their files."""
        return set()

    def _open(self) -> None:
        self.files.mkdir(mode=0o700, exist_ok=True)
        self.db = sqlite3.connect(self._folder / self.DATABASE, timeout=10, isolation_level=None,
                                  check_same_thread=False)  # fmt: skip
        self.db.row_factory = sqlite3.Row
        # Before anything is written to it.
        if not (_is_blank(self.db) or self._is_ours()):
            raise damage("not our tables")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        if self.db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise damage("quick_check")
        # Under the write lock: whoever else is starting here makes either all of it or nothing.
        self.db.execute("BEGIN IMMEDIATE")
        if _is_blank(self.db):
            if self._there():
                raise damage("files without their database")
            self._make(self.db)
        self._upgrade(self.db)
        self.db.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT * FROM secret)", [os.urandom(32)])
        self.db.execute("COMMIT")
        self._key = self.db.execute("SELECT key FROM secret").fetchone()[0]
        add_ballast(self._folder / "ballast")

    def _make(self, db: sqlite3.Connection) -> None:
        for statement in (*self.TABLES, SECRET):
            db.execute(statement)

    def _is_ours(self) -> bool:
        """Whether it has our tables, of this version or an earlier one."""
        with closing(sqlite3.connect(":memory:")) as first:
            self._make(first)
            return columns(self.db) >= columns(first)

    def _there(self) -> dict[str, int]:
        """The files of ours in the folder, with their bytes."""
        found = {}
        for path in self.files.iterdir():
            # What another process has not finished may be gone, or have its name, by now.
            with suppress(FileNotFoundError):
                if self.OURS.fullmatch(path.name):
                    found[path.name] = path.stat().st_size
        return found

    def _sweep(self) -> None:
        """Make rows and files agree: delete files without a row, set aside those that are not what was written."""
        # Under the write lock: another process may be between a file and its row.
        with self.rows(write=True) as db:
            there, known, aside = self._there(), set[str](), None
            for row in db.execute(f"SELECT * FROM {self.ROWS}").fetchall():
                files = json.loads(row["files"])
                bad = {name for name, size in files.items() if there.get(name) != size}
                if bad:
                    aside = aside or self._aside()
                    for name in bad & set(there):
                        os.replace(self.files / name, aside / name)
                    files = self._mend(db, row, bad)
                known |= set(files)
            old = self._outdated(db)
        self._unlink((set(there) - known) | old)

    def _set_aside(self) -> None:
        with suppress(AttributeError):
            self.db.close()
        aside = self._aside()
        # The files first: whenever the process is killed, the next start sees them gone or the damage again.
        for name in (self.FILES, self.DATABASE, f"{self.DATABASE}-wal", f"{self.DATABASE}-shm"):
            if (self._folder / name).exists():
                os.replace(self._folder / name, aside / name)
        self._open()

    def _aside(self) -> Path:
        """A new folder for what is damaged, and the notice of it."""
        name = time.strftime("damaged-%Y%m%d-%H%M%S", time.localtime(self._clock()))
        for more in itertools.chain([""], (f"-{i}" for i in itertools.count(2))):
            with suppress(FileExistsError):
                (folder := self._folder / f"{name}{more}").mkdir(mode=0o700)
                break
        self.notice = self.DAMAGED
        log.warning("%s is damaged; the damaged part is set aside in %s", self.WHOLE, folder.name)
        return folder

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self.files / name).unlink(missing_ok=True)


def columns(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """The columns of all tables, as (table, column)."""
    query = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.name NOT LIKE 'sqlite%'"
    return {tuple(row) for row in db.execute(query)}


def _is_blank(db: sqlite3.Connection) -> bool:
    """Whether there is nothing in it."""
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
