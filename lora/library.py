"""Which adapters there are: those that everybody sees, and those that a visitor brought to one session."""

import itertools
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lora.adapter import Adapter
from lora.embeddings import misfit, read_embedding
from lora.errors import AdapterError, OutOfSpace, UnfitAdapter, UnknownAdapter, UnreadableAdapter, shown
from lora.files import CONFIGURED, check_ending, hashes, regular_file
from lora.formats import AdapterFile, read_adapter
from lora.hub import USUAL, Hub, parse
from lora.inspection import (
    FamilyMarks,
    Verdict,
    embedding_file,
    few_steps,
    inspect,
    judge_embedding,
    one_line,
    parameters,
    triggers,
)
from lora.names import Shapes
from lora.private import PrivateAdapters

MAX_NAME = 120
SHA256 = re.compile("[0-9a-f]{64}")
PREVIEWS = (".webp", ".png", ".jpg")
# Seconds between two looks into the folders.
SCANS_APART = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Received:
    """A file that a visitor brought: what is known about it, and the adapter, which is kept only if it fits."""

    verdict: Verdict
    adapter: Adapter

    def usable(self) -> Adapter:
        """The adapter. Raises UnfitAdapter in the words of the verdict."""
        if not self.verdict.fits:
            raise UnfitAdapter(f"Adapter {shown(self.adapter.name)} {self.verdict.fit.reason}")
        return self.adapter

    def public(self) -> dict:
        """For callers: the verdict, with the `id` that a request can name, or None."""
        adapter = self.adapter
        told = ("name", "source", "licence", "kind", "triggers", "few_steps")
        return self.verdict.public() | {
            "id": adapter.id if self.verdict.fits else None,
            **{name: value for name, value in adapter.public().items() if name in told},
        }


