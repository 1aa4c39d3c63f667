"""A picture's text -> the values of a request that can be painted here, and in words what could not be restored."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from lora.adapter import Adapter
from lora.errors import AtelierError, InvalidRequest, shown
from pipeline.metadata import infotext
from pipeline.request.fields import OUTPAINTED, defaults
from pipeline.request.limits import Limits
from pipeline.request.mix import adapter_mix
from pipeline.request.request import FIELDS, PICTURES, GenerationRequest

# Of the adapters that a text names; a request takes fewer.
MAX_USES = 50
# Said elsewhere, or of no use to the reader.
UNSAID = {"Version", "Lora hashes", "Model", "Model hash", "metadata_scheme", "version"}


def unsaid(limits: Limits) -> dict:
    """What a request is where its picture says nothing: of everything that a picture can say."""
    neutral = {field.name: field.neutral for field in FIELDS if field.neutral is not None}
    values = defaults(limits, FIELDS) | neutral | {"prompt": ""}
    pictures = {field.name for field in PICTURES}
    return {name: value for name, value in values.items() if name not in pictures | {"normalize_adapters", "metadata"}}


def restore(text: str, limits: Limits, adapters: Sequence[Adapter], model: str) -> tuple[dict, list[str]]:
    """The values of a request, all of them, and a sentence on each thing that is not as it was.

    `adapters` are those that can be used here, `model` the name of this one. Raises InvalidRequest for what is no text.
    """
    read = infotext.parse(text)
    other: dict = read.pop("other")
    notes: list[str] = []
    read["adapters"] = _adapters(read.get("adapters", []), other, adapters, notes)
    # Without the picture there is nothing to paint beyond.
    beyond = {name.removeprefix("outpaint_"): read.pop(name, 0) for name in chain(*OUTPAINTED.values())}
    around = ", ".join(f"{pixels} pixels at the {end}" for end, pixels in beyond.items() if pixels)
    values = _valid(unsaid(limits) | read, unsaid(limits), limits, adapters, notes)
    if around:
        notes.append(f"It was painted beyond another picture, which is not in the file: {around}.")
    elif "mask_blur" in read:
        notes.append("It was painted into another picture, inside of a mask; both are not in the file.")
    elif "strength" in read:
        notes.append("It was painted over another picture, which is not in the file.")
    if (painter := other.get("Model") or other.get("base_model")) and painter != model:
        notes.append(f"It was painted by the model {shown(painter)}; this one is {model}.")
    if left := [name for name in other if name not in UNSAID]:
        more = f" and {len(left) - 12} more" if len(left) > 12 else ""
        notes.append(f"Not used here: {', '.join(left[:12])}{more}.")
    return values, notes


def _adapters(uses: list, other: Mapping, adapters: Sequence[Adapter], notes: list[str]) -> list[dict]:
    """The uses of those that are here, by the ids that they have here."""
    pairs = (pair.rpartition(": ") for pair in str(other.get("Lora hashes", "")).split(","))
    hashes = {name.strip(): digest for name, _, digest in pairs if re.fullmatch("[0-9a-f]{8,64}", digest)}
    ours, kept = other.get("Version") == infotext.VERSION, []
    if len(uses) > MAX_USES:
        notes.append(f"It names {len(uses)} adapters, of which the first {MAX_USES} were looked at.")
    for use in uses[:MAX_USES]:
        use = use if isinstance(use, dict) else {"id": use}
        name = use.get("id")
        digest = hashes.get(name, "") if isinstance(name, str) else ""
        found = _same(name, digest, adapters) if isinstance(name, str) else None
        if found is None:
            said = use.get("weight", "")
            weight = f", weight {f'{said:g}' if isinstance(said, float) else shown(said)}" if "weight" in use else ""
            notes.append(f"The adapter {shown(name)}{weight} is missing here; add it to have the same picture.")
            continue
        if ours and digest and not found.sha256.startswith(digest):
            notes.append(f"The adapter {shown(name)} is another file here than the one that it was painted with.")
        entry = use | {"id": found.id}
        try:
            adapter_mix([entry], {found.id: found}.__getitem__)
        except AtelierError as error:
            notes.append(f"The adapter {shown(name)} is not restored: {error}")
        else:
            kept.append(entry)
    return kept


def _same(name: str, digest: str, adapters: Sequence[Adapter]) -> Adapter | None:
    """The adapter of that id, else of that content, which is how one that was uploaded again is found, or name."""
    tests = (
        lambda adapter: adapter.id == name,
        lambda adapter: bool(digest) and adapter.sha256.startswith(digest),
        lambda adapter: name.casefold() in (adapter.id.casefold(), adapter.name.casefold()),
    )
    return next((adapter for test in tests for adapter in adapters if test(adapter)), None)


def _valid(values: dict, instead: dict, limits: Limits, adapters: Sequence[Adapter], notes: list[str]) -> dict:
    """The values, those that are not allowed here replaced by the usual ones."""
    known = {adapter.id: adapter for adapter in adapters}

    def find(name: str) -> Adapter:
        if name in known:
            return known[name]
        raise InvalidRequest("prompt", f"<lora:{name}>", "without an adapter that is missing here")

    values, prompt = dict(values), values["prompt"]
    # What goes together is judged when each value is allowed by itself.
    for _ in instead:
        try:
            GenerationRequest.create(values | {"prompt": values["prompt"] or "x"}, limits, find)
            break
        except InvalidRequest as error:
            for problem in error.problems:
                name = re.split(r"\W", problem.field)[0]
                # A tag in the prompt is an adapter, too.
                name = "prompt" if values[name] == instead[name] else name
                values[name] = instead[name]
                notes.append(f"Not restored: {problem}")
    if not values["prompt"] and not prompt:
        notes.append("It says no prompt.")
    return values
