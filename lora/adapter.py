"""What a style is: plain frozen data, without torch."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from lora.names import is_text

MAX_FEW_STEPS, MAX_GUIDANCE, MAX_PRESETS, MAX_PRESET = 16, 30.0, 8, 40


@dataclass(frozen=True)
class FewSteps:
    """How an adapter that was distilled to few steps paints.

    `schedulers` are names of presets, the best first; at a guidance scale of 1 there is none.
    """

    steps: int
    schedulers: tuple[str, ...]
    guidance_scale: float = 1.0

    @classmethod
    def of(cls, said: object) -> Self | None:
        """The same from JSON of a stranger's; None for what says no such thing, or numbers that nobody paints with."""
        if not isinstance(said, dict):
            return None
        steps, guidance, names = said.get("steps", 0), said.get("guidance_scale", -1), said.get("schedulers", ())
        if type(steps) is not int or type(guidance) not in (int, float) or not isinstance(names, list):
            return None
        good = [n for n in names[:MAX_PRESETS] if isinstance(n, str) and 0 < len(n) <= MAX_PRESET and n.isprintable()]
        if not good or not 1 <= steps <= MAX_FEW_STEPS or not 0 <= guidance <= MAX_GUIDANCE:
            return None
        return cls(steps, tuple(good), float(guidance))


@dataclass(frozen=True)
class Adapter:
    """A LoRA file, or an embedding, that the library has read and found usable.

    `sha256` is of the whole file, and of PEFT's config beside it where there is one; `tensor_hashes` are of its tensors
    without the header, as they are and as its metadata says; `parameters` counts its numbers, `size` its bytes;
    `triggers` are the words that it was trained with; `source` is "built-in", "folder", "upload", "kept" or, from the
    Hub, "owner/repo@commit"; `added` is when the file was written, in seconds since 1970. `words` are those that it
    teaches the text encoders, each with the number of its vectors; an `embedding` has nothing else. `few_steps` is
    how it paints in few steps, where it is no style: as the file says, or as is known of it.
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
    added: float = 0.0
    words: tuple[tuple[str, int], ...] = ()
    embedding: bool = False
    tensor_hashes: tuple[str, ...] = ()
    few_steps: FewSteps | None = None

    @property
    def is_style(self) -> bool:
        """Whether it is one to choose for its look: no word, and not what makes the model fast that it came with."""
        return not self.embedding and not (self.source == "built-in" and self.few_steps)

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
            "added": round(self.added),
            "kind": "embedding" if self.embedding else "adapter",
            "words": [word for word, _ in self.words],
            "few_steps": self.few_steps and asdict(self.few_steps),
        }


@dataclass(frozen=True)
class AdapterUse:
    """An adapter at a weight of -2..2; 0 is exactly the base model.

    `weight` is that of the UNet, `text_weight` that of the text encoders (None: the same). `blocks` are (name, factor)
    pairs for parts of the UNet: "down", "mid", "up" or a block's own name such as "up_blocks.0.attentions.1"; the
    longest name that a layer is in counts. From `start` to `end` (0..1 of the steps) the UNet has it; the text is
    encoded once, with all adapters.
    """

    adapter: Adapter
    weight: float = 1.0
    text_weight: float | None = None
    blocks: tuple[tuple[str, float], ...] = ()
    start: float = 0.0
    end: float = 1.0

    @property
    def weights(self) -> tuple[float, float]:
        """Of the UNet and of the text encoders."""
        return self.weight, self.weight if self.text_weight is None else self.text_weight

    def active(self, progress: float) -> bool:
        """Whether the UNet has it in a step that begins at `progress` (0..1) of the way."""
        return self.start <= progress and (progress < self.end or self.end == 1)

    def weight_of(self, component: str, path: str) -> float:
        """The weight of one layer, while it is active."""
        weight, text_weight = self.weights
        if is_text(component):
            return text_weight
        inside = [(len(name), factor) for name, factor in self.blocks if in_block(path, name)]
        return weight * max(inside)[1] if inside else weight


# Order means nothing; an adapter named twice counts with the sum of its weights.
AdapterMix = tuple[AdapterUse, ...]


def in_block(path: str, name: str) -> bool:
    """Whether a UNet layer lies in a block of that name."""
    whole = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}.get(name, name)
    return f"{path}.".startswith(f"{whole}.")


def combined(mix: AdapterMix) -> AdapterMix:
    """The one form that all equal mixes have: equal uses of an adapter summed, those of weight 0 left out, sorted."""
    groups: dict[tuple, list[AdapterUse]] = {}
    for use in mix:
        groups.setdefault((use.adapter.sha256, use.blocks, use.start, use.end), []).append(use)
    result = []
    for _, uses in sorted(groups.items()):
        # Rounded, so that 0.1 + 0.2 is 0.3.
        weight, text_weight = (round(math.fsum(parts), 9) for parts in zip(*(use.weights for use in uses)))
        if weight or text_weight:
            result.append(replace(uses[0], weight=weight, text_weight=text_weight))
    return tuple(result)


def normalized(mix: AdapterMix) -> tuple[AdapterMix, float]:
    """The mix with all weights scaled down so that their sizes add up to at most 1, and the factor (1: unchanged).

    Many adapters at full weight push the numbers where the model never was, and the picture burns. One of few steps
    stays as it is and is not counted: a model paints in few steps with all of it, and it was made to be under others.
    """
    total = _total(mix)
    if total <= 1:
        return mix, 1.0
    return tuple(
        use if use.adapter.few_steps
        else replace(use, weight=use.weights[0] / total, text_weight=use.weights[1] / total)
        for use in mix
    ), 1 / total  # fmt: skip


def _total(mix: AdapterMix) -> float:
    """The sizes of the weights of all but those of few steps."""
    return math.fsum(max(map(abs, use.weights)) for use in mix if not use.adapter.few_steps)


# Of the weights' sizes together. One adapter is trained for 1; from about here on the changes of several add up to
# numbers that no training has seen. A rule of thumb, as weights are: adapters differ.
BURNS = 1.5


def warnings(mix: AdapterMix) -> list[str]:
    """In words, what is likely to spoil the picture: at some step the sizes of the weights add up to more than BURNS.

    A normalised mix never does, and those of few steps are not counted.
    """
    uses = combined(mix)
    totals = [_total(tuple(use for use in uses if use.active(start))) for start in {use.start for use in uses}]
    if (most := max(totals, default=0.0)) <= BURNS:
        return []
    return [
        f"The adapters' weights add up to {most:.3g}; above {BURNS:g} a picture tends to burn: colours too strong, "
        f"shapes falling apart. Lower them, or set normalize_adapters."
    ]
