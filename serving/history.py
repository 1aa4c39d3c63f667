"""What visitors painted: the pictures as files, and a row of SQLite for each set of pictures that one job painted.

    DATA_DIR/history.sqlite3    the rows
    DATA_DIR/pictures/          <id>-<number>.png and, to look at in a list, <id>-<number>.webp
    DATA_DIR/damaged-<time>/    what could not be read any more, set aside

A row is written when its files are on the disk, and goes before they do. So whenever the process is killed every row
has its files; files without a row are deleted at the next start. Only a database that has our tables can say so:
pictures beside another one, an empty one or none are damage.
"""

import asyncio
import hashlib
import hmac
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
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora.errors import HistoryError, InvalidOwner, NotKept, UnknownPicture, shown
from pipeline.request.details import Details, upgraded
from serving.disk import add_ballast, damage, damaged, full, put, sync

MB = 2**20
THUMBNAIL = 320
DAMAGED = "A part of the history here was damaged and has been set aside; what was in it is not shown any more."
UNKEPT = "The picture was not kept in the history."
FULL = "The picture was not kept in the history: there is no room left for it here. Save it to keep it."
TABLES = (
    "CREATE TABLE sets (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, "
    "job TEXT NOT NULL, created REAL NOT NULL, words TEXT NOT NULL, details TEXT NOT NULL, files TEXT NOT NULL, "
    "pictures INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "CREATE INDEX by_owner ON sets (owner, number)",
    "CREATE TABLE secret (key BLOB NOT NULL)",
)
# A file of ours, finished or not: its set's id, which is token_urlsafe(16), and its number.
OURS = re.compile(r"[\w-]{22}-\d+\.(png|webp)(\.part)?", re.ASCII)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoryLimits:
    """How much is kept: bytes of all files, pictures of one owner, and for how many days. The oldest give way."""

    total_bytes: int = 2048 * MB
    per_owner: int = 500
    days: float = 30.0


@dataclass(frozen=True)
class Kept:
    """The pictures of one job that are there: `files` are (its number, the name of its file) of each."""

    id: str
    job: str
    owner: str
    created: float
    details: Details
    files: tuple[tuple[int, str], ...]


def owner_hash(secret: object) -> str:
    """Whose history it is: all that is stored of the secret that a browser made up. Raises InvalidOwner."""
    # The message does not repeat it: messages are logged and shown.
    if not isinstance(secret, str) or not re.fullmatch(r"[\w-]{32,128}", secret, re.ASCII):
        raise InvalidOwner("owner", "no secret", "32 to 128 random letters, digits, - and _")
    return hashlib.sha256(secret.encode()).hexdigest()


