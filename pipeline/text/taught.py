"""Words that files teach the text encoders (textual inversion): their place in a text, and their vectors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from lora.adapter import Adapter
from lora.embeddings import misfit, read_bundled, read_embedding
from lora.errors import UnfitAdapter, shown
from lora.names import Shapes
from pipeline.text.tokens import FIRST, Lexicon


@dataclass(frozen=True)
class Taught:
    """The words of some files. `tables` has for each text encoder all vectors of all words in the order of `words`,
    V x width; `key` is equal where they mean the same.
    """

    words: Lexicon = ()
    tables: tuple[torch.Tensor, ...] = ()
    key: tuple = ()

    @classmethod
    def of(cls, adapters: Sequence[Adapter], encoders: Sequence[str], shapes: Shapes) -> "Taught":
        """Read from embeddings and from LoRA files that bring words, for the text encoders of these names.

        Of two files with one word the first counts. Raises UnreadableAdapter, UnfitAdapter.
        """
        found: dict[str, dict[str, torch.Tensor]] = {}
        for adapter in adapters:
            embedding = read_embedding(adapter.path, adapter.words[0][0]) if adapter.embedding else None
            vectors = embedding[0] if embedding else read_bundled(adapter.path)
            if wrong := misfit(vectors, shapes):
                if not adapter.embedding:
                    continue
                raise UnfitAdapter(f"Embedding {shown(adapter.name)} {wrong}")
            for word, parts in vectors.items():
                found.setdefault(word.casefold(), dict(parts))
        if not found:
            return cls()
        tables = tuple(torch.cat([parts[name].float() for parts in found.values()]) for name in encoders)
        words = tuple((word, len(parts[encoders[0]])) for word, parts in found.items())
        return cls(words, tables, tuple(adapter.sha256 for adapter in adapters))

    @contextmanager
    def read_by(self, encoder: Any, number: int, ids: torch.Tensor) -> Iterator[torch.Tensor]:
        """`ids` N x L as text encoder `number` takes them; while inside, it reads vectors where they are no tokens."""
        inside = ids >= FIRST
        if not inside.any():
            yield ids
            return

        def replaced(module, args, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[inside] = self.tables[number][ids[inside] - FIRST].to(output)
            return output

        # The end of a text is where its largest id is: these are larger than any token's.
        hook = encoder.get_input_embeddings().register_forward_hook(replaced)
        try:
            yield ids.where(~inside, 0)
        finally:
            hook.remove()


NOTHING = Taught()
