"""SwarmUI's JSON. It paints with ComfyUI, and calls samplers and schedules as that does."""

from pipeline.metadata import names
from pipeline.metadata.parsing import reading, said, section, taken, use

_NAMES = {
    "prompt": "prompt", "negativeprompt": "negative_prompt", "seed": "seed", "steps": "steps",
    "cfgscale": "guidance_scale", "width": "width", "height": "height", "seamlesstileable": "tiling",
    "initimagecreativity": "strength",
}  # fmt: skip
# What it says of every picture. A refiner is told where there is a model or a factor for it.
_SAID = {
    "aspectratio", "swarm_version", "date", "generation_time", "images", "automaticvae", "zeronegative", "sidelength",
    "resolution", "refinermethod", "refinercontrolpercentage", "refinerupscalemethod", "refinerdotiling",
}  # fmt: skip


def is_its(found: dict) -> bool:
    """Whether it is SwarmUI's."""
    return "sui_image_params" in found


def read(found: dict) -> dict:
    """As `readers.read`."""
    fields = section(found, "sui_image_params")
    values = taken(fields, _NAMES)
    if sampler := said(fields.pop("sampler", "")):
        values["scheduler"] = names.preset(sampler, said(fields.pop("scheduler", "")))
    # Counted from the end, -1 the last.
    if (layer := said(fields.pop("clipstopatlayer", ""))).lstrip("-").isdecimal():
        values["clip_skip"] = abs(int(layer[:9]))
    weights = [*_listed(fields.pop("loraweights", [])), *["1"] * 99]
    uses = [entry for pair in zip(_listed(fields.pop("loras", [])), weights) for entry in use(*pair)]
    model = {"Model": fields.pop("model", "")}
    return reading(values, uses, model | {name: value for name, value in fields.items() if name not in _SAID})


def _listed(value: object) -> list:
    return value if isinstance(value, list) else said(value).split(",")