class History:
    """The pictures of all owners. Thread-safe, and safe beside another process on the same folder."""

    def __init__(self, folder: Path, limits: HistoryLimits | None = None, clock: Callable[[], float] = time.time):
        """Open or make the folder. Raises HistoryError where nothing can be written there."""
        self.limits = limits or HistoryLimits()
        self.notice = ""
        self._folder, self._pictures, self._clock = folder, folder / "pictures", clock
        self._lock = threading.RLock()
        try:
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
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(
                f"DATA_DIR is {shown(str(folder), 200)}, but nothing can be kept there: "
                f"{getattr(error, 'strerror', None) or 'its database cannot be opened'}."
            ) from error

    def keep(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> Kept:
        """Keep the PNG files of a job. Raises NotKept, in words for the page."""
        identity = secrets.token_urlsafe(16)
        files = {f"{identity}-{i}.png": data for i, data in enumerate(images)}
        try:
            files |= {name.replace(".png", ".webp"): _thumbnail(data) for name, data in files.items()}
            size = sum(map(len, files.values()))
            if size > self.limits.total_bytes:
                raise NotKept(FULL)
            try:
                self._write(identity, owner, job, files, details)
            except (OSError, sqlite3.Error, HistoryError) as error:
                # In place of a damaged database there is a new one by now.
                if not isinstance(error, HistoryError) and not (full(error) and self._make_room(2 * size)):
                    raise
                self._write(identity, owner, job, files, details)
        except (OSError, ValueError, sqlite3.Error) as error:
            log.warning("a picture could not be kept: %s", error)
            raise NotKept(FULL if full(error) else UNKEPT) from error
        add_ballast(self._folder / "ballast")
        return self.find(owner, identity)

    async def kept(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> dict:
        """Keep them in a thread: `kept`, the id of the set, or why they were not kept as `notice`."""
        try:
            return {"kept": (await asyncio.to_thread(self.keep, owner, job, images, details)).id}
        except HistoryError as error:
            return {"kept": "", "notice": str(error)}

    def all(self, owner: str, search: str = "", limit: int = 24, before: str = "") -> list[Kept]:
        """An owner's sets, the newest first: those whose prompt has all the words, older than the set `before`."""
        query, values = "SELECT * FROM sets WHERE owner = ?", [owner]
        for word in search.casefold().split()[:16]:
            query, values = f"{query} AND instr(words, ?)", [*values, word]
        if before:
            query += " AND number < (SELECT number FROM sets WHERE owner = ? AND id = ?)"
            values += [owner, before]
        with self._database() as db:
            return [_kept(row) for row in db.execute(f"{query} ORDER BY number DESC LIMIT ?", [*values, limit])]

    def count(self, owner: str) -> int:
        """How many pictures an owner has."""
        with self._database() as db:
            return db.execute("SELECT coalesce(sum(pictures), 0) FROM sets WHERE owner = ?", [owner]).fetchone()[0]

    def find(self, owner: str, identity: str) -> Kept:
        """One of an owner's sets. Raises UnknownPicture, the same for another's and for none."""
        return self._one("owner = ? AND id = ?", owner, identity)

    def of_job(self, owner: str, job: str) -> Kept:
        """What one of an owner's jobs painted. Raises UnknownPicture."""
        return self._one("owner = ? AND job = ?", owner, job)

    def forget(self, owner: str, identity: str, number: int | None = None) -> None:
        """Delete a picture of an owner's set, or all of it. Raises UnknownPicture."""
        with self._database(write=True) as db:
            row = db.execute("SELECT * FROM sets WHERE owner = ? AND id = ?", [owner, identity]).fetchone()
            files = json.loads(row["files"]) if row else {}
            gone = {name for name in files if number is None or Path(name).stem == f"{identity}-{number}"}
            if not gone:
                raise UnknownPicture("There is no such picture in your history.")
            self._shrink(db, row, gone)
        self._unlink(gone)

    def public(self, kept: Kept) -> dict:
        """A set as its owner is told of it. The addresses of its pictures are good for whoever has them."""
        seeds = kept.details.get("seeds", [])
        pictures = [
            {"picture": number, "seed": seeds[number] if number < len(seeds) else None,
             "url": self.signed(kept, name), "thumbnail": self.signed(kept, name.replace(".png", ".webp"))}
            for number, name in kept.files
        ]  # fmt: skip
        return {"id": kept.id, "created": kept.created, "details": kept.details, "pictures": pictures}

    def signed(self, kept: Kept, name: str) -> str:
        """The address of a file."""
        return f"/kept/{name}?key={self._signature(kept.owner, name)}"

    def path(self, name: str, key: str) -> Path:
        """The file of a signed address. Raises UnknownPicture.

        An <img> can send no header, so the address itself is the proof: only the server, which holds the key, can sign
        one, and it does so for nobody but the owner. An id that was seen or guessed is worth nothing without.
        """
        identity = Path(name).stem.rpartition("-")[0]
        with self._database() as db:
            row = db.execute("SELECT owner, files FROM sets WHERE id = ?", [identity]).fetchone()
        owner, files = row or ("", "{}")
        if not hmac.compare_digest(self._signature(owner, name).encode(), key.encode()) or name not in json.loads(
            files
        ):
            raise UnknownPicture("There is no such picture.")
        return self._pictures / name

    def paths(self, owner: str) -> Iterator[Path]:
        """All of an owner's pictures, the newest first, read from the database by and by."""
        last = ""
        while page := self.all(owner, limit=50, before=last):
            for kept in page:
                yield from (self._pictures / name for _, name in kept.files)
            last = page[-1].id

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _database(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The database, in a transaction if it is written to. One that turns out to be damaged is set aside."""
        with self._lock:
            try:
                if write:
                    self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                if write:
                    self._db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self._db.rollback()
                if damaged(error):
                    self._set_aside()
                    raise HistoryError(DAMAGED) from error
                raise

    def _open(self) -> None:
        self._pictures.mkdir(mode=0o700, exist_ok=True)
        self._db = sqlite3.connect(
            self._folder / "history.sqlite3", timeout=10, isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        # Before anything is written to it.
        if not (_is_blank(self._db) or _columns(self._db) >= _our_columns()):
            raise damage("not our tables")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise damage("quick_check")
        # Under the write lock: whoever else is starting here makes either all of it or nothing.
        self._db.execute("BEGIN IMMEDIATE")
        if _is_blank(self._db):
            if any(OURS.fullmatch(path.name) for path in self._pictures.iterdir()):
                raise damage("pictures without their database")
            for statement in TABLES:
                self._db.execute(statement)
        self._db.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT * FROM secret)", [os.urandom(32)])
        self._db.execute("COMMIT")
        self._key = self._db.execute("SELECT key FROM secret").fetchone()[0]
        add_ballast(self._folder / "ballast")

    def _sweep(self) -> None:
        """Make rows and files agree: delete files without a row, set aside those that are not what was written."""
        # Under the write lock: another process may be between a file and its row.
        with self._database(write=True) as db:
            ours = (path for path in self._pictures.iterdir() if OURS.fullmatch(path.name))
            there = {path.name: path.stat().st_size for path in ours}
            known: set[str] = set()
            aside = None
            for row in db.execute("SELECT * FROM sets").fetchall():
                files = json.loads(row["files"])
                bad = {name for name, size in files.items() if there.get(name) != size}
                if bad:
                    aside = aside or self._aside()
                    for name in bad & set(there):
                        os.replace(self._pictures / name, aside / name)
                    pictures = {Path(name).stem for name in bad}
                    files = self._shrink(db, row, {name for name in files if Path(name).stem in pictures})
                known |= set(files)
            old = self._doomed(db, "created < ?", self._clock() - self.limits.days * 86400)
        self._unlink((set(there) - known) | old)

    def _write(self, identity: str, owner: str, job: str, files: dict[str, bytes], details: dict) -> None:
        try:
            with self._database(write=True) as db:
                for name, data in files.items():
                    put(self._pictures / name, data)
                sync(self._pictures)
                sizes = {name: len(data) for name, data in files.items()}
                # Of several pictures each may have another wording.
                words = " ".join(dict.fromkeys([details.get("prompt", ""), *details.get("prompts", [])])).casefold()
                number = db.execute(
                    "INSERT INTO sets (id, owner, job, created, words, details, files, pictures, bytes) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [identity, owner, job, self._clock(), words, json.dumps(details), json.dumps(sizes),
                     len(files) // 2, sum(sizes.values())],
                ).lastrowid  # fmt: skip
                doomed = self._evict(db, owner, number)
        except BaseException:
            self._unlink(files)
            raise
        self._unlink(doomed)

    def _evict(self, db: sqlite3.Connection, owner: str, newest: int | None) -> set[str]:
        """Take out the rows above the bounds, never the newest; their files are the caller's to delete."""
        above = (
            "number IN (SELECT number FROM (SELECT number, sum({}) OVER (ORDER BY number DESC) AS upto FROM sets{}) "
        )
        above += "WHERE upto > ?) AND number < ?"
        return (
            self._doomed(db, "created < ? AND number < ?", self._clock() - self.limits.days * 86400, newest)
            | self._doomed(db, above.format("pictures", " WHERE owner = ?"), owner, self.limits.per_owner, newest)
            | self._doomed(db, above.format("bytes", ""), self.limits.total_bytes, newest)
        )

    def _doomed(self, db: sqlite3.Connection, which: str, *values: object) -> set[str]:
        rows = db.execute(f"SELECT number, files FROM sets WHERE {which}", values).fetchall()
        db.executemany("DELETE FROM sets WHERE number = ?", [[row["number"]] for row in rows])
        return {name for row in rows for name in json.loads(row["files"])}

    def _shrink(self, db: sqlite3.Connection, row: sqlite3.Row, gone: set[str]) -> dict[str, int]:
        """Take files out of a row, and the row with the last of them; what is left."""
        left = {name: size for name, size in json.loads(row["files"]).items() if name not in gone}
        if left:
            values = [json.dumps(left), len(left) // 2, sum(left.values()), row["number"]]
            db.execute("UPDATE sets SET files = ?, pictures = ?, bytes = ? WHERE number = ?", values)
        else:
            db.execute("DELETE FROM sets WHERE number = ?", [row["number"]])
        return left

    def _make_room(self, size: int) -> bool:
        """The disk is full: give up the oldest sets, of `size` bytes at least. Whether there were any."""
        (self._folder / "ballast").unlink(missing_ok=True)
        with self._database(write=True) as db:
            before = (
                "(SELECT number FROM (SELECT number, sum(bytes) OVER (ORDER BY number) - bytes AS until FROM sets) "
            )
            doomed = self._doomed(db, f"number IN {before} WHERE until < ?)", size)
        self._unlink(doomed)
        return bool(doomed)

    def _set_aside(self) -> None:
        with suppress(AttributeError):
            self._db.close()
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

    def _one(self, which: str, *values: str) -> Kept:
        with self._database() as db:
            row = db.execute(f"SELECT * FROM sets WHERE {which} ORDER BY number DESC", values).fetchone()
        if row is None:
            raise UnknownPicture("There is no such picture in your history.")
        return _kept(row)

    def _signature(self, owner: str, name: str) -> str:
        return hmac.new(self._key, f"{owner}/{name}".encode(), hashlib.sha256).hexdigest()[:40]

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self._pictures / name).unlink(missing_ok=True)


def _is_blank(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _columns(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """The columns of the tables that have our tables' names, as (table, column)."""
    query = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.name IN ('sets', 'secret')"
    return {tuple(row) for row in db.execute(query)}


def _our_columns() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in TABLES:
            db.execute(statement)
        return _columns(db)


def _kept(row: sqlite3.Row) -> Kept:
    pictures = (name for name in json.loads(row["files"]) if name.endswith(".png"))
    files = sorted((int(Path(name).stem.rpartition("-")[2]), name) for name in pictures)
    return Kept(row["id"], row["job"], row["owner"], row["created"], upgraded(json.loads(row["details"])), tuple(files))


def _thumbnail(png: bytes) -> bytes:
    image, small = Image.open(io.BytesIO(png), formats=("PNG",)), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.convert("RGB").save(small, "WEBP", quality=80)
    return small.getvalue()
