"""Pictures as files, and a row of SQLite for each set of pictures that one job painted.

    DATA_DIR/history.sqlite3    the rows
    DATA_DIR/pictures/          <id>-<number>.png and, to look at in a list, <id>-<number>.webp
    DATA_DIR/damaged-<time>/    what could not be read any more, set aside

A row is written when its files are on the disk, and goes before they do. So whenever the process is killed every row
has its files; files without a row are deleted at the next start. Only a database that has our tables can say so:
pictures beside another one, an empty one or none are damage.
"""

import io
import itertools
import json
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora.errors import HistoryError, NotKept
from pipeline.metadata.marks import packet
from serving import history_tables as tables
from serving.disk import add_ballast, damage, damaged, full, put, sync
from serving.history_tables import FAVOURED

MB = 2**20
THUMBNAIL = 320
DAMAGED = "A part of the history here was damaged and has been set aside; what was in it is not shown any more."
FULL = "The picture was not kept in the history: there is no room left for it here. Save it to keep it."
# A file of ours, finished or not: its set's id, which is token_urlsafe(16), and its number.
OURS = re.compile(r"[\w-]{22}-\d+\.(png|webp)(\.part)?", re.ASCII)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoryLimits:
    """How much is kept: bytes of all files, pictures of one owner, and for how many days.

    The oldest give way, and favourites after all others: all of one's own, for others' those in half of the bytes.
    """

    total_bytes: int = 2048 * MB
    per_owner: int = 500
    days: float = 30.0


@dataclass(frozen=True)
class Addition:
    """What is new of a job: files by their names, and what the row of its set `id` says of all of it."""

    id: str
    owner: str
    job: str
    files: dict[str, bytes]
    painted: int
    details: dict


