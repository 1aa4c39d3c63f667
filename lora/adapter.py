"""What a style is: plain frozen data, without torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Adapter:
    """A LoRA file that the library has read and found usable.

    `sha256` is of the whole file, `parameters` counts its numbers, `size` its bytes; `triggers` are the words that
    it was trained with; `source` is "built-in" or "folder".
    """

    id: str
    name: str
    path: Path
    sha256: str
    rank: int
    parameters: int
    size: int
    source: str
    triggers: tuple[str, ...] = ()
    licence: str = "unknown"
    description: str = ""
    preview: Path | None = None

    def public(self) -> dict:
        """What callers may know: everything but where the files are."""
        return {
            "id": self.id,
            "name": self.name,
            "source": self.source,
            "triggers": list(self.triggers),
            "rank": self.rank,
            "parameters": self.parameters,
            "size": self.size,
            "licence": self.licence,
            "description": self.description,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class AdapterUse:
    """An adapter at a weight of -2..2; 0 is exactly the base model."""

    adapter: Adapter
    weight: float = 1.0


# Order means nothing; an adapter named twice counts with the sum of its weights.
AdapterMix = tuple[AdapterUse, ...]
