"""The styles that visitors chose to keep, as their owner sees them: private, and each file under an address that is
good for nobody else. How they are stored says style_store.py."""

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora.adapter import Adapter, FewSteps
from lora.errors import StyleNotKept, StylesError, UnknownStyle, shown
from lora.files import CONFIG
from lora.inspection import trained
from serving.disk import full
from serving.picture_store import thumbnail
from serving.style_store import StyleLimits, StyleStore

__all__ = ["KeptStyle", "StyleLimits", "Styles"]
FULL = "There is no room left for it here; delete a style that you do not need, and try again."
UNKNOWN = "There is no such style among those that you keep."
# Of an adapter, what a row says in `details`; the rest is of this place or has a column.
FACTS = ("rank", "parameters", "size", "triggers", "licence", "description", "words", "embedding", "tensor_hashes")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptStyle:
    """A style of an owner, as a session uses it: `origin` is where it came from, `training` what it says of that.

    `created` is when it was kept, in seconds since 1970; `files` are the names of its files.
    """

    adapter: Adapter
    owner: str
    created: float
    origin: str
    training: dict[str, str]
    files: tuple[str, ...]

    def file(self, ending: str) -> str | None:
        """The name of its file that ends so, if there is one."""
        return next((name for name in self.files if name.endswith(ending)), None)


class Styles:
    """The kept styles of all owners, who are known by the hash of their secret. Thread-safe, and safe beside another
    process on the same folder.
    """

    def __init__(self, folder: Path, limits: StyleLimits | None = None, clock: Callable[[], float] = time.time):
        """Open or make the folder. Raises StylesError where nothing can be written there."""
        try:
            self.store = StyleStore(folder, limits or StyleLimits(), clock)
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or "its database cannot be opened"
            raise StylesError(
                f"DATA_DIR is {shown(str(folder), 200)}, but no styles can be kept there: {why}."
            ) from error

    @property
    def notice(self) -> str:
        """What happened to the styles, if something did."""
        return self.store.notice

    def keep(self, owner: str, style: Adapter) -> KeptStyle:
        """Keep a style that a session brought; the one that is there where the owner has kept its content before.

        Raises StyleNotKept.
        """
        facts = {name: asdict(style)[name] for name in (*FACTS, "few_steps")}
        try:
            details = facts | {"origin": style.source, "training": trained(style.path)}
            return self.find(owner, self.store.add(owner, style, details))
        except FileNotFoundError as error:
            raise StyleNotKept("The style was not kept: its file is gone; bring it again.") from error
        except (OSError, sqlite3.Error) as error:
            log.warning("a style could not be kept: %s", error)
            raise StyleNotKept(f"The style was not kept. {FULL if full(error) else 'Try again later.'}") from error

    def all(self, owner: str) -> list[KeptStyle]:
        """An owner's styles, the newest first."""
        with _in_words():
            return [_kept(row, self.store.files) for row in self.store.all(owner)]

    def find(self, owner: str, identity: str) -> KeptStyle:
        """One of an owner's styles. Raises UnknownStyle, the same for another's and for none."""
        with _in_words():
            row = self.store.find(owner, identity)
        if row is None:
            raise UnknownStyle(UNKNOWN)
        return _kept(row, self.store.files)

    def rename(self, owner: str, identity: str, name: str) -> KeptStyle:
        """Give a style another name, 1 to 120 printable characters. Raises UnknownStyle."""
        with _in_words():
            _check(self.store.rename(owner, identity, name))
        return self.find(owner, identity)

    def picture(self, owner: str, identity: str, png: bytes) -> KeptStyle:
        """Give a style a preview, made small, of a PNG file that this app has written. Raises UnknownStyle."""
        small = thumbnail(png)
        with _in_words():
            _check(self.store.picture(owner, identity, small))
        return self.find(owner, identity)

    def forget(self, owner: str, identity: str) -> None:
        """Delete a style. Raises UnknownStyle."""
        with _in_words():
            _check(self.store.remove(owner, identity))

    def public(self, kept: KeptStyle) -> dict:
        """A style as its owner is told of it. The addresses of its files are good for whoever has them.

        `file` is the style as it was brought; `config`, where there is one, belongs beside it as adapter_config.json.
        """
        places = {"file": kept.file(".safetensors"), "config": kept.file(CONFIG), "preview": kept.file(".webp")}
        addresses = {what: name and self.signed(kept, name) for what, name in places.items()}
        more = {"origin": kept.origin, "created": kept.created, "training": kept.training}
        return kept.adapter.public() | more | addresses

    def signed(self, kept: KeptStyle, name: str) -> str:
        """The address of a file."""
        return f"/mine/{name}?key={self.store.signature(kept.owner, name)}"

    def path(self, name: str, key: str) -> tuple[Path, str]:
        """The file of a signed address, and the name of its style. Raises UnknownStyle.

        As in the history, the address itself is the proof: only the server signs one, and for nobody but the owner.
        """
        with self.store.rows() as db:
            row = db.execute("SELECT owner, name, files FROM styles WHERE id = ?", [name[:22]]).fetchone()
        owner, title, files = row or ("", "", "{}")
        if not self.store.proves(key, owner, name) or name not in json.loads(files):
            raise UnknownStyle("There is no such style.")
        return self.store.files / name, title

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


def _check(there: bool) -> None:
    if not there:
        raise UnknownStyle(UNKNOWN)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        log.warning("the kept styles could not be read or changed: %s", error)
        why = FULL if full(error) else "Try again later."
        raise StylesError(f"The kept styles cannot be read or changed just now. {why}") from error


def _kept(row: sqlite3.Row, folder: Path) -> KeptStyle:
    told, files = json.loads(row["details"]), tuple(json.loads(row["files"]))
    facts: dict[str, Any] = {name: _frozen(told[name]) for name in FACTS}
    # Older rows do not have it.
    facts["few_steps"] = FewSteps.of(told.get("few_steps"))
    path = folder / f"{row['id']}.safetensors"
    adapter = Adapter(row["id"], row["name"], path, row["sha256"], source="kept", added=row["created"], **facts)
    return KeptStyle(adapter, row["owner"], row["created"], told["origin"], told["training"], files)


def _frozen(value: object) -> object:
    """What JSON made lists of, as the tuples that they were."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