class PictureStore:
    """The pictures of all owners. Thread-safe, and safe beside another process on the same folder."""

    def __init__(self, folder: Path, limits: HistoryLimits, clock: Callable[[], float]):
        """Open or make the folder. Raises OSError or sqlite3.Error where nothing can be written there."""
        self.notice = ""
        self.pictures = folder / "pictures"
        self._folder, self._limits, self._clock = folder, limits, clock
        self._lock = threading.RLock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.Error as error:
            if not damaged(error):
                raise
            self._set_aside()
        # Found damaged on the way, it has been set aside.
        with suppress(HistoryError):
            self._sweep()

    def add(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> str:
        """Keep those of a job's PNG files that are new, and the details of all; the id of its set.

        Raises NotKept where there is no room, OSError, sqlite3.Error, or HistoryError for damage.
        """
        with self.rows() as db:
            query = "SELECT id, painted FROM sets WHERE owner = ? AND job = ? ORDER BY number DESC"
            identity, painted = db.execute(query, [owner, job]).fetchone() or (secrets.token_urlsafe(16), 0)
        files = {f"{identity}-{i}.png": data for i, data in enumerate(images) if i >= painted}
        files |= {name.replace(".png", ".webp"): _thumbnail(data) for name, data in files.items()}
        size = sum(map(len, files.values()))
        if size > self._limits.total_bytes:
            raise NotKept(FULL)
        new = Addition(identity, owner, job, files, len(images), details)
        try:
            self._write(new)
        except (OSError, sqlite3.Error, HistoryError) as error:
            # In place of a damaged database there is a new one by now.
            if not isinstance(error, HistoryError) and not (full(error) and self._make_room(2 * size)):
                raise
            self._write(new)
        add_ballast(self._folder / "ballast")
        return identity

    def remove(self, owner: str, identity: str, number: int | None = None) -> bool:
        """Delete a picture of an owner's set, or all of it; whether it was there."""
        with self.rows(write=True) as db:
            row = db.execute("SELECT * FROM sets WHERE owner = ? AND id = ?", [owner, identity]).fetchone()
            files = json.loads(row["files"]) if row else {}
            gone = {name for name in files if number is None or number_of(name) == number}
            if gone:
                self._shrink(db, row, gone)
        self._unlink(gone)
        return bool(gone)

    @property
    def key(self) -> bytes:
        """The database's own secret."""
        return self._key

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self.db.close()

    @contextmanager
    def rows(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The database, in a transaction if it is written to. One that turns out to be damaged is set aside.

        Raises HistoryError then.
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
                    raise HistoryError(DAMAGED) from error
                raise

    def _open(self) -> None:
        self.pictures.mkdir(mode=0o700, exist_ok=True)
        self.db = sqlite3.connect(
            self._folder / "history.sqlite3", timeout=10, isolation_level=None, check_same_thread=False
        )
        self.db.row_factory = sqlite3.Row
        # Before anything is written to it.
        if not (tables.is_blank(self.db) or tables.is_ours(self.db)):
            raise damage("not our tables")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        if self.db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise damage("quick_check")
        # Under the write lock: whoever else is starting here makes either all of it or nothing.
        self.db.execute("BEGIN IMMEDIATE")
        if tables.is_blank(self.db):
            if any(OURS.fullmatch(path.name) for path in self.pictures.iterdir()):
                raise damage("pictures without their database")
            tables.make(self.db)
        tables.upgrade(self.db)
        self.db.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT * FROM secret)", [os.urandom(32)])
        self.db.execute("COMMIT")
        self._key = self.db.execute("SELECT key FROM secret").fetchone()[0]
        add_ballast(self._folder / "ballast")

    def _sweep(self) -> None:
        """Make rows and files agree: delete files without a row, set aside those that are not what was written."""
        # Under the write lock: another process may be between a file and its row.
        with self.rows(write=True) as db:
            ours = (path for path in self.pictures.iterdir() if OURS.fullmatch(path.name))
            there = {path.name: path.stat().st_size for path in ours}
            known: set[str] = set()
            aside = None
            for row in db.execute("SELECT * FROM sets").fetchall():
                files = json.loads(row["files"])
                bad = {name for name, size in files.items() if there.get(name) != size}
                if bad:
                    aside = aside or self._aside()
                    for name in bad & set(there):
                        os.replace(self.pictures / name, aside / name)
                    numbers = set(map(number_of, bad))
                    files = self._shrink(db, row, {name for name in files if number_of(name) in numbers})
                known |= set(files)
            old = self._doomed(db, "created < ?", self._clock() - self._limits.days * 86400)
        self._unlink((set(there) - known) | old)

    def _write(self, new: Addition) -> None:
        try:
            with self.rows(write=True) as db:
                for name, data in new.files.items():
                    put(self.pictures / name, data)
                sync(self.pictures)
                row = db.execute("SELECT number, files FROM sets WHERE id = ?", [new.id]).fetchone()
                sizes = json.loads(row["files"]) if row else {}
                sizes |= {name: len(data) for name, data in new.files.items()}
                values = [tables.searched(new.details), json.dumps(new.details), json.dumps(sizes), len(sizes) // 2,
                          sum(sizes.values()), new.painted]  # fmt: skip
                if row:
                    number = row["number"]
                    columns = "words = ?, details = ?, files = ?, pictures = ?, bytes = ?, painted = ?"
                    db.execute(f"UPDATE sets SET {columns} WHERE number = ?", [*values, number])
                else:
                    number = db.execute(
                        "INSERT INTO sets (words, details, files, pictures, bytes, painted, id, owner, job, created) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        [*values, new.id, new.owner, new.job, self._clock()],
                    ).lastrowid
                doomed = self._evict(db, new.owner, number)
        except BaseException:
            self._unlink(new.files)
            raise
        self._unlink(doomed)

    def _evict(self, db: sqlite3.Connection, owner: str, newest: int | None) -> set[str]:
        """Take out the rows above the bounds, never the newest; their files are the caller's to delete."""
        old, limits = self._clock() - self._limits.days * 86400, self._limits
        return (
            self._doomed(db, "created < ? AND number <> ?", old, newest)
            | self._above(db, "pictures", limits.per_owner, limits.per_owner, newest, owner)
            # Else whoever calls all of theirs favourites would have all the room.
            | self._above(db, "bytes", limits.total_bytes, limits.total_bytes // 2, newest)
        )

    def _above(
        self, db: sqlite3.Connection, unit: str, most: int, favoured: int, newest: int | None, owner: str = ""
    ) -> set[str]:
        """Take out what is above `most` of a unit, the favourites in `favoured` of it last."""
        loved = f"{FAVOURED} AND sum({unit}) FILTER (WHERE {FAVOURED}) OVER (ORDER BY number DESC) <= {favoured}"
        ranked = f"SELECT number, {unit} AS amount, {loved} AS loved FROM sets WHERE ? IN (owner, '')"
        order = "number = ? DESC, loved DESC, number DESC"
        summed = f"SELECT number, sum(amount) OVER (ORDER BY {order}) AS upto FROM ({ranked})"
        above = f"number IN (SELECT number FROM ({summed}) WHERE upto > ?) AND number <> ?"
        return self._doomed(db, above, newest, owner, most, newest)

    def _doomed(self, db: sqlite3.Connection, which: str, *values: object) -> set[str]:
        rows = db.execute(f"SELECT number, files FROM sets WHERE {which}", values).fetchall()
        db.executemany("DELETE FROM sets WHERE number = ?", [[row["number"]] for row in rows])
        return {name for row in rows for name in json.loads(row["files"])}

    def _shrink(self, db: sqlite3.Connection, row: sqlite3.Row, gone: set[str]) -> dict[str, int]:
        """Take files out of a row, and the row with the last of them; what is left."""
        left = {name: size for name, size in json.loads(row["files"]).items() if name not in gone}
        if left:
            numbers = set(map(number_of, left))
            favourites = [number for number in json.loads(row["favourites"]) if number in numbers]
            values = [json.dumps(left), json.dumps(favourites), len(numbers), sum(left.values()), row["number"]]
            columns = "files = ?, favourites = ?, pictures = ?, bytes = ?"
            db.execute(f"UPDATE sets SET {columns} WHERE number = ?", values)
        else:
            db.execute("DELETE FROM sets WHERE number = ?", [row["number"]])
        return left

    def _make_room(self, size: int) -> bool:
        """The disk is full: give up the oldest sets, of `size` bytes at least. Whether there were any."""
        (self._folder / "ballast").unlink(missing_ok=True)
        with self.rows(write=True) as db:
            order = f"sum(bytes) OVER (ORDER BY {FAVOURED}, number) - bytes AS until"
            before = f"SELECT number FROM (SELECT number, {order} FROM sets) WHERE until < ?"
            doomed = self._doomed(db, f"number IN ({before})", size)
        self._unlink(doomed)
        return bool(doomed)

    def _set_aside(self) -> None:
        with suppress(AttributeError):
            self.db.close()
        aside = self._aside()
        # The pictures first: whenever the process is killed, the next start sees them gone or the damage again.
        for name in ("pictures", "history.sqlite3", "history.sqlite3-wal", "history.sqlite3-shm"):
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
        self.notice = DAMAGED
        log.warning("the history is damaged; the damaged part is set aside in %s", folder.name)
        return folder

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self.pictures / name).unlink(missing_ok=True)


def number_of(name: str) -> int:
    """The number of a picture, by the name of a file of it."""
    return int(Path(name).stem.rpartition("-")[2])


def _thumbnail(png: bytes) -> bytes:
    image, small = Image.open(io.BytesIO(png), formats=("PNG",)), io.BytesIO()
    xmp = image.info.get("xmp", packet())
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.convert("RGB").save(small, "WEBP", quality=80, xmp=xmp)
    return small.getvalue()
