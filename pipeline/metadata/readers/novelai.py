"""NovelAI's texts: "Description", "Software", "Source" and, as JSON, "Comment", together as one object."""

import re

from pipeline.metadata import names
from pipeline.metadata.parsing import reading, said, section, taken

_NAMES = {
    "seed": "seed", "steps": "steps", "scale": "guidance_scale", "cfg_rescale": "guidance_rescale", "width": "width",
    "height": "height", "strength": "strength",
}  # fmt: skip
# What differs from a plain picture, in the order of a request; the rest is how its interface stood.
_TOLD = ("sm", "sm_dyn", "dynamic_thresholding", "controlnet_model", "uncond_scale", "reference_image_multiple")
_NOISE = "NovelAI draws its noise and weighs its prompts in ways of its own: expect another picture of the same words."
_STEP = 1.05


def is_its(found: dict) -> bool:
    """Whether it is NovelAI's: all of its texts, or the comment alone."""
    return "Comment" in found or ("uc" in found and "sampler" in found)


def read(found: dict) -> dict:
    """As `readers.read`."""
    fields = section(found, "Comment") or dict(found)
    values = taken(fields, _NAMES)
    if fields.get("request_type") == "PromptGenerateRequest":
        # It began with no picture, whatever stood there.
        values.pop("strength", None)
    caption = section(section(fields, "v4_prompt"), "caption")
    words = (fields.get("prompt"), caption.get("base_caption"), found.get("Description"))
    values["prompt"] = _weighed(next(filter(None, map(said, words)), ""))
    values["negative_prompt"] = _weighed(said(fields.get("uc")))
    if sampler := said(fields.get("sampler")):
        values["scheduler"] = names.preset(sampler, said(fields.get("noise_schedule")))
    notes = [_NOISE]
    if people := caption.get("char_captions"):
        count = len(people) if isinstance(people, list) else 1
        notes.append(f"It has {count} prompts for single characters, which cannot be told apart here.")
    other = {"Model": found.get("Source", "")} | {name: fields.get(name) for name in _TOLD}
    return reading(values, [], other, notes)


def _weighed(prompt: str) -> str:
    """Its {braces} and [brackets], each a twentieth more or less, and 1.5::words:: as weights; what is in ( ) there is
    plain text.
    """
    signs = re.split(r"([{}\[\]()])", prompt)
    open_: list[int] = []
    pairs: dict[int, str] = {}
    for at, sign in enumerate(signs):
        if sign in ("{", "["):
            open_.append(at)
        elif sign in ("}", "]") and open_ and signs[open_[-1]] == {"}": "{", "]": "["}[sign]:
            pairs[open_.pop()] = "("
            pairs[at] = f":{_STEP if sign == '}' else 1 / _STEP:.4g})"
    plain = {"(": r"\(", ")": r"\)", "{": "", "}": "", "[": "", "]": ""}
    words = "".join(pairs.get(at, plain.get(sign, sign)) for at, sign in enumerate(signs))
    return re.sub(r"(-?\d{0,2}\.?\d{1,3})::([^:]{1,500})::", r"(\2:\1)", words)
