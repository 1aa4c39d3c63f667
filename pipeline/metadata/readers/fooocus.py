"""Fooocus' JSON, of its pictures ("guidance_scale") or of its log ("Guidance Scale")."""

import re

from pipeline.metadata import names
from pipeline.metadata.parsing import read_size, reading, said, taken, use

_NAMES = {name: name for name in ("prompt", "negative_prompt", "steps", "seed", "guidance_scale", "clip_skip")}
# What a picture was made of and by, said once more.
_SAID = {"full_prompt", "full_negative_prompt", "base_model_hash", "styles", "prompt_expansion", "performance"}


def read(found: dict) -> dict:
    """As `readers.read`."""
    fields = {re.sub(r"\W+", "_", name.strip().lower()): value for name, value in found.items()}
    values = taken(fields, _NAMES)
    if sampler := said(fields.pop("sampler", "")):
        values["scheduler"] = names.preset(sampler.lower(), said(fields.pop("scheduler", "")).lower())
    if size := read_size(_resolution(fields.get("resolution"))):
        values |= size
        del fields["resolution"]
    uses = _adapters(fields)
    other = {name: value for name, value in fields.items() if name not in _SAID and value not in ("None", "none")}
    return reading(values, uses, other)


def _resolution(value: object) -> str:
    """ "(832, 1216)", or a list of two."""
    return " x ".join(map(said, value[:2])) if isinstance(value, list) else said(value)


def _adapters(fields: dict) -> list[dict]:
    found = fields.pop("loras", [])
    entries = found if isinstance(found, list) else []
    pairs = [entry[:2] for entry in entries if isinstance(entry, list) and len(entry) > 1]
    for name in [name for name in fields if re.fullmatch(r"lora(_combined)?_\d+", name)]:
        pairs.append([*said(fields.pop(name)).rpartition(" : ")[::2]])
    return [entry for name, weight in pairs for entry in use(name, weight)]
