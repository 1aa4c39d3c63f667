"""Pictures as files, and a row of SQLite for each set of pictures that one job painted.

    DATA_DIR/history.sqlite3    the rows
    DATA_DIR/pictures/          <id>-<number>.png and, to look at in a list, <id>-<number>.webp

How rows and files are held together says kept_files.py.
"""

import io
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora.errors import HistoryError, NotKept
from pipeline.metadata.marks import packet
from serving import history_tables as tables
from serving.disk import add_ballast, full, put, sync
from serving.history_tables import FAVOURED
from serving.kept_files import KeptFiles

MB = 2**20
THUMBNAIL = 320
DAMAGED = "A part of the history here was damaged and has been set aside; what was in it is not shown any more."
FULL = "The picture was not kept in the history: there is no room left for it here. Save it to keep it."


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


class PictureStore(KeptFiles):
    """The pictures of all owners."""

    DATABASE, FILES, ROWS = "history.sqlite3", "pictures", "sets"
    # A set's id, which is token_urlsafe(16), and a number.
    OURS = re.compile(r"[\w-]{22}-\d+\.(png|webp)(\.part)?", re.ASCII)
    TABLES, WHOLE, DAMAGED, ERROR = tables.TABLES, "the history", DAMAGED, HistoryError

    def __init__(self, folder: Path, limits: HistoryLimits, clock: Callable[[], float]):
        """Open or make the folder. Raises OSError or sqlite3.Error where nothing can be written there."""
        self._limits = limits
        super().__init__(folder, clock)

    def add(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> str:
        """Keep those of a job's PNG files that are new, and the details of all; the id of its set.

        Raises NotKept where there is no room, OSError, sqlite3.Error, or HistoryError for damage.
        """
        with self.rows() as db:
            query = "SELECT id, painted FROM sets WHERE owner = ? AND job = ? ORDER BY number DESC"
            identity, painted = db.execute(query, [owner, job]).fetchone() or (secrets.token_urlsafe(16), 0)
        files = {f"{identity}-{i}.png": data for i, data in enumerate(images) if i >= painted}
        files |= {name.replace(".png", ".webp"): thumbnail(data) for name, data in files.items()}
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

    def _upgrade(self, db: sqlite3.Connection) -> None:
        tables.upgrade(db)

    def _mend(self, db: sqlite3.Connection, row: sqlite3.Row, bad: set[str]) -> dict[str, int]:
        # A picture without its thumbnail is none.
        numbers = set(map(number_of, bad))
        return self._shrink(db, row, {name for name in json.loads(row["files"]) if number_of(name) in numbers})

    def _outdated(self, db: sqlite3.Connection) -> set[str]:
        return self._doomed(db, "created < ?", self._clock() - self._limits.days * 86400)

    def _write(self, new: Addition) -> None:
        try:
            with self.rows(write=True) as db:
                for name, data in new.files.items():
                    put(self.files / name, data)
                sync(self.files)
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


def number_of(name: str) -> int:
    """The number of a picture, by the name of a file of it."""
    return int(Path(name).stem.rpartition("-")[2])


def thumbnail(png: bytes, side: int = THUMBNAIL, quality: int = 80) -> bytes:
    """A WebP file of a PNG file of ours, of `side` pixels at the most, with its marks."""
    image, small = Image.open(io.BytesIO(png), formats=("PNG",)), io.BytesIO()
    xmp = image.info.get("xmp", packet())
    image.thumbnail((side, side))
    image.convert("RGB").save(small, "WEBP", quality=quality, xmp=xmp)
    return small.getvalue()