class Library:
    """Adapters by id. A shared one's is its file's name without the ending; a private one's cannot be guessed.

    Thread-safe once the shared adapters are in.
    """

    def __init__(
        self,
        folders: Sequence[tuple[Path, str]],
        shapes: Shapes | None = None,
        family: str = "",
        private: PrivateAdapters | None = None,
        hub: Hub | None = None,
        families: Sequence[FamilyMarks] = (),
    ):
        """`folders` are (folder, source) pairs; of two adapters with one id the first counts.

        A file that is no adapter is left out and logged: one bad file must not keep the rest from being used.
        `shapes` and `family` are the base model's, which private adapters are held against, `families` all that are
        known by name.
        """
        self._folders = folders
        self._shared: dict[str, Adapter] = {}
        self._hubs: dict[str, Adapter] = {}
        self._shapes: Mapping = shapes or {}
        self._family, self._families = family, families
        self._private = private or PrivateAdapters()
        self._hub = hub or Hub()
        self._scanning, self._scanned = threading.Lock(), -SCANS_APART
        self.refresh()

    def refresh(self) -> None:
        """Look into the folders anew: what has come is there, what has gone is not. At most every SCANS_APART seconds.

        Files that are as they were are not read again. Thread-safe.
        """
        with self._scanning:
            if time.monotonic() - self._scanned < SCANS_APART:
                return
            read = {(adapter.path, adapter.added, adapter.size): adapter for adapter in self._shared.values()}
            found: dict[str, Adapter] = {}
            for folder, source in self._folders:
                for path in sorted(folder.glob("*.safetensors")):
                    try:
                        now = path.stat()
                        known = read.get((path, now.st_mtime, now.st_size))
                        adapter = known or describe(path, source, self._shapes)
                    except (AdapterError, OSError) as error:
                        log.warning("left out an adapter: %s", error)
                    else:
                        if adapter.id not in found:
                            found[adapter.id] = distinct(adapter, found.values())
            self._shared = found | {name: each for name, each in self._hubs.items() if name not in found}
            self._scanned = time.monotonic()

    def add_from_hub(self, adapter_id: str, repo: str, file: str, revision: str = "main") -> None:
        """Add a file of the Hub for everybody; its cache keeps it. `source` names the commit that it came from.

        Where the Hub or the file is out of reach it is left out and logged.
        """
        try:
            path, commit = self._hub.cached(repo, file, revision)
            found = describe(path, f"{repo}@{commit[:12]}")
        except (OSError, AdapterError) as error:
            log.warning("left out the adapter %s of %s: %s", adapter_id, repo, error)
        else:
            self._hubs[adapter_id] = replace(found, id=adapter_id, name=adapter_id)
            self._shared.setdefault(adapter_id, self._hubs[adapter_id])

    @property
    def file_bytes(self) -> int:
        """How large a visitor's file may be."""
        return self._private.bounds.file_bytes

    def count(self) -> dict[str, int]:
        """How many adapters there are, and what those of all visitors come to."""
        return {"shared": len(self._shared), **self._private.count()}

    def all(self, session: str | None = None) -> tuple[Adapter, ...]:
        """The shared adapters, in the order of the folders and of the names, and then the session's own."""
        return (*self._shared.values(), *(self._private.all(session) if session else ()))

    def embeddings(self, session: str | None = None) -> tuple[Adapter, ...]:
        """Those among them that are words of a prompt, a session's own first: it knows what it means by its words."""
        own, shared = (self._private.all(session) if session else ()), self._shared.values()
        return tuple(each for each in (*own, *shared) if each.embedding)

    def find(self, adapter_id: str, session: str | None = None) -> Adapter:
        """The adapter of that id. Raises UnknownAdapter, naming those there are, but no private ids."""
        own = {adapter.id: adapter for adapter in (self._private.all(session) if session else ())}
        if found := self._shared.get(adapter_id) or own.get(adapter_id):
            return found
        known = ", ".join(self._shared) or "none is installed"
        brought = f"; your own: {', '.join(adapter.name for adapter in own.values())}" if own else ""
        raise UnknownAdapter(f"There is no adapter {shown(adapter_id)}; known adapters: {known}{brought}.")

    def upload(self, path: Path, name: str, session: str) -> Adapter:
        """Copy a visitor's file and add it for that session. Raises AdapterError, UnfitAdapter among others."""
        return self.receive(path, name, session).usable()

    def add_from_hub_reference(self, reference: str, session: str) -> Adapter:
        """Fetch what a visitor names, `owner/repo[@revision][/file]`, for that session. Raises as `upload`."""
        return self.fetch(reference, session).usable()

    def receive(self, path: Path, name: str, session: str) -> Received:
        """Judge a visitor's file, called `name`, and keep a copy for that session if it fits.

        A file that fits in part is kept, and the verdict says how much of it. Raises UnreadableAdapter for what could
        be put on no model, OutOfSpace.
        """
        identity = adapter_id(name)
        check_ending(name)
        with regular_file(path) as (file, size), self._reserve(session, size) as folder:
            copy = folder / "adapter.safetensors"
            with copy.open("wb") as target:
                # No more than was reserved, should the file be growing.
                while size > 0 and (chunk := file.read(min(size, 2**20))):
                    size -= target.write(chunk)
            return self._judged(copy, identity, Path(name).name, "upload", session)

    def fetch(self, reference: object, session: str) -> Received:
        """As `receive`, from the Hub. Raises InvalidRequest for another form of reference, and HubError as well."""
        found = self._hub.resolve(parse(reference))
        with self._reserve(session, found.bytes) as folder:
            path = folder / CONFIGURED
            self._hub.download(found, path)
            # Files of the usual names are told apart by their repositories only.
            repo, file = (PurePosixPath(part).name for part in (found.repo, found.file))
            name = f"{repo}.safetensors" if file in (USUAL, CONFIGURED) else file
            return self._judged(path, adapter_id(name), name, found.source, session, found.licence)

    def search(self, words: str, family: str, limit: int = 12) -> list[dict]:
        """LoRA adapters on the Hub for a base: id, downloads, likes, licence, base, url. Raises HubError."""
        base = next((each.base for each in self._families if each.name == family), "")
        return self._hub.search(words, base, limit)

    def lend(self, session: str, adapters: Iterable[Adapter]) -> None:
        """Let a session find these too, which its owner keeps elsewhere, and none that it was lent before.

        An embedding that this model cannot read, or whose file is damaged, is left out: its word would be one like
        others. A style that does not fit says so when it is put on.
        """
        self._private.lend(session, tuple(each for each in adapters if not each.embedding or self._readable(each)))

    def forget(self, session: str) -> None:
        """Delete the session's own adapters and their files."""
        self._private.forget(session)

    def _readable(self, embedding: Adapter) -> bool:
        try:
            found = read_embedding(embedding.path, embedding.words[0][0], header_only=True)
        except UnreadableAdapter:
            return False
        return found is not None and not misfit(found[0], self._shapes)

    @contextmanager
    def _reserve(self, session: str, size: int) -> Iterator[Path]:
        try:
            with self._private.reserve(session, size) as folder:
                yield folder
        except OSError as error:
            raise OutOfSpace("There is no room left for the file here; try again later.") from error

    def _judged(
        self, path: Path, identity: str, name: str, source: str, session: str, licence: str = "unknown"
    ) -> Received:
        stem = Path(name).stem
        try:
            # Whole: what it promises must still be true when it is put on.
            verdict = judge_embedding(path, stem, self._shapes, self._family) or inspect(
                path, self._shapes, self._family, header_only=False, families=self._families
            )
        except UnreadableAdapter as error:
            raise UnreadableAdapter(str(error).replace(path.name, shown(name, 80))) from error
        # A session's name is chosen by its client and no secret, so the id has to be one.
        identity = f"{identity[:40]}-{secrets.token_urlsafe(16)}"
        digests = verdict.sha256, verdict.tensors_sha256
        adapter = adapter_of(path, identity, stem, source, verdict.file, digests, licence)
        adapter = distinct(adapter, self.all(session), stem)
        return Received(verdict, self._private.keep(adapter, session) if verdict.fits else adapter)


