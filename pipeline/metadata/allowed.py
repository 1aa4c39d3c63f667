"""The values that a picture's text says -> the nearest ones that are allowed here, with a sentence on each change."""

import re
from collections.abc import Sequence
from contextlib import suppress

from lora.adapter import Adapter
from lora.errors import InvalidRequest
from pipeline.request.checks import scheduler
from pipeline.request.limits import RNGS, SEEDS, Limits
from pipeline.request.request import GenerationRequest

# Seeds of more than 32 bits are common: ComfyUI draws them from 64.
_SEEDS = ("seed", "variation_seed")


def nearest(values: dict, limits: Limits, notes: list[str]) -> dict:
    """The values with seed, size and scheduler as near as they can be had."""
    return _seeded(_sized(_scheduled(dict(values), limits, notes), limits, notes), notes)


def _seeded(values: dict, notes: list[str]) -> dict:
    """The seeds below 2^32: PyTorch's generator on the CPU starts from no more of them (mt19937, at::mt19937)."""
    for name in _SEEDS:
        seed = values[name]
        if isinstance(seed, int) and seed >= SEEDS:
            values[name] = seed % SEEDS
            same = "draws the same noise on a CPU"
            drawn = f"{same}, but its noise was a GPU's and will differ" if values["rng"] == "nv" else same
            notes.append(f"Its {name.replace('_', ' ')} {seed} is larger than 32 bits; {values[name]} {drawn}.")
    return values


def _sized(values: dict, limits: Limits, notes: list[str]) -> dict:
    """Both sides within bounds, in the same shape."""
    width, height = size = values["width"], values["height"]
    sides = range(limits.size_min, limits.size_max + 1, limits.size_step)
    if any(not isinstance(side, int) or side < 1 for side in size) or all(side in sides for side in size):
        return values
    factor = min(max(1.0, limits.size_min / min(size)), limits.size_max / max(size))
    step, low, high = limits.size_step, sides[0], sides[-1]
    wide, tall = (min(high, max(low, low + round((side * factor - low) / step) * step)) for side in size)
    notes.append(
        f"Its size {width} x {height} is not one of this model's; {wide} x {tall} is the nearest of its shape."
    )
    return values | {"width": wide, "height": tall}


def _scheduled(values: dict, limits: Limits, notes: list[str]) -> dict:
    """A scheduler that is not one of this model's becomes its sampler without the schedule, or what is most like it."""
    try:
        scheduler(values["scheduler"], limits)
    except InvalidRequest as error:
        wanted = str(values["scheduler"])
        alike = [name for name in limits.schedulers if wanted.startswith(f"{name} ")]
        values["scheduler"] = max(alike, key=len, default=limits.scheduler)
        if not alike:
            # Another sampler makes another picture of any noise.
            values |= {"rng": RNGS[0], "ensd": 0}
        notes.append(f"Not restored: {error} {values['scheduler']} is taken instead.")
    return values


def valid(values: dict, instead: dict, limits: Limits, adapters: Sequence[Adapter], notes: list[str]) -> dict:
    """The values, those that are not allowed here replaced by the usual ones."""
    known = {adapter.id: adapter for adapter in adapters}

    def find(name: str) -> Adapter:
        with suppress(KeyError):
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
