"""An adapter against a base model, before any run: does it fit, how much of it, what is it, where is it from."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora.files import sha256
from lora.formats import AdapterFile, Deltas, read_adapter
from lora.names import Layer, Shapes, is_text

EXAMPLES, TAGS, MAX_TEXT = 5, 12, 300
TRAINING = (
    "modelspec.author", "modelspec.date", "modelspec.license", "modelspec.resolution", "ss_network_module",
    "ss_num_train_images", "ss_num_epochs", "ss_steps", "ss_max_train_steps", "ss_learning_rate", "ss_optimizer",
    "ss_resolution", "ss_training_comment",
)  # fmt: skip


@dataclass(frozen=True)
class FamilyMarks:
    """How a model family is called, and how an adapter for it is known. What is empty or 0 says nothing.

    `base` is the model on the Hub that its adapters name as theirs; `layers` is found in the names of layers, `width`
    is a side of a layer of its transformer, `text_width` that of the text in its cross-attention, `metadata` is found
    in what a file says of its base.
    """

    name: str
    title: str
    base: str = ""
    layers: str = ""
    width: int = 0
    text_width: int = 0
    second_text_encoder: bool = False
    metadata: str = ""


@dataclass(frozen=True)
class Fit:
    """Which layers a model has in the adapter's shape (`matched`), in another shape, and not at all."""

    matched: tuple[Layer, ...]
    misshapen: tuple[Layer, ...]
    unmatched: tuple[Layer, ...]
    reason: str

    @property
    def fits(self) -> bool:
        """At least one layer matches, and none that the model has is of another shape."""
        return bool(self.matched) and not self.misshapen


def fit(deltas: Deltas, shapes: Shapes) -> Fit:
    """Hold an adapter's layers against a model's. `reason` is one sentence about "it"."""
    known = [layer for layer in deltas if layer in shapes]
    matched = tuple(layer for layer in known if deltas[layer].fits(shapes[layer]))
    misshapen = tuple(layer for layer in known if not deltas[layer].fits(shapes[layer]))
    unmatched = tuple(layer for layer in deltas if layer not in shapes)
    total, share = len(deltas), f"{100 * len(matched) / len(deltas):.0f} %"
    if misshapen:
        layer = misshapen[0]
        reason = (
            f"was made for another model: its layer {_named(layer)} changes weights of shape "
            f"{list(deltas[layer].matrix)}, this model's have {list(shapes[layer])}; {len(matched)} of its {total} "
            f"layers fit ({share})."
        )
    elif not matched:
        example = _named(unmatched[0])
        reason = f"was made for another model: none of its {total} layers, such as {example}, is in this one."
    elif unmatched:
        example = _named(unmatched[0])
        reason = f"fits in part: {len(matched)} of its {total} layers ({share}); this model has no {example}."
    else:
        reason = f"fits: this model has all of its {total} layers."
    return Fit(matched, misshapen, unmatched, reason)


@dataclass(frozen=True)
class Verdict:
    """What is known about an adapter file before it is put on.

    `family` is the name of one, or "unknown", and `known_by` says how that is known; `base` is the model that its
    metadata names. `share` is its number of parameters over that of the base's layers. `groups` tells layers,
    rank and alpha (from, to) by component.
    """

    fit: Fit
    reason: str
    family: str
    known_by: str
    base: str
    file: AdapterFile
    parameters: int
    share: float
    sha256: str

    @property
    def fits(self) -> bool:
        """Whether it can be put on."""
        return self.fit.fits

    @property
    def groups(self) -> dict[str, dict]:
        """Layers, kinds, rank and alpha by component."""
        groups: dict[str, list] = {}
        for (component, _), delta in self.file.deltas.items():
            groups.setdefault(component, []).append(delta)
        return {
            component: {
                "layers": len(deltas),
                "kinds": dict(Counter(delta.kind for delta in deltas)),
                "rank": [min(d.rank for d in deltas), max(d.rank for d in deltas)],
                "alpha": [round(min(d.alpha for d in deltas), 6), round(max(d.alpha for d in deltas), 6)],
            }
            for component, deltas in sorted(groups.items())
        }

    def public(self) -> dict:
        """For callers, ready for JSON."""
        unmatched, metadata = self.fit.unmatched + self.fit.misshapen, self.file.metadata
        return {
            "fits": self.fits,
            "reason": self.reason,
            "family": self.family,
            "family_known_by": self.known_by,
            "base": self.base,
            "matched": len(self.fit.matched),
            "matched_examples": _examples(self.fit.matched),
            "unmatched": len(unmatched),
            "unmatched_examples": _examples(unmatched),
            "ignored": len(self.file.ignored),
            "ignored_examples": [one_line(key) for key in self.file.ignored[:EXAMPLES]],
            "rank": self.file.rank,
            "groups": self.groups,
            "parameters": self.parameters,
            "share": self.share,
            "triggers": list(triggers(metadata)),
            "tags": top_tags(metadata),
            "training": {key: one_line(metadata[key]) for key in TRAINING if key in metadata},
            "notes": list(self.file.notes),
            "sha256": self.sha256,
        }


