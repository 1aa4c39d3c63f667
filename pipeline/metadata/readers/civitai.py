"""Civitai's generator where it writes the graph that was run: what was asked for stands beside, as "extraMetadata"."""

from pipeline.metadata import names
from pipeline.metadata.parsing import reading, said, section, taken
from pipeline.metadata.readers import comfyui

_NAMES = {
    "prompt": "prompt", "negativePrompt": "negative_prompt", "steps": "steps", "cfgScale": "guidance_scale",
    "seed": "seed", "clipSkip": "clip_skip", "width": "width", "height": "height",
}  # fmt: skip


def is_its(found: dict) -> bool:
    """Whether it is Civitai's."""
    return "extraMetadata" in found


def read(found: dict) -> dict:
    """As `readers.read`."""
    asked = section(found, "extraMetadata")
    values = taken(asked, _NAMES)
    if sampler := said(asked.get("sampler")):
        values["scheduler"] = names.preset(sampler)
    # Adapters, size and schedule are in the graph only.
    graph = {name: node for name, node in found.items() if name not in ("extra", "extraMetadata")}
    if not comfyui.is_its(graph):
        return reading(values, [], {})
    run = comfyui.read(graph)
    if run.get("scheduler", "").startswith(values.get("scheduler", "")):
        values.pop("scheduler", None)
    return run | values
