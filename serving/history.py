"""What visitors painted, as its owner sees it: listed, searched, favoured, deleted, and each file under an address that
is good for nobody else. How it is stored says picture_store.py."""

import asyncio
import hashlib
import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora.errors import HistoryError, InvalidOwner, NotKept, UnknownPicture, shown
from pipeline.request.details import Details, upgraded
from serving.disk import full
from serving.history_tables import condition
from serving.picture_store import DAMAGED, FULL, HistoryLimits, PictureStore, number_of

__all__ = ["DAMAGED", "History", "HistoryLimits", "Kept", "KeptPicture", "owner_hash"]
UNKEPT = "The picture was not kept in the history."
UNKNOWN = "There is no such picture in your history."
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """The pictures of one job that are there: `files` are (its number, the name of its file) of each."""

    id: str
    job: str
    owner: str
    created: float
    details: Details
    files: tuple[tuple[int, str], ...]
    favourites: frozenset[int] = frozenset()


@dataclass(frozen=True)
class KeptPicture:
    """One of them: its file, when it was painted (seconds since 1970), its prompt, and its seed if that is known."""

    path: Path
    created: float
    prompt: str
    seed: int | None


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
        try:
            self.store = PictureStore(folder, limits or HistoryLimits(), clock)
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(
                f"DATA_DIR is {shown(str(folder), 200)}, but nothing can be kept there: "
                f"{getattr(error, 'strerror', None) or 'its database cannot be opened'}."
            ) from error

    @property
    def notice(self) -> str:
        """What happened to the history, if something did."""
        return self.store.notice

    def keep(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> Kept:
        """Keep the PNG files of a job, all that it has so far: the next time those that are new are added to its set.

        What has been deleted of it stays so. Raises NotKept, in words for the page.
        """
        try:
            return self.find(owner, self.store.add(owner, job, images, details))
        except (OSError, ValueError, sqlite3.Error) as error:
            log.warning("a picture could not be kept: %s", error)
            raise NotKept(FULL if full(error) else UNKEPT) from error

    async def kept(self, owner: str, job: str, images: Sequence[bytes], details: dict) -> dict:
        """Keep them in a thread: `kept`, the id of the set, or why they were not kept as `notice`."""
        try:
            return {"kept": (await asyncio.to_thread(self.keep, owner, job, images, details)).id}
        except HistoryError as error:
            return {"kept": "", "notice": str(error)}

    def all(
        self,
        owner: str,
        search: str = "",
        limit: int = 24,
        before: str = "",
        favourites: bool = False,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Kept]:
        """An owner's sets, the newest first: those that have all the words, older than the set `before`.

        With `favourites` only sets that have some, and of these only those pictures; `since` and `until`, which is
        the first moment that is not meant, in seconds since 1970.
        """
        which, values = condition(search, since, until, favourites)
        if before:
            which += " AND number < (SELECT number FROM sets WHERE owner = ? AND id = ?)"
            values += [owner, before]
        query = f"SELECT * FROM sets WHERE owner = ?{which} ORDER BY number DESC LIMIT ?"
        with self.store.rows() as db:
            every = [_kept(row) for row in db.execute(query, [owner, *values, limit])]
        if not favourites:
            return every
        return [replace(kept, files=tuple(file for file in kept.files if file[0] in kept.favourites)) for kept in every]

    def count(self, owner: str) -> int:
        """How many pictures an owner has."""
        with self.store.rows() as db:
            return db.execute("SELECT coalesce(sum(pictures), 0) FROM sets WHERE owner = ?", [owner]).fetchone()[0]

    def find(self, owner: str, identity: str) -> Kept:
        """One of an owner's sets. Raises UnknownPicture, the same for another's and for none."""
        return self._one("owner = ? AND id = ?", owner, identity)

    def of_job(self, owner: str, job: str) -> Kept:
        """What one of an owner's jobs painted. Raises UnknownPicture."""
        return self._one("owner = ? AND job = ?", owner, job)

    def forget(self, owner: str, identity: str, number: int | None = None) -> None:
        """Delete a picture of an owner's set, or all of it. Raises UnknownPicture."""
        if not self.store.remove(owner, identity, number):
            raise UnknownPicture(UNKNOWN)

    def favour(self, owner: str, identity: str, number: int, on: bool) -> None:
        """Make a picture of an owner's set a favourite, or none any more. Raises UnknownPicture."""
        with self.store.rows(write=True) as db:
            row = db.execute("SELECT * FROM sets WHERE owner = ? AND id = ?", [owner, identity]).fetchone()
            if not row or number not in dict((kept := _kept(row)).files):
                raise UnknownPicture(UNKNOWN)
            left = kept.favourites | {number} if on else kept.favourites - {number}
            values = [json.dumps(sorted(left)), row["number"]]
            db.execute("UPDATE sets SET favourites = ? WHERE number = ?", values)

    def public(self, kept: Kept) -> dict:
        """A set as its owner is told of it. The addresses of its pictures are good for whoever has them."""
        pictures = [
            {"picture": number, "seed": _seed(kept, number), "favourite": number in kept.favourites,
             "url": self.signed(kept, name), "thumbnail": self.signed(kept, name.replace(".png", ".webp"))}
            for number, name in kept.files
        ]  # fmt: skip
        return {"id": kept.id, "created": kept.created, "details": kept.details, "pictures": pictures}

    def signed(self, kept: Kept, name: str) -> str:
        """The address of a file."""
        return f"/kept/{name}?key={self.store.signature(kept.owner, name)}"

    def path(self, name: str, key: str) -> Path:
        """The file of a signed address. Raises UnknownPicture.

        An <img> can send no header, so the address itself is the proof: only the server, which holds the key, can sign
        one, and it does so for nobody but the owner. An id that was seen or guessed is worth nothing without.
        """
        identity = Path(name).stem.rpartition("-")[0]
        with self.store.rows() as db:
            row = db.execute("SELECT owner, files FROM sets WHERE id = ?", [identity]).fetchone()
        owner, files = row or ("", "{}")
        if not self.store.proves(key, owner, name) or name not in json.loads(files):
            raise UnknownPicture("There is no such picture.")
        return self.store.files / name

    def picture(self, owner: str, identity: str, number: int) -> KeptPicture:
        """One picture of an owner. Raises UnknownPicture."""
        kept = self.find(owner, identity)
        if number not in dict(kept.files):
            raise UnknownPicture(UNKNOWN)
        return self._picture(kept, number)

    def pictures(
        self, owner: str, chosen: Collection[tuple[str, int]] | None = None, favourites: bool = False
    ) -> Iterator[KeptPicture]:
        """An owner's pictures, the newest first, read from the database by and by: all, or those that are `chosen` by
        their set's id and their number."""
        last = ""
        while page := self.all(owner, limit=50, before=last, favourites=favourites):
            for kept in page:
                for number, _ in kept.files:
                    if chosen is None or (kept.id, number) in chosen:
                        yield self._picture(kept, number)
            last = page[-1].id

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()

    def _picture(self, kept: Kept, number: int) -> KeptPicture:
        wordings = kept.details.get("prompts", [])
        prompt = wordings[number] if number < len(wordings) else kept.details.get("prompt", "")
        return KeptPicture(self.store.files / dict(kept.files)[number], kept.created, prompt, _seed(kept, number))

    def _one(self, which: str, *values: str) -> Kept:
        with self.store.rows() as db:
            row = db.execute(f"SELECT * FROM sets WHERE {which} ORDER BY number DESC", values).fetchone()
        if row is None:
            raise UnknownPicture(UNKNOWN)
        return _kept(row)


def _seed(kept: Kept, number: int) -> int | None:
    seeds = kept.details.get("seeds", [])
    return seeds[number] if number < len(seeds) else None


def _kept(row: sqlite3.Row) -> Kept:
    files = sorted((number_of(name), name) for name in json.loads(row["files"]) if name.endswith(".png"))
    told = upgraded(json.loads(row["details"]))
    favourites = frozenset(json.loads(row["favourites"]))
    return Kept(row["id"], row["job"], row["owner"], row["created"], told, tuple(files), favourites)
