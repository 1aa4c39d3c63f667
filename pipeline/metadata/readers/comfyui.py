"""ComfyUI's graph of what was run: {"3": {"class_type": "KSampler", "inputs": {"seed": 7, "model": ["4", 0]}}, ...}.

An input is a value or a link to another node. From the sampler the links are followed back to prompts, model, adapters
and size; through nodes that are not known as far as the way is clear. What is passed or lost on it is told.
"""

import math
from dataclasses import dataclass
from typing import Any

from pipeline.metadata import names
from pipeline.metadata.parsing import reading, said, taken, use
from pipeline.metadata.readers.comfyui_graph import Graph, Node
from pipeline.request.limits import MAX_STEPS

_NAMES = {"seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "guidance_scale"}
# The nodes that lay out noise levels instead of a "scheduler".
_SCHEDULES = {
    "KarrasScheduler": "karras", "ExponentialScheduler": "exponential", "PolyexponentialScheduler": "polyexponential",
    "BetaSamplingScheduler": "beta", "SDTurboScheduler": "turbo", "AlignYourStepsScheduler": "ays",
}  # fmt: skip
_HELPERS = ("noise", "guider", "sampler", "sigmas")
_LATENTS = ("samples", "latent_image", "latent", "latents", "pixels", "image", "images")
# On the way of latents, these change nothing that a request says.
_PLAIN = {"Reroute", "VAEDecode", "VAEEncode", "VAEDecodeTiled", "VAEEncodeTiled", "LoadImage", "SaveImage"}


def is_its(found: dict) -> bool:
    """Whether it is such a graph."""
    return any(isinstance(node, dict) and "class_type" in node for node in found.values())


def read(found: dict) -> dict:
    """As `readers.read`. Of several samplers in a row the first counts, and one that enlarges what it gave."""
    graph = Graph(found)
    runs, beside = _runs(graph)
    if not runs:
        return reading({}, [], {}, ["No node of its ComfyUI graph is a sampler that is known here."])
    first, *later = runs
    values, other, notes = _sampled(graph, first)
    uses = _models(graph, first, other)
    for role, name in (("positive", "prompt"), ("negative", "negative_prompt")):
        words = _text(graph, first, role, values, other)
        values[name] = _plain(words or "")
        if words is None:
            notes.append(f"Its {name.replace('_', ' ')} is put together in a way that is not understood here.")
    _start(graph, first, values, other, notes)
    if later and not (len(later) == 1 and _enlarged(graph, later[0], values, notes)):
        notes.append(f"{_counted(later)} over it, which is not restored.")
    if beside:
        notes.append(f"{_counted(beside)} beside it; which of them made this picture is not said.")
    return reading(values, uses, other, notes)


@dataclass(frozen=True)
class _Run:
    """A sampler: its inputs and those of the nodes that help it; the `passed` ones change what others give."""

    node: Node
    inputs: dict[str, Any]
    schedule: str
    passed: tuple[str, ...]


def _run(graph: Graph, node: Node) -> _Run | None:
    """A node as a sampler, None for any other."""
    inputs, schedule, passed = dict(node.inputs), "", []
    for helper in _HELPERS:
        for each in graph.way(node.inputs.get(helper), helper, strict=True):
            inputs = {**each.inputs, **inputs}
            schedule = schedule or _SCHEDULES.get(each.kind, "")
            passed += [each.kind] if helper in each.inputs else []
    known = {"sampler_name", "steps"} <= {*inputs} and {"seed", "noise_seed"} & {*inputs}
    return _Run(node, inputs, schedule, tuple(passed)) if known or {"guider", "sigmas"} <= {*inputs} else None


def _runs(graph: Graph) -> tuple[list[_Run], list[_Run]]:
    """The samplers of the longest row, the one that began with noise first, and all others."""
    samplers = {node.id: run for node in graph.nodes.values() if (run := _run(graph, node))}
    before: dict[str, str] = {}
    for run in samplers.values():
        way = graph.way(_latents(run), *_LATENTS)
        if found := next((node.id for node in way if node.id in samplers and node.id != run.node.id), None):
            before[run.node.id] = found
    followed, longest = {*before.values()}, dict[str, _Run]()
    # In a circle each is followed by another.
    for last in [each for each in samplers if each not in followed] or [*samplers][:1]:
        row, each = dict[str, _Run](), last
        while each in samplers and each not in row:
            row[each] = samplers[each]
            each = before.get(each, "")
        longest = max(longest, row, key=len)
    return [*reversed(longest.values())], [run for name, run in samplers.items() if name not in longest]


def _counted(runs: list[_Run]) -> str:
    return "One more sampler went" if len(runs) == 1 else f"{len(runs)} more samplers went"


def _latents(run: _Run) -> object:
    return next((run.inputs[name] for name in _LATENTS if name in run.inputs), None)


def _sampled(graph: Graph, run: _Run) -> tuple[dict, dict, list[str]]:
    """What the sampler itself says: values, what else it has, and notes."""
    literal = {name: graph.value(value, name) for name, value in run.inputs.items()}
    values = taken(literal, _NAMES)
    sampler = said(literal.get("sampler_name") or literal.get("sampler"))
    if sampler:
        values["scheduler"] = names.preset(sampler, run.schedule or said(literal.get("scheduler")))
    lost = [name for name in ("seed", "steps") if name not in values]
    notes = [f"Its {name} comes from a node that is not understood here." for name in lost]
    if said(literal.get("return_with_leftover_noise")) == "enable":
        notes.append("Its first sampler stopped before the picture was clean, for another to finish.")
    denoise, start, steps = literal.get("denoise"), literal.get("start_at_step"), values.get("steps")
    # The noisy end of the levels is left out by a share, or by a number of steps.
    if isinstance(start, int) and start > 0 and steps:
        values["strength"] = max(0.0, 1 - start / steps)
    elif isinstance(denoise, (int, float)):
        values["strength"] = float(denoise)
    return values, dict.fromkeys(run.passed, "passed"), notes


def _models(graph: Graph, run: _Run, other: dict) -> list[dict]:
    """The adapters on the way to the model, which is told in `other`."""
    uses: list[dict] = []
    for node in graph.way(run.inputs.get("model"), "model"):
        loaded = _loaded(graph, node)
        uses = (loaded or []) + uses
        named = (said(graph.input(node, name)) for name in ("ckpt_name", "unet_name", "model_name"))
        if checkpoint := next(filter(None, named), ""):
            other["Model"] = checkpoint
            break
        if loaded is None and node.kind not in _PLAIN:
            other[node.kind] = "passed"
    return uses


def _loaded(graph: Graph, node: Node) -> list[dict] | None:
    """The adapters that a node puts on, None for one that is no loader of any."""
    if "lora_name" in node.inputs:
        # A loader that has a weight for the model only leaves the text encoders as they are.
        of_both = ("lora_model_strength", "lora_clip_strength"), ("strength_model", "strength_clip")
        of_model, of_text = of_both["strength_model" in node.inputs]
        text = graph.input(node, of_text) if of_text in node.inputs else 0.0
        return use(graph.input(node, "lora_name"), graph.input(node, of_model), text)
    stacked = [value for value in node.inputs.values() if isinstance(value, dict) and "lora" in value]
    on = [entry for entry in stacked if entry.get("on", True)]
    found = [each for entry in on for each in use(entry["lora"], entry.get("strength", 1.0), entry.get("strengthTwo"))]
    return found if stacked else None


def _text(graph: Graph, run: _Run, role: str, values: dict, other: dict) -> str | None:
    """The words of a prompt, None where the way to them is lost. The layer of the text encoder goes to `values`."""
    link = run.inputs.get(role, run.inputs.get("conditioning") if role == "positive" else None)
    if link is None:
        return "" if role == "negative" else None
    for node in graph.way(link, "conditioning", role, "conditioning_to", "conditioning_1"):
        if node.kind == "ConditioningZeroOut":
            return ""
        if (words := _words(graph, node, role)) is not None:
            _layer(graph, node, values)
            return words
        if node.kind not in _PLAIN:
            other[node.kind] = "passed"
    return None


def _words(graph: Graph, node: Node, role: str) -> str | None:
    """What an encoding node has as its text; SDXL's has one for each of two encoders."""
    # A loader that encodes as well has both prompts.
    if isinstance(held := node.inputs.get(role), str):
        return held
    written = (graph.input(node, name) for name in ("text", "text_g", "prompt"))
    words = next((each for each in written if isinstance(each, str)), None)
    small = graph.input(node, "text_l")
    return words if words is None or small in (None, "", words) else f"{words}, {small}"


def _layer(graph: Graph, node: Node, values: dict) -> None:
    """The layer of the text encoder that a prompt was read at; counted from the end, -1 the last."""
    for each in (node, *graph.way(node.inputs.get("clip"), "clip")):
        layer = graph.input(each, "stop_at_clip_layer" if "stop_at_clip_layer" in each.inputs else "clip_skip")
        if isinstance(layer, int) and -99 < layer < 0:
            values["clip_skip"] = -layer
            return


def _start(graph: Graph, run: _Run, values: dict, other: dict, notes: list[str]) -> None:
    """Size, and whether it began with a picture."""
    picture = False
    for node in graph.way(_latents(run), *_LATENTS):
        picture = picture or node.kind.startswith(("VAEEncode", "LoadImage"))
        for prefix in ("", "empty_latent_"):
            size = {side: graph.input(node, prefix + side) for side in ("width", "height")}
            if all(isinstance(side, int) for side in size.values()) and "width" not in values:
                values |= size
        if node.kind not in _PLAIN and not {"width", "empty_latent_width"} & {*node.inputs}:
            other[node.kind] = "passed"
    if "width" not in values:
        notes.append("Its size comes from a picture or a node that is not understood here.")
    if picture:
        _planned(run, values, "", notes)
    elif (strength := values.pop("strength", 1.0)) < 1:
        notes.append(f"It began with no picture, but left out the noisiest levels (denoise {strength:g}).")


def _planned(run: _Run, values: dict, prefix: str, notes: list[str]) -> None:
    """At a "denoise" all steps run, the last of more that are planned for it; here that share of the planned ones does.

    The names in `values` begin with the prefix.
    """
    steps, share = values.get(f"{prefix}steps", 0), values.get(f"{prefix}strength", 1.0)
    if "denoise" in run.inputs and steps and 0 < share < 1 and (planned := int(steps / share)) <= MAX_STEPS:
        values |= {f"{prefix}steps": planned, f"{prefix}strength": math.ceil(10_000 * steps / planned) / 10_000}
        notes.append(f"Its {steps} steps at a strength of {share:g} are the last of {planned} here.")


def _enlarged(graph: Graph, run: _Run, values: dict, notes: list[str]) -> bool:
    """Whether a second sampler went over the first one's picture enlarged by one node: then that is in `values`."""
    way = [node for node in graph.way(_latents(run), *_LATENTS) if node.kind not in _PLAIN]
    if not way or len(way) < 2 or _run(graph, way[1]) is None:
        return False
    larger, second = way[0], _sampled(graph, run)[0]
    factor = graph.input(larger, "scale_by")
    width = graph.input(larger, "width")
    if factor is None and isinstance(width, int) and values.get("width"):
        factor = width / values["width"]
    if not isinstance(factor, (int, float)) or factor <= 1 or "strength" not in second:
        return False
    values |= {"hires_scale": round(float(factor), 4), "hires_strength": second["strength"],
               "hires_upscaler": "latent" if "Latent" in larger.kind else "pixels"}  # fmt: skip
    values |= {"hires_steps": second["steps"]} if "steps" in second else {}
    _planned(run, values, "hires_", notes)
    return True


def _plain(words: str) -> str:
    """Words as A1111 would read them: [ and ] mean nothing in ComfyUI."""
    return words.replace("\\[", "[").replace("\\]", "]").replace("[", "\\[").replace("]", "\\]")
