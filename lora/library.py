"""Which adapters there are: the built-in ones and those of a folder."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from lora.adapter import Adapter
from lora.errors import AdapterError, UnknownAdapter, UnreadableAdapter, shown
from lora.files import sha256
from lora.formats import read_adapter
from lora.inspection import triggers

MAX_NAME = 120
PREVIEWS = (".webp", ".png", ".jpg")
log = logging.getLogger(__name__)


class Library:
    """All adapters by id. The id is the file's name without its ending."""

    def __init__(self, folders: Sequence[tuple[Path, str]]):
        """`folders` are (folder, source) pairs; of two adapters with one id the first counts.

        A file that is no adapter is left out and logged: one bad file must not keep the rest from being used.
        """
        self._adapters: dict[str, Adapter] = {}
        for folder, source in folders:
            for path in sorted(folder.glob("*.safetensors")):
                try:
                    adapter = describe(path, source)
                except AdapterError as error:
                    log.warning("left out an adapter: %s", error)
                else:
                    self._adapters.setdefault(adapter.id, adapter)

    def add_from_hub(self, adapter_id: str, repo: str, file: str, revision: str = "main") -> None:
        """Download one file (once; the Hub's cache keeps it) and add it, its source naming the commit it came from.

        Where the Hub or the file is out of reach it is left out and logged.
        """
        try:
            path = Path(hf_hub_download(repo, file, revision=revision))
            # The cache keeps a file under snapshots/COMMIT/.
            commit = path.relative_to(path.parents[len(Path(file).parts)]).parts[0]
            found = describe(path, f"{repo}@{commit[:12]}")
        except (OSError, HfHubHTTPError, AdapterError) as error:
            log.warning("left out the adapter %s of %s: %s", adapter_id, repo, type(error).__name__)
        else:
            self._adapters.setdefault(adapter_id, replace(found, id=adapter_id, name=adapter_id))

    def all(self) -> tuple[Adapter, ...]:
        """Every adapter, in the order of the folders and of the names."""
        return tuple(self._adapters.values())

    def find(self, adapter_id: str) -> Adapter:
        """The adapter of that id. Raises UnknownAdapter, naming those there are."""
        if adapter_id in self._adapters:
            return self._adapters[adapter_id]
        known = ", ".join(self._adapters) or "none is installed"
        raise UnknownAdapter(f"There is no adapter {shown(adapter_id)}; known adapters: {known}.")


def adapter_id(name: str) -> str:
    """A file's name without its ending, as an id; a name that could lead to another folder is refused."""
    if not name.isprintable() or "/" in name or "\\" in name or name.startswith(".") or len(name) > MAX_NAME:
        raise UnreadableAdapter(
            f"The file name {shown(name)} is not taken; use one of up to {MAX_NAME} letters, digits, dots and dashes."
        )
    return re.sub(r"[^\w.-]", "_", Path(name).stem)


def describe(path: Path, source: str) -> Adapter:
    """Read an adapter file's header. Raises UnreadableAdapter."""
    file = read_adapter(path, {}, header_only=True)
    return Adapter(
        id=adapter_id(path.name),
        name=file.metadata.get("modelspec.title") or path.stem,
        path=path,
        sha256=sha256(path),
        rank=file.rank,
        parameters=sum(tensor.numel() for delta in file.deltas.values() for tensor in delta.tensors),
        size=path.stat().st_size,
        source=source,
        triggers=triggers(file.metadata),
        licence=file.metadata.get("modelspec.license", "unknown"),
        description=file.metadata.get("modelspec.description", ""),
        preview=next((p for ending in PREVIEWS if (p := path.with_suffix(ending)).exists()), None),
    )
