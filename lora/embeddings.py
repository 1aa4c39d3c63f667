"""Textual inversion (Gal et al. 2023): words that are vectors in the text encoders' input instead of tokens.

Files of their own are A1111's (`emb_params`, or `clip_l` and `clip_g`), diffusers' (the word itself names the tensor)
and what pivotal tuning writes beside a LoRA (`text_encoders_0`, `text_encoders_1`). OneTrainer puts its words into the
LoRA file, as `bundle_emb.WORD....`. Each tensor is vectors x width of a text encoder.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from lora.errors import UnreadableAdapter, shown
from lora.files import TensorFile, read
from lora.names import Shapes, is_text

# A chunk of the text has room for so many.
MAX_VECTORS, MAX_WORDS, MAX_WORD = 75, 64, 120
BUNDLED = "bundle_emb."
_ENCODERS = {
    "clip_l": "text_encoder", "text_encoders_0": "text_encoder", "emb_params": "text_encoder",
    "clip_g": "text_encoder_2", "text_encoders_1": "text_encoder_2",
}  # fmt: skip
_WIDTH = re.compile(r"(encoder\.)?layers\.0\.self_attn\.q_proj")
# Of each word, for each text encoder that it has vectors for: vectors x width.
Vectors = Mapping[str, Mapping[str, torch.Tensor]]


def read_embedding(path: Path, word: str, header_only: bool = False) -> tuple[Vectors, Mapping[str, str]] | None:
    """The words of a file that holds nothing else, and its metadata; where the file has no name for it, it is `word`.

    None for a file of another kind. Raises UnreadableAdapter.
    """
    file = read(path, header_only)
    if not file.tensors or not all(_own(key, tensor) for key, tensor in file.tensors.items()):
        return None
    return _checked(
        path.name, _gathered(((_word(key, word), key, t) for key, t in file.tensors.items()))
    ), file.metadata


def bundled(name: str, file: TensorFile) -> Vectors:
    """The words that came in a LoRA file called `name`. Raises UnreadableAdapter."""
    inside = ((key.removeprefix(BUNDLED), tensor) for key, tensor in file.tensors.items() if key.startswith(BUNDLED))
    split = ((re.sub(r"\.string_to_param.*$", ".emb_params", key).rpartition("."), tensor) for key, tensor in inside)
    return _checked(name, _gathered((word, part, tensor) for (word, _, part), tensor in split if word))


def read_bundled(path: Path) -> Vectors:
    """As `bundled`, with values. Raises UnreadableAdapter."""
    return bundled(path.name, read(path, prefix=BUNDLED))


def widths(shapes: Shapes) -> dict[str, int]:
    """How wide the vectors of each of a model's text encoders are, by the shapes of its layers."""
    return {component: shape[1] for (component, path), shape in shapes.items()
            if is_text(component) and _WIDTH.fullmatch(path)}  # fmt: skip


def misfit(words: Vectors, shapes: Shapes) -> str:
    """In words about "it" why a model of those shapes cannot read them, or ""."""
    wanted = widths(shapes)
    for word, parts in words.items():
        found = {component: tensor.shape[1] for component, tensor in parts.items()}
        if found != wanted:
            has, needs = (" and ".join(map(str, sizes.values())) or "none" for sizes in (found, wanted))
            return (
                f"was made for another model: the vectors of its word {shown(word)} are {has} numbers wide, this "
                f"model's text encoders read {needs}."
            )
    return ""


def _own(key: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor is one of a file of words only."""
    known = key in _ENCODERS or re.fullmatch(r"string_to_param\..{1,100}|<[^<>]{1,100}>", key) is not None
    return known and tensor.ndim in (1, 2)


def _word(key: str, word: str) -> str:
    return key if key.startswith("<") else word


def _gathered(parts: Iterable[tuple[str, str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for word, key, tensor in parts:
        vectors = tensor.unsqueeze(0) if tensor.ndim == 1 else tensor
        found.setdefault(word, {})[_ENCODERS.get(key, "text_encoder")] = vectors
    return found


def _checked(name: str, words: Vectors) -> Vectors:
    """Raises UnreadableAdapter for what is no sensible word."""
    if len(words) > MAX_WORDS:
        raise UnreadableAdapter(f"{name} has {len(words)} words; up to {MAX_WORDS} are taken.")
    for word, parts in words.items():
        counts = {tensor.shape[0] for tensor in parts.values()}
        if len(counts) > 1 or not 1 <= max(counts) <= MAX_VECTORS or any(t.ndim != 2 for t in parts.values()):
            raise UnreadableAdapter(
                f"{name} has {'/'.join(map(str, sorted(counts)))} vectors for {shown(word)}; 1 to {MAX_VECTORS} are "
                "taken, and as many for each text encoder."
            )
        if not word.strip() or not word.isprintable() or len(word) > MAX_WORD:
            raise UnreadableAdapter(f"{name} has the word {shown(word)}; up to {MAX_WORD} letters are taken.")
        if any(not tensor.is_meta and not torch.isfinite(tensor.float()).all() for tensor in parts.values()):
            raise UnreadableAdapter(f"{name} has values that are not finite in {shown(word)}.")
    return words
