"""The tables of the history, those of earlier versions made into today's, and the text that a search looks through."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.request.request import FIELDS
from serving.kept_files import columns

# As the first version had them.
TABLES = (
    "CREATE TABLE sets (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, "
    "job TEXT NOT NULL, created REAL NOT NULL, words TEXT NOT NULL, details TEXT NOT NULL, files TEXT NOT NULL, "
    "pictures INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "CREATE INDEX by_owner ON sets (owner, number)",
)
# What came later. `favourites` are numbers of pictures; `painted` counts what the set's job has painted, the deleted
# ones too.
ADDED = {"favourites": "TEXT NOT NULL DEFAULT '[]'", "painted": "INTEGER NOT NULL DEFAULT 0"}
# 2: `words` are more than the prompts.
VERSION = 2
FAVOURED = "favourites <> '[]'"
# Searched for as they are painted; what is left out is not in the picture.
_UNSEARCHED = {"prompt", "negative_prompt", "width", "height", "metadata"}
_MOST_WORDS = 16


def upgrade(db: sqlite3.Connection) -> None:
    """Make tables of any version into today's, in the caller's transaction. An app of an earlier version reads them."""
    there = {column for table, column in columns(db) if table == "sets"}
    for column, kind in ADDED.items():
        if column not in there:
            db.execute(f"ALTER TABLE sets ADD COLUMN {column} {kind}")
    if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
        for row in db.execute("SELECT number, details FROM sets").fetchall():
            values = [searched(json.loads(row["details"])), row["number"]]
            db.execute("UPDATE sets SET words = ? WHERE number = ?", values)
        db.execute(f"PRAGMA user_version = {VERSION}")


def searched(details: Mapping[str, Any]) -> str:
    """What a search looks through: prompts, styles, sizes, seeds and settings, as one would say them."""
    return _plain(" \n ".join(["", *dict.fromkeys(_said(details)), ""]))


def _said(details: Mapping[str, Any]) -> Iterator[str]:
    # Of several pictures each may have another wording.
    yield from (details.get("prompt", ""), *details.get("prompts", ()))
    for use in details.get("adapters", ()):
        yield f"{use.get('name', '')} {use.get('id', '')}"
    yield from (f"seed {seed}" for seed in details.get("seeds", ()))
    for size in (details, details.get("hires") or {}):
        if "width" in size and "height" in size:
            yield f"{size['width']}x{size['height']}"
    for field in FIELDS:
        value = details.get(field.name)
        # A value at which it does nothing has not been set.
        if field.name in _UNSEARCHED or not isinstance(value, str | int | float) or value in (field.neutral, False):
            continue
        name = field.name.replace("_", " ")
        yield name if value is True else f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
    for axis in filter(None, (details.get("comparison") or {}).values()):
        yield " ".join(("comparison", axis.get("title", ""), *axis.get("labels", ())))


def condition(words: str, since: float | None, until: float | None, favourites: bool) -> tuple[str, list]:
    """Of a query for rows: those that have all the words, and the values in it. Times are in seconds."""
    terms: list[str] = []
    values: list[str | float] = []
    for word in _plain(words).split()[:_MOST_WORDS]:
        # A whole number is meant as one: 25 is not in a seed of 1253.
        terms.append("words GLOB ?" if re.fullmatch("[0-9]+", word) else "instr(words, ?)")
        values.append(f"*[^0-9]{word}[^0-9]*" if re.fullmatch("[0-9]+", word) else word)
    for time, term in ((since, "created >= ?"), (until, "created < ?")):
        if time is not None:
            terms.append(term)
            values.append(time)
    if favourites:
        terms.append(FAVOURED)
    return "".join(f" AND {term}" for term in terms), values


def _plain(text: str) -> str:
    return text.casefold().replace("×", "x")
