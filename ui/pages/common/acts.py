"""What the actions on a picture set on the page where one paints. No gradio."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora.errors import Described
from pipeline.request.limits import Limits

ENLARGED, FINEST = 2.0, 0.25
VARIATION = {"variation_strength": 0.15, "variation_seed": -1}
# What is painted at once, and what is said then.
PAINTED = {"enlarge": "Enlarging it", "vary": "Varying it"}
UNSURE = "Nothing was painted yet, since it may not become the same picture."


@dataclass(frozen=True)
class Change:
    """The new `values` of a request's fields, what is said of it, `notes` on what could not be restored, which page is
    shown, and whether painting begins at once."""

    values: Mapping[str, Any]
    done: str
    notes: tuple[str, ...] = ()
    page: str = "paint"
    paint: bool = False


def restoring(what: object, values: Mapping[str, Any], notes: Sequence[str], limits: Limits) -> Change:
    """What an action makes of a picture's `values`, and the `notes` on what could not be restored.

    One of seed, prompt, compare, enlarge, vary; all else restores all. Raises Described where it cannot be enlarged.
    """
    locked = "The seed is locked" if values["seed"] >= 0 else ""
    if what == "prompt":
        return Change({"prompt": values["prompt"]}, "The prompt is set")
    if what == "seed":
        return Change({"seed": values["seed"]}, _said("The seed is set", locked))
    # A picture to start from is in no file.
    values = {**values, "image": None, "mask": None}
    if what == "enlarge":
        values["hires_scale"] = enlargement(values["width"], values["height"], values["hires_scale"], limits)
    elif what == "vary":
        values |= VARIATION
    if what in PAINTED and not notes:
        return Change(values, _said(PAINTED[what], locked), paint=True)
    page = "compare" if what == "compare" else "paint"
    if not notes:
        return Change(values, _said("Restored", locked), page=page)
    more = [*notes, *([UNSURE] if what in PAINTED else []), *([f"{locked}."] if locked else [])]
    return Change(values, "Restored", tuple(more), page)


def _said(*sentences: str) -> str:
    return ". ".join(filter(None, sentences))


def enlargement(width: int, height: int, before: float, limits: Limits) -> float:
    """By how much a second pass may enlarge a picture of that size, up to ENLARGED. Raises Described where it was
    enlarged by as much `before`."""
    most = min(ENLARGED, limits.hires_size_max / max(width, height))
    scale = math.floor(most / FINEST) * FINEST
    if scale <= max(before, 1):
        now = f"{round(width * before)} × {round(height * before)} pixels large"
        smaller = f"smaller to be enlarged, since {limits.hires_size_max} pixels a side are the most here"
        raise Described("picture", now, "one that has not been enlarged before" if before > 1 else smaller)
    return scale


def starting(width: object, height: object, fields: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What else is set, of these fields, where one starts from a picture of a size; what is none is passed over."""
    size = {}
    if all(isinstance(side, int) and 0 < side < 2**20 for side in (width, height)):
        size = dict(zip(("width", "height"), fitted(width, height, limits)))  # type: ignore[arg-type]
    # What else changes its size, and what belongs to another picture.
    nothing = {name: 0 for name in fields if name.startswith("outpaint_")} | {"hires_scale": 1, "mask": None}
    return nothing | size


def fitted(width: int, height: int, limits: Limits) -> tuple[int, int]:
    """The size nearest to it in shape that the model can paint, no larger where it can be helped."""
    shrunk = min(1.0, limits.size_max / max(width, height))
    grown = max(shrunk, min(limits.size_min / min(width, height), limits.size_max / max(width, height)))
    step = limits.size_step

    def side(pixels: int) -> int:
        nearest = round(pixels * grown / step) * step
        return min(max(nearest, math.ceil(limits.size_min / step) * step), limits.size_max // step * step)

    return side(width), side(height)
