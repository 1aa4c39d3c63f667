"""A picture's text -> the values of a request that can be painted here, and in words what could not be restored."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from lora.adapter import Adapter
from lora.errors import shown
from pipeline.metadata import infotext, names, uses
from pipeline.metadata.allowed import nearest, valid
from pipeline.request.fields import OUTPAINTED, defaults
from pipeline.request.limits import Limits
from pipeline.request.request import FIELDS, PICTURES

# Said elsewhere, or of no use to the reader.
UNSAID = {
    "Version", "Lora hashes", "TI hashes", "Lora weights", "Hashes", "Model", "Model hash", "base_model",
    "metadata_scheme", "version", "Civitai resources", "Civitai metadata", "Created Date", "Raw prompt",
    "Raw negative prompt", *infotext.OTHERWISE,
}  # fmt: skip
EMBEDDED = "embedded"
# Tags of A1111 that are left in a prompt: adapters in a form that is not known, or of a kind that there is not here.
_TAG = re.compile(r"(?<!\\)<(?:lora|lyco|hypernet):[^<>]{1,120}>")


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
    read = infotext.parse(text, text_layer=limits.text_layer)
    other: dict = read.pop("other")
    notes: list[str] = read.pop("notes", [])
    if model == EMBEDDED == other.get("Model") and 0 < infotext.form(other.get("Version")) < 3:
        # Of the same latents it makes twice as many pixels a side now.
        read |= {side: 2 * read[side] for side in ("width", "height") if isinstance(read.get(side), int)}
    read["adapters"] = uses.here(read.get("adapters", []), other, adapters, notes)
    uses.words(other, adapters, notes)
    around = _painted_over(read)
    values = valid(nearest(unsaid(limits) | read, limits, notes), unsaid(limits), limits, adapters, notes)
    notes += around
    notes += _told(values, other)
    if (painter := other.get("Model") or other.get("base_model")) and painter != model:
        notes.append(f"It was painted by the model {shown(painter)}; this one is {model}.")
    if left := [name for name in other if name not in UNSAID]:
        more = f" and {len(left) - 12} more" if len(left) > 12 else ""
        named = ", ".join(shown(name).strip("'") for name in left[:12])
        notes.append(f"Not used here: {named}{more}.")
    return values, notes


def _painted_over(read: dict) -> list[str]:
    """What is said of the picture that it began with, which is not in the file. Without it there is nothing to paint
    beyond, and a strength of 0 or 1 is that of no picture.
    """
    beyond = {name.removeprefix("outpaint_"): read.pop(name, 0) for name in chain(*OUTPAINTED.values())}
    if "mask_blur" not in read and read.get("strength") in (0, 1):
        del read["strength"]
    if around := ", ".join(f"{pixels} pixels at the {end}" for end, pixels in beyond.items() if pixels):
        return [f"It was painted beyond another picture, which is not in the file: {around}."]
    if "mask_blur" in read:
        return ["It was painted into another picture, inside of a mask; both are not in the file."]
    if "strength" in read:
        return ["It was painted over another picture, which is not in the file."]
    return []


def _told(values: Mapping, other: Mapping) -> list[str]:
    """What will differ though all of it was restored."""
    notes: list[str] = []
    if infotext.is_ours(other.get("Version")):
        return notes
    if values["rng"] != "own" and values["hires_scale"] > 1:
        steps = values["hires_steps"] or values["steps"]
        run = int(steps * values["hires_strength"])
        notes.append(
            f"Its second pass ran all of {steps} steps, here {run} of them, on other noise: details will differ."
        )
    if values["eta"] and names.split(values["scheduler"])[0] not in ("DDIM", "TCD"):
        notes.append(f"Its eta of {values['eta']:g} has no effect with {values['scheduler']} here.")
    if tag := _TAG.search(values["prompt"]):
        notes.append(f"{shown(tag[0])} is left in the prompt: it is no adapter that can be put on here.")
    return notes