def adapter_id(name: str) -> str:
    """A file's name without its ending, as an id; a name that could lead to another folder is refused."""
    if not name.isprintable() or "/" in name or "\\" in name or name.startswith(".") or len(name) > MAX_NAME:
        raise UnreadableAdapter(
            f"The file name {shown(name)} is not taken; use one of up to {MAX_NAME} letters, digits, dots and dashes."
        )
    return re.sub(r"[^\w.-]", "_", Path(name).stem)


def distinct(adapter: Adapter, others: Iterable[Adapter], file: str = "") -> Adapter:
    """The adapter under a name that no other has: its title, its file's name where titles are equal, or numbered."""
    taken = {other.name.casefold() for other in others if other.sha256 != adapter.sha256}
    file = one_line(file or adapter.path.stem, MAX_NAME)
    names = itertools.chain([adapter.name, file], (f"{file} ({number})" for number in itertools.count(2)))
    return replace(adapter, name=next(name for name in names if name.casefold() not in taken))


def describe(path: Path, source: str, shapes: Shapes | None = None) -> Adapter:
    """Read an adapter file's header. Raises UnreadableAdapter, and UnfitAdapter for an embedding that a model of those
    `shapes` cannot read: its word would be one like others.
    """
    embedding = read_embedding(path, path.stem, header_only=True)
    if embedding and shapes and (wrong := misfit(embedding[0], shapes)):
        raise UnfitAdapter(f"{path.name} {wrong}")
    file = embedding_file(*embedding) if embedding else read_adapter(path, {}, header_only=True)
    found = adapter_of(path, adapter_id(path.name), path.stem, source, file, hashes(path))
    return replace(found, preview=next((p for end in PREVIEWS if (p := path.with_suffix(end)).exists()), None))


def adapter_of(
    path: Path,
    identity: str,
    name: str,
    source: str,
    file: AdapterFile,
    digests: tuple[str, str],
    licence: str = "unknown",
) -> Adapter:
    """What a file that has been read says about itself; `name` and `licence` where it says nothing. `digests` are its
    `lora.files.hashes`.
    """
    there, (whole, tensors) = path.stat(), digests
    words = tuple((word, max(map(len, parts.values()))) for word, parts in file.words.items())
    # Kept by trainers when they write the header anew; a file that was converted since still says it.
    said = file.metadata.get("sshs_model_hash", "").lower()
    return Adapter(
        id=identity,
        name=one_line(file.metadata.get("modelspec.title") or name, MAX_NAME),
        path=path,
        sha256=whole,
        tensor_hashes=(tensors, *([said] if SHA256.fullmatch(said) else [])),
        rank=file.rank,
        parameters=parameters(file),
        size=there.st_size,
        added=there.st_mtime,
        source=source,
        triggers=triggers(file.metadata) if file.deltas else tuple(word for word, _ in words),
        licence=one_line(file.metadata.get("modelspec.license", licence), MAX_NAME),
        description=one_line(file.metadata.get("modelspec.description", "")),
        words=words,
        embedding=not file.deltas,
        few_steps=few_steps(file.metadata, whole) if file.deltas else None,
    )
