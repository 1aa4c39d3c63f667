"""An adapter against a base model, before any run: does it fit, how much of it, what is it, where is it from."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lora.adapter import FewSteps
from lora.embeddings import Vectors, misfit, read_embedding
from lora.errors import UnreadableAdapter
from lora.files import hashes, read
from lora.formats import AdapterFile, Deltas, read_adapter
from lora.names import Layer, Shapes, is_text
from lora.offers import BY_CONTENT

EXAMPLES, TAGS, MAX_TEXT = 5, 12, 300
# Names that are searched for a family's marks: a file has them in every block.
MOST_NAMES = 3000
CROSS_ATTENTION = re.compile(r"attn2[._]to_[kv]$")
# What `training.distill` writes and `few_steps` reads.
FEW_STEPS = "atelier.few_steps"
TRAINING = (
    "modelspec.author", "modelspec.date", "modelspec.license", "modelspec.resolution", "ss_network_module",
    "ss_num_train_images", "ss_num_epochs", "ss_steps", "ss_max_train_steps", "ss_learning_rate", "ss_optimizer",
    "ss_resolution", "ss_training_comment",
)  # fmt: skip


@dataclass(frozen=True)
class FamilyMarks:
    """How a model family is called, and how an adapter for it is known. What is empty or 0 says nothing.

    `base` is the model on the Hub that its adapters name as theirs; `layers` is found in the name of a layer in the
    file, and where there are `widths`, one of them is a side of a layer of the denoiser; `text_width` is that of the
    text in its cross-attention, `metadata` is found in what a file says of its base.
    """

    name: str
    title: str
    base: str = ""
    layers: str = ""
    widths: tuple[int, ...] = ()
    text_width: int = 0
    second_text_encoder: bool = False
    metadata: str = ""


@dataclass(frozen=True)
class Fit:
    """Which layers a model has in the adapter's shape (`matched`), in another shape, and not at all.

    Biases and scales of norms are counted apart: `vectors` are those that the model has, `dropped` those it lacks.
    """

    matched: tuple[Layer, ...]
    misshapen: tuple[Layer, ...]
    unmatched: tuple[Layer, ...]
    reason: str
    vectors: tuple[Layer, ...] = ()
    dropped: tuple[Layer, ...] = ()
    fits: bool = False


def fit(deltas: Deltas, shapes: Shapes, stems: Mapping[Layer, str] | None = None) -> Fit:
    """Hold an adapter's layers against a model's. `reason` is one sentence about "it", with the file's own names.

    It fits where nothing that the model has is of another shape, and something matches: in the denoiser, if it changes
    one at all, since text encoders are shared between families.
    """
    good: list[Layer] = []
    misshapen: list[Layer] = []
    missing: list[Layer] = []
    for layer, delta in deltas.items():
        (missing if layer not in shapes else good if delta.fits(shapes[layer]) else misshapen).append(layer)
    matched, vectors = _apart(good, deltas)
    unmatched, dropped = _apart(missing, deltas)
    drawing = [layer for layer in deltas if not is_text(layer[0])]
    painted = [layer for layer in good if not is_text(layer[0])]
    fits = bool(good) and not misshapen and (bool(painted) or not drawing)
    found = Fit(tuple(matched), tuple(misshapen), tuple(unmatched), "", tuple(vectors), tuple(dropped), fits)
    lacking = drawing if good else [*unmatched, *dropped]
    return replace(found, reason=_reason(found, lacking, deltas, shapes, stems or {}))


def _reason(found: Fit, lacking: Sequence[Layer], deltas: Deltas, shapes: Shapes, names: Mapping[Layer, str]) -> str:
    """Why it fits or not; `lacking` are the layers that count and that the model has none of."""
    matched, wrong = len(found.matched), found.misshapen
    total = matched + len(found.unmatched) + len(_apart(wrong, deltas)[0])
    share = f"{100 * matched / max(total, 1):.0f} %"
    if wrong:
        sizes = ", ".join(str(side or "any") for side in deltas[wrong[0]].matrix)
        return (
            f"was made for another model: its layer {_named(wrong[0], names)} changes weights of shape [{sizes}], this "
            f"model's have {list(shapes[wrong[0]])}; {matched} of its {total} layers fit ({share})."
        )
    if not found.fits:
        part = " of the denoiser" if found.matched or found.vectors else ""
        return (
            f"was made for another model: none of its {len(lacking)} layers{part}, such as "
            f"{_named(lacking[0], names)}, is in this one."
        )
    if found.unmatched:
        example = _named(found.unmatched[0], names)
        reason = f"fits in part: {matched} of its {total} layers ({share}); this model has no {example}"
    else:
        layers = [f"all of its {total} layers"] if total else []
        vectors = [f"{len(found.vectors)} of its biases and norms"] if found.vectors else []
        reason = f"fits: this model has {' and '.join(layers + vectors)}"
    if found.dropped:
        reason += f"; it lacks {len(found.dropped)} biases or norms, such as {_named(found.dropped[0], names)}"
    return f"{reason}."


def _apart(layers: Sequence[Layer], deltas: Deltas) -> tuple[list[Layer], list[Layer]]:
    """Layers, and the biases and norms among them."""
    return ([layer for layer in layers if len(deltas[layer].matrix) > 1],
            [layer for layer in layers if len(deltas[layer].matrix) == 1])  # fmt: skip


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
    tensors_sha256: str

    @property
    def fits(self) -> bool:
        """Whether it can be put on."""
        return self.fit.fits

    @property
    def groups(self) -> dict[str, dict]:
        """Layers, kinds, rank and alpha by component."""
        groups: dict[str, list] = {}
        for (component, _), delta in self.file.deltas.items():
            if len(delta.matrix) > 1:
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
        unmatched, metadata, stems = self.fit.unmatched + self.fit.misshapen, self.file.metadata, self.file.stems
        ignored = (*self.file.ignored, *(stems[layer] for layer in self.fit.dropped))
        return {
            "fits": self.fits,
            "reason": self.reason,
            "family": self.family,
            "family_known_by": self.known_by,
            "base": self.base,
            "matched": len(self.fit.matched),
            "matched_examples": [_named(layer) for layer in self.fit.matched[:EXAMPLES]],
            "unmatched": len(unmatched),
            "unmatched_examples": [_named(layer, stems) for layer in unmatched[:EXAMPLES]],
            "ignored": len(ignored),
            "ignored_examples": [one_line(key) for key in ignored[:EXAMPLES]],
            "rank": self.file.rank,
            "words": [one_line(word) for word in self.file.words],
            "groups": self.groups,
            "parameters": self.parameters,
            "share": self.share,
            "triggers": list(triggers(metadata)),
            "tags": top_tags(metadata),
            "training": training(metadata),
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
    try:
        file = read_adapter(path, shapes, header_only)
    except UnreadableAdapter as error:
        raise UnreadableAdapter(f"{error}{_named_as(path, base_family, families)}") from error
    found = fit(file.deltas, shapes, file.stems)
    family, known_by = family_of(file, found, base_family, families)
    reason = f"It {found.reason}"
    if not found.fits and family not in ("unknown", base_family):
        reason += f" It is an adapter for {next(each.title for each in families if each.name == family)}."
    count, whole = parameters(file), sum(map(math.prod, shapes.values()))
    named = (file.metadata.get(key) for key in ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture"))
    base = one_line(next(filter(None, named), "unknown"))
    return Verdict(found, reason, family, known_by, base, file, count, count / max(whole, 1), *hashes(path))


def judge_embedding(path: Path, word: str, shapes: Shapes, base_family: str) -> Verdict | None:
    """As `inspect`, of a file that holds words of a prompt, all of it read; None of another. Raises UnreadableAdapter.

    `word` is its own where the file has no name for it.
    """
    if (found := read_embedding(path, word)) is None:
        return None
    file, wrong = embedding_file(*found), misfit(found[0], shapes)
    several = len(file.words) > 1
    words = ", ".join(one_line(each, 40) for each in islice(file.words, EXAMPLES))
    told = f"is an embedding: write its {'words' if several else 'word'} into the prompt: {words}."
    verdict = Fit((), (), (), wrong or told, fits=not wrong)
    # Relatives share their first text encoder, so that its width tells little.
    family = base_family if not wrong else "unknown"
    known_by = "its vectors are as wide as this model's" if not wrong else "the width of vectors does not tell"
    of_file = file, parameters(file), 0.0, *hashes(path)
    return Verdict(verdict, f"It {verdict.reason}", family, known_by, "unknown", *of_file)


def embedding_file(words: Vectors, metadata: Mapping[str, str]) -> AdapterFile:
    """A file of words in the form of an adapter that changes no layer."""
    return AdapterFile({}, metadata, (), (), {}, words)


def family_of(file: AdapterFile, found: Fit, base_family: str, families: Sequence[FamilyMarks]) -> tuple[str, str]:
    """The family that an adapter was made for, and how that is known: by fit, names, widths, or only its metadata."""
    if found.fits and not found.unmatched:
        return base_family, "all of its layers are this model's"
    denoiser = [(path, delta) for (component, path), delta in file.deltas.items() if not is_text(component)]
    sides = {side for _, delta in denoiser for side in delta.matrix}
    # Relatives with the same names of blocks are told apart by the width of their text, if the file shows it.
    relatives = [each for each in families if each.text_width]
    if named := _by_names(file.stems.values(), sides, [each for each in families if each not in relatives]):
        return named.name, f"its layers are named as {named.title}'s"
    text = {delta.matrix[-1] for path, delta in denoiser if CROSS_ATTENTION.search(path)} - {0}
    for each in relatives:
        if text == {each.text_width}:
            return each.name, "its cross-attention is as wide as that family's text"
    if named := _by_names(file.stems.values(), sides, relatives):
        return named.name, f"its layers are named as {named.title}'s"
    if any(component == "text_encoder_2" for component, _ in file.deltas):
        for each in families:
            if each.second_text_encoder:
                return each.name, "it changes a second text encoder"
    said = f"{file.metadata.get('ss_base_model_version', '')} {file.metadata.get('modelspec.architecture', '')}".lower()
    for each in families:
        if each.metadata and re.search(each.metadata, said):
            return each.name, "its metadata says so"
    return "unknown", "neither names, shapes nor metadata tell"


def _by_names(stems: Iterable[str], sides: Set[int], families: Sequence[FamilyMarks]) -> FamilyMarks | None:
    names = "\n".join(islice(stems, MOST_NAMES))
    marked = (each for each in families if each.layers and (not each.widths or sides & {*each.widths}))
    return next((each for each in marked if re.search(each.layers, names, re.M)), None)


def _named_as(path: Path, base_family: str, families: Sequence[FamilyMarks]) -> str:
    """Another family, in a sentence, of whose layers an unreadable file's tensors have the names."""
    try:
        tensors = read(path, header_only=True).tensors
    except UnreadableAdapter:
        return ""
    sides = {side for tensor in tensors.values() for side in tensor.shape}
    named = _by_names(tensors, sides, families)
    return f" Its layers are named as {named.title}'s." if named and named.name != base_family else ""