def inspect(
    path: Path, shapes: Shapes, base_family: str, header_only: bool = True, families: Sequence[FamilyMarks] = ()
) -> Verdict:
    """Judge a file for a base model of that family whose layers have those shapes; `families` are known by name.

    Reads the header and the alphas, or else all, and then values that are not finite show as well. Raises
    UnreadableAdapter for a file that could not be put on any model.
    """
    file = read_adapter(path, shapes, header_only)
    found = fit(file.deltas, shapes)
    family, known_by = family_of(file, found, base_family, families)
    reason = f"It {found.reason}"
    if not found.fits and family not in ("unknown", base_family):
        reason += f" It is an adapter for {next(each.title for each in families if each.name == family)}."
    count, whole = parameters(file), sum(map(math.prod, shapes.values()))
    named = (file.metadata.get(key) for key in ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture"))
    base = one_line(next(filter(None, named), "unknown"))
    return Verdict(found, reason, family, known_by, base, file, count, count / max(whole, 1), sha256(path))


def family_of(file: AdapterFile, found: Fit, base_family: str, families: Sequence[FamilyMarks]) -> tuple[str, str]:
    """The family that an adapter was made for, and how that is known: by names, widths, fit, or only its metadata."""
    names = " ".join(f"{component}.{path}" for component, path in file.deltas)
    transformer = [delta for (component, _), delta in file.deltas.items() if component == "transformer"]
    wide = {side for delta in transformer for side in delta.matrix}
    for each in families:
        if each.layers and re.search(each.layers, names):
            return each.name, f"its layers are named as {each.title}'s"
        if each.width in wide:
            return each.name, f"its layers are as wide as {each.title}'s"
    text = {d.matrix[1] for (c, path), d in file.deltas.items() if not is_text(c) and re.search("attn2.to_[kv]$", path)}
    for each in families:
        if text == {each.text_width}:
            return each.name, "its cross-attention is as wide as that family's text"
    if found.fits and not found.unmatched:
        return base_family, "all of its layers are this model's"
    if any(component == "text_encoder_2" for component, _ in file.deltas):
        for each in families:
            if each.second_text_encoder:
                return each.name, "it changes a second text encoder"
    said = f"{file.metadata.get('ss_base_model_version', '')} {file.metadata.get('modelspec.architecture', '')}".lower()
    for each in families:
        if each.metadata and re.search(each.metadata, said):
            return each.name, "its metadata says so"
    return "unknown", "neither names, shapes nor metadata tell"


def parameters(file: AdapterFile) -> int:
    """How many numbers it holds."""
    return sum(tensor.numel() for delta in file.deltas.values() for tensor in delta.tensors)


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that it was trained to follow, as its metadata gives them."""
    words = one_line(metadata.get("modelspec.trigger_phrase", "")).split(",")
    return tuple(word.strip() for word in words if word.strip())


def top_tags(metadata: Mapping[str, str]) -> list[str]:
    """The most frequent tags of its training captions, as kohya's tools count them by folder."""
    counts: Counter[str] = Counter()
    try:
        for folder in json.loads(metadata.get("ss_tag_frequency", "{}")).values():
            counts.update({one_line(tag).strip(): int(count) for tag, count in folder.items()})
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return []
    return [tag for tag, _ in counts.most_common(TAGS) if tag]


def _named(layer: Layer) -> str:
    return one_line(".".join(layer), 80)


def _examples(layers: tuple[Layer, ...]) -> list[str]:
    return [_named(layer) for layer in layers[:EXAMPLES]]


def one_line(value: str, most: int = MAX_TEXT) -> str:
    """A stranger's text, on one line and short."""
    clean = "".join(c if c.isprintable() else " " for c in value[: most + 1])
    return clean if len(clean) <= most else clean[: most - 1] + "…"
