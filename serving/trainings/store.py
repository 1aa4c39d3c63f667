"""Trainings as files, and a row of SQLite for each.

    DATA_DIR/trainings.sqlite3    the rows: of whom, what is to be learnt, how far it is
    DATA_DIR/trainings/           <id>-pictures.zip, <id>-<step>.state, .safetensors and -<percent>.png

How rows and files are held together says kept_files.py: a row changes with the files that it names, or neither does.
"""

import json
import logging
import os
import re
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from lora.errors import TrainingError
from serving.disk import sync, written
from serving.kept_files import KeptFiles

DAMAGED = "A part of the trainings here was damaged and has been set aside; they cannot go on."
LIVE = "live"
log = logging.getLogger(__name__)


class TrainingStore(KeptFiles):
    """The trainings of all owners."""

    DATABASE, FILES, ROWS = "trainings.sqlite3", "trainings", "trainings"
    # A training's id is token_urlsafe(16).
    OURS = re.compile(r"[\w-]{22}-(pictures\.zip|\d+\.state|\d+\.safetensors|\d+-\d+\.png)(\.part)?", re.ASCII)
    TABLES = (
        "CREATE TABLE trainings (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
        "owner TEXT NOT NULL UNIQUE, created REAL NOT NULL, state TEXT NOT NULL, details TEXT NOT NULL, "
        "progress TEXT NOT NULL, files TEXT NOT NULL)",
    )
    WHOLE, DAMAGED, ERROR = "what is kept of trainings", DAMAGED, TrainingError

    def all(self) -> list[sqlite3.Row]:
        """All rows, the oldest first."""
        with self.rows() as db:
            return db.execute("SELECT * FROM trainings ORDER BY number").fetchall()

    def find(self, owner: str) -> sqlite3.Row | None:
        """An owner's row: there is one at most."""
        with self.rows() as db:
            return db.execute("SELECT * FROM trainings WHERE owner = ?", [owner]).fetchone()

    def add(self, identity: str, owner: str, details: Mapping, pictures: bytes) -> None:
        """Begin a training, in place of the owner's last one. Raises OSError, sqlite3.Error."""
        self.remove(owner)
        name = f"{identity}-pictures.zip"
        values = [identity, owner, self._clock(), LIVE, json.dumps(details), "{}", json.dumps({name: len(pictures)})]
        statement = (
            "INSERT INTO trainings (id, owner, created, state, details, progress, files) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        self._put({name: pictures}, statement, values)

    def update(
        self, identity: str, state: str, details: Mapping, progress: Mapping, fresh: Mapping[str, bytes],
        kept: Collection[str],
    ) -> None:  # fmt: skip
        """Say how far a training is, with its `fresh` files; of those that it had the `kept` ones stay.

        One that has been removed meanwhile stays so. Raises OSError, sqlite3.Error.
        """
        with self.rows() as db:
            row = db.execute("SELECT * FROM trainings WHERE id = ?", [identity]).fetchone()
        if row is None:
            return
        before = json.loads(row["files"])
        files = {name: size for name, size in before.items() if name in kept}
        files |= {name: len(data) for name, data in fresh.items()}
        statement = "UPDATE trainings SET state = ?, details = ?, progress = ?, files = ? WHERE id = ?"
        values = [state, *map(json.dumps, (details, progress, files)), identity]
        if self._put(fresh, statement, values):
            self._unlink(before.keys() - files.keys())

    def remove(self, owner: str) -> None:
        """Delete an owner's training, if there is one."""
        with self.rows(write=True) as db:
            row = db.execute("SELECT * FROM trainings WHERE owner = ?", [owner]).fetchone()
            if row:
                db.execute("DELETE FROM trainings WHERE number = ?", [row["number"]])
        if row:
            self._unlink(json.loads(row["files"]))

    def _put(self, files: Mapping[str, bytes], statement: str, values: Sequence) -> bool:
        """Write files and then the row that names them; whether there was one."""
        there = False
        try:
            for name, data in files.items():
                with written(self.files / f"{name}.part") as file:
                    file.write(data)
            with self.rows(write=True) as db:
                for name in files:
                    os.replace(self.files / f"{name}.part", self.files / name)
                sync(self.files)
                there = bool(db.execute(statement, values).rowcount)
        finally:
            self._unlink(f"{name}.part" for name in files)
        if not there:
            self._unlink(files)
        return there

    def _mend(self, db: sqlite3.Connection, row: sqlite3.Row, bad: set[str]) -> dict[str, int]:
        left = {name: size for name, size in json.loads(row["files"]).items() if name not in bad}
        if any(name.endswith((".zip", ".state")) for name in bad):
            # Without these it cannot go on.
            db.execute("DELETE FROM trainings WHERE number = ?", [row["number"]])
            return {}
        db.execute("UPDATE trainings SET files = ? WHERE number = ?", [json.dumps(left), row["number"]])
        return left