def parameters(file: AdapterFile) -> int:
    """How many numbers it holds."""
    vectors = sum(tensor.numel() for parts in file.words.values() for tensor in parts.values())
    return vectors + sum(tensor.numel() for delta in file.deltas.values() for tensor in delta.tensors)


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that it was trained to follow, as its metadata gives them."""
    words = one_line(metadata.get("modelspec.trigger_phrase", "")).split(",")
    return tuple(word.strip() for word in words if word.strip())


def few_steps(metadata: Mapping[str, str], sha256: str = "") -> FewSteps | None:
    """How it says that it paints in few steps, or is known to by its hash, if it does."""
    if sha256 in BY_CONTENT:
        return BY_CONTENT[sha256].few_steps
    try:
        return FewSteps.of(json.loads(metadata.get(FEW_STEPS, "null")))
    except (ValueError, RecursionError):
        return None


def training(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a file says of how it was trained, each value on one line."""
    return {key: one_line(metadata[key]) for key in TRAINING if key in metadata}


def trained(path: Path) -> dict[str, str]:
    """The same of a file that has not been read. Raises UnreadableAdapter."""
    return training(read(path, header_only=True).metadata)


def top_tags(metadata: Mapping[str, str]) -> list[str]:
    """The most frequent tags of its training captions, as kohya's tools count them by folder."""
    counts: Counter[str] = Counter()
    try:
        for folder in json.loads(metadata.get("ss_tag_frequency", "{}")).values():
            counts.update({one_line(tag).strip(): int(count) for tag, count in folder.items()})
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return []
    return [tag for tag, _ in counts.most_common(TAGS) if tag]


def _named(layer: Layer, stems: Mapping[Layer, str] | None = None) -> str:
    return one_line((stems or {}).get(layer) or ".".join(layer), 80)


def one_line(value: str, most: int = MAX_TEXT) -> str:
    """A stranger's text, on one line and short."""
    clean = "".join(c if c.isprintable() else " " for c in value[: most + 1])
    return clean if len(clean) <= most else clean[: most - 1] + "…"
