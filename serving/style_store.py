"""Styles as files, and a row of SQLite for each.

    DATA_DIR/styles.sqlite3    the rows
    DATA_DIR/styles/           <id>.safetensors as it came, PEFT's config where one belongs to it, and <id>-<n>.webp

How rows and files are held together says kept_files.py. Nothing gives way here: what is too much is refused.
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora.adapter import Adapter
from lora.errors import StyleNotKept, StylesError, shown
from lora.files import CONFIG, config_beside
from lora.private import megabytes
from serving.disk import add_ballast, full, put, sync, written
from serving.kept_files import KeptFiles

MB = 2**20
DAMAGED = "A part of the kept styles here was damaged and has been set aside; they are not shown any more."


@dataclass(frozen=True)
class StyleLimits:
    """How much is kept: bytes of all files, and styles of one owner."""

    total_bytes: int = 2048 * MB
    per_owner: int = 50


class StyleStore(KeptFiles):
    """The kept styles of all owners."""

    DATABASE, FILES, ROWS = "styles.sqlite3", "styles", "styles"
    # A style's id is token_urlsafe(16).
    OURS = re.compile(r"[\w-]{22}(\.safetensors|\.adapter_config\.json|-\d+\.webp)(\.part)?", re.ASCII)
    TABLES = (
        "CREATE TABLE styles (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, "
        "sha256 TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, details TEXT NOT NULL, files TEXT NOT NULL, "
        "bytes INTEGER NOT NULL, UNIQUE (owner, sha256))",
    )
    WHOLE, DAMAGED, ERROR = "what is kept of styles", DAMAGED, StylesError

    def __init__(self, folder: Path, limits: StyleLimits, clock: Callable[[], float]):
        """Open or make the folder. Raises OSError or sqlite3.Error where nothing can be written there."""
        self._limits = limits
        super().__init__(folder, clock)

    def all(self, owner: str) -> list[sqlite3.Row]:
        """An owner's rows, the newest first."""
        with self.rows() as db:
            return db.execute("SELECT * FROM styles WHERE owner = ? ORDER BY number DESC", [owner]).fetchall()

    def find(self, owner: str, identity: str) -> sqlite3.Row | None:
        """One of an owner's rows."""
        with self.rows() as db:
            return _row(db, owner, identity)

    def add(self, owner: str, style: Adapter, details: Mapping) -> str:
        """Keep a copy of a style's files, the same content of an owner once; the id of its row.

        Raises StyleNotKept above a quota, OSError, sqlite3.Error, or StylesError for damage.
        """
        config = config_beside(style.path)
        size = style.size + (config.stat().st_size if config else 0)
        with self.rows() as db:
            if known := self._known(db, owner, style, size):
                return known
        identity = secrets.token_urlsafe(16)
        sources = {f"{identity}.safetensors": style.path} | ({f"{identity}.{CONFIG}": config} if config else {})
        try:
            return self._write(owner, identity, style, details, sources)
        except (FileNotFoundError, StylesError) as error:
            # Another process that has just started took the copy for one that a killed process has left; or in place
            # of a damaged database there is a new one by now.
            if isinstance(error, StyleNotKept):
                raise
            return self._write(owner, identity, style, details, sources)

    def rename(self, owner: str, identity: str, name: str) -> bool:
        """Give an owner's style another name; whether it was there."""
        with self.rows(write=True) as db:
            values = [name, owner, identity]
            return db.execute("UPDATE styles SET name = ? WHERE owner = ? AND id = ?", values).rowcount > 0

    def picture(self, owner: str, identity: str, webp: bytes) -> bool:
        """Give an owner's style a preview in place of the one that it has; whether the style was there."""
        with self.rows(write=True) as db:
            if (row := _row(db, owner, identity)) is None:
                return False
            files = json.loads(row["files"])
            old = {name for name in files if name.endswith(".webp")}
            # Under a new name each time: whenever the process is killed the row's file is as the row says.
            name = f"{identity}-{max((int(each[len(identity) + 1 : -5]) for each in old), default=0) + 1}.webp"
            put(self.files / name, webp)
            sync(self.files)
            _set_files(db, row, {each: size for each, size in files.items() if each not in old} | {name: len(webp)})
        self._unlink(old)
        return True

    def remove(self, owner: str, identity: str) -> bool:
        """Delete an owner's style; whether it was there."""
        try:
            gone = self._deleted(owner, identity)
        except (OSError, sqlite3.Error) as error:
            if not full(error):
                raise
            (self._folder / "ballast").unlink(missing_ok=True)
            gone = self._deleted(owner, identity)
        self._unlink(gone)
        add_ballast(self._folder / "ballast")
        return bool(gone)

    def _deleted(self, owner: str, identity: str) -> set[str]:
        with self.rows(write=True) as db:
            row = _row(db, owner, identity)
            if row:
                db.execute("DELETE FROM styles WHERE number = ?", [row["number"]])
            return set(json.loads(row["files"])) if row else set()

    def _write(self, owner: str, identity: str, style: Adapter, details: Mapping, sources: Mapping[str, Path]) -> str:
        sizes: dict[str, int] = {}
        try:
            # Before the write lock is taken: a large file takes seconds, and everybody else would wait.
            digest = hashlib.sha256()
            for name, source in sources.items():
                sizes[name] = _copy(source, self.files / f"{name}.part", digest)
            if digest.hexdigest() != style.sha256:
                raise OSError("it is not the file any more that was judged")
            with self.rows(write=True) as db:
                if known := self._known(db, owner, style, sum(sizes.values())):
                    return known
                for name in sizes:
                    os.replace(self.files / f"{name}.part", self.files / name)
                sync(self.files)
                db.execute(
                    "INSERT INTO styles (id, owner, sha256, name, created, details, files, bytes) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [identity, owner, style.sha256, style.name, self._clock(), json.dumps(details), json.dumps(sizes),
                     sum(sizes.values())],
                )  # fmt: skip
            return identity
        except BaseException:
            self._unlink(sources)
            raise
        finally:
            self._unlink(f"{name}.part" for name in sources)

    def _known(self, db: sqlite3.Connection, owner: str, style: Adapter, size: int) -> str:
        """The id of what an owner has of that content already, or "" where there is room for it.

        Raises StyleNotKept, saying which quota it is, how much there is, and what can be done.
        """
        same = db.execute("SELECT id FROM styles WHERE owner = ? AND sha256 = ?", [owner, style.sha256]).fetchone()
        if same:
            return same["id"]
        limits, query = self._limits, "SELECT name, bytes FROM styles WHERE owner = ? ORDER BY bytes DESC, number"
        mine = db.execute(query, [owner]).fetchall()
        if len(mine) >= limits.per_owner:
            raise StyleNotKept(
                f"The style was not kept: you have kept {len(mine)} styles, as many as are kept of one visitor; delete "
                f"one that you do not need, such as {shown(mine[0]['name'])}, your largest."
            )
        taken = db.execute("SELECT coalesce(sum(bytes), 0) FROM styles").fetchone()[0]
        if taken + size > limits.total_bytes:
            own = megabytes(sum(row["bytes"] for row in mine))
            mend = f"delete some of yours, which have {own}" if mine else "download it and bring it again another time"
            raise StyleNotKept(
                f"The style was not kept: it has {megabytes(size)}, and of the {megabytes(limits.total_bytes)} for all "
                f"visitors' styles {megabytes(taken)} are taken; {mend}."
            )
        return ""

    def _mend(self, db: sqlite3.Connection, row: sqlite3.Row, bad: set[str]) -> dict[str, int]:
        left = {name: size for name, size in json.loads(row["files"]).items() if name not in bad}
        if all(name.endswith(".webp") for name in bad):
            _set_files(db, row, left)
            return left
        # Without one of its files it is not the style that it was.
        db.execute("DELETE FROM styles WHERE number = ?", [row["number"]])
        return {}


def _row(db: sqlite3.Connection, owner: str, identity: str) -> sqlite3.Row | None:
    return db.execute("SELECT * FROM styles WHERE owner = ? AND id = ?", [owner, identity]).fetchone()


def _set_files(db: sqlite3.Connection, row: sqlite3.Row, files: Mapping[str, int]) -> None:
    values = [json.dumps(files), sum(files.values()), row["number"]]
    db.execute("UPDATE styles SET files = ?, bytes = ? WHERE number = ?", values)


def _copy(source: Path, target: Path, digest) -> int:
    """Copy a file, on the disk at the end, and feed `digest` with it; its bytes."""
    size = 0
    with source.open("rb") as given, written(target) as file:
        while chunk := given.read(MB):
            digest.update(chunk)
            size += file.write(chunk)
    return size
