"""Axes -> a grid of requests that differ in one value or two. Pure: no torch, no gradio, no pictures."""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lora.adapter import Adapter
from lora.errors import InvalidRequest, TooLong, shown
from pipeline.request.checks import choice
from pipeline.request.fields import PictureFile, Seed
from pipeline.request.request import FIELDS, GenerationRequest, Limits
from pipeline.text.variants import MAX_CHARACTERS, Wildcards

MAX_CELLS = 64
# What an axis may go over, and its name on a sheet.
AXES = {
    "adapter": "Style", "adapter_weight": "Strength", "prompt": "Words", "scheduler": "Scheduler", "steps": "Steps",
    "guidance_scale": "Guidance", "seed": "Seed",
}  # fmt: skip
_NUMBER = r"(-?\d{1,10}(?:\.\d{1,6})?)"
# As in A1111: 1-5, 1-9 (+2), 0-1 [5]; and in words: 0..1 step 0.25.
_RANGE = re.compile(rf"{_NUMBER}\s*-\s*{_NUMBER}\s*(?:\(\+?{_NUMBER}\)|\[(\d{{1,4}})\])?", re.ASCII)
_STEPPED = re.compile(rf"{_NUMBER}\s*\.\.\s*{_NUMBER}(?:\s+step\s+{_NUMBER})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Axis:
    """What changes along one side of a grid: a name of AXES, and its values in order as they are and in words."""

    name: str
    values: tuple
    labels: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its name on a sheet."""
        return AXES[self.name]


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: the request for it is as good alone, and paints the same."""

    column: int
    row: int
    request: GenerationRequest
    page: int = 0


@dataclass(frozen=True)
class Grid:
    """One to three axes and their cells, row by row and page by page, each value of z being a page."""

    x: Axis
    y: Axis | None
    cells: tuple[Cell, ...]
    z: Axis | None = None

    @property
    def pages(self) -> "tuple[Grid, ...]":
        """The pages, each a grid of two axes."""
        count = len(self.z.values) if self.z else 1
        return tuple(Grid(self.x, self.y, tuple(c for c in self.cells if c.page == page)) for page in range(count))

    @property
    def public(self) -> dict:
        """The axes, for callers."""
        x, y, z = (axis and asdict(axis) | {"title": axis.title} for axis in (self.x, self.y, self.z))
        columns, rows, pages = (len(axis.values) if axis else 1 for axis in (self.x, self.y, self.z))
        return {"x": x, "y": y, "z": z, "columns": columns, "rows": rows, "pages": pages}

    @property
    def infotext(self) -> dict[str, str]:
        """The axes as A1111 writes them below the text of the first picture."""
        fields = {"Script": "X/Y/Z plot"}
        for sign, axis in (("X", self.x), ("Y", self.y), ("Z", self.z)):
            if axis:
                fields |= {f"{sign} Type": axis.title, f"{sign} Values": ", ".join(axis.labels)}
        return fields


def grid(
    values: Mapping[str, object],
    axes: Mapping[str, object],
    limits: Limits,
    find_adapter: Callable[[str], Adapter],
    wildcards: Wildcards | None = None,
    embeddings: Sequence[Adapter] = (),
) -> Grid:
    """Check the values of a request and the axes over it: `x_axis`, `x_values`, and the same of y and of z, or neither.

    On the axis `adapter` each style is on alone ("" is none), at the weight that it has in `adapters` or 1.
    `adapter_weight` sets the weight of the one that is on. `prompt` replaces its first value, words of the prompt or
    of the negative one, with each of them. A seed of -1 is drawn once for all cells.

    Raises InvalidRequest, or what `find_adapter` raises.
    """
    create = partial(
        GenerationRequest.create, limits=limits, find_adapter=find_adapter, wildcards=wildcards, embeddings=embeddings
    )
    base = create(values)
    if base.num_images != 1:
        raise InvalidRequest("num_images", base.num_images, "1 in a comparison, where each cell is one picture")
    # Drawn and decoded once: what is equal in all cells is to be equal.
    once = (field.name for field in FIELDS if isinstance(field, Seed | PictureFile))
    given = {**values, **{name: getattr(base, name) for name in once}}
    x, y, z = (_axis(side, axes, find_adapter) for side in "xyz")
    if x is None:
        raise InvalidRequest("x_axis", axes.get("x_axis"), "one of " + ", ".join(AXES))
    _check_sides(x, y, z, given)
    cells = []
    for page, behind in enumerate(z.values if z else (None,)):
        for row, below in enumerate(y.values if y else (None,)):
            for column, beside in enumerate(x.values):
                settings = [(x, beside), *([(y, below)] if y else []), *([(z, behind)] if z else [])]
                # The style first, for its strength is set on what is on.
                changed = given
                for axis, value in sorted(settings, key=lambda pair: pair[0].name != "adapter"):
                    changed = _SETTERS.get(axis.name, _plain)(changed, axis, value)
                cells.append(Cell(column, row, create(changed), page))
    return Grid(x, y, tuple(cells), z)


def listed(name: str, text: str) -> list:
    """The values of an axis as somebody writes them: separated by commas, "quoted, where, they, have some".

    Numbers may be ranges: 0..1 step 0.25, and as in A1111: 1-5, 1-9 (+2), 0-1 [5]. What is no number stays as it is, to
    be refused.
    """
    words = next(csv.reader([" ".join(text.split())], skipinitialspace=True), [])
    words = [word.strip() for word in words if word.strip()]
    if name in ("adapter", "prompt", "scheduler"):
        return words
    return [number for word in words for number in _numbers(word)]


def _axis(side: str, axes: Mapping[str, object], find_adapter: Callable[[str], Adapter]) -> Axis | None:
    name, values = axes.get(f"{side}_axis") or "", axes.get(f"{side}_values") or []
    if name == "":
        if values:
            raise InvalidRequest(f"{side}_axis", "", "one of " + ", ".join(AXES) + f", where there are {side}_values")
        return None
    known = choice(f"{side}_axis", name, tuple(AXES))
    if not isinstance(values, (list, tuple)) or not values:
        raise InvalidRequest(f"{side}_values", values or None, f"a list of 1 to {MAX_CELLS} values")
    for value in values:
        if not (value is None or isinstance(value, (str, int, float))):
            raise InvalidRequest(f"{side}_values", value, "a list of words or numbers")
    if len(values) > MAX_CELLS:
        raise TooLong(f"{side}_values", f"{len(values)} values long", f"at most {MAX_CELLS} values long")
    return Axis(known, tuple(values), tuple(_label(known, value, find_adapter) for value in values))


def _label(name: str, value: object, find_adapter: Callable[[str], Adapter]) -> str:
    if value in ("", None):
        return "none"
    # The id of a visitor's own is its key.
    if name == "adapter" and isinstance(value, str):
        return find_adapter(value).name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_sides(x: Axis, y: Axis | None, z: Axis | None, given: Mapping) -> None:
    """Raise InvalidRequest for axes that do not go together or not with this request."""
    names: dict[str, str] = {}
    for side, axis in (("x", x), ("y", y), ("z", z)):
        if axis and (other := names.get(axis.name)):
            raise InvalidRequest(f"{side}_axis", axis.name, f"another one than {other}_axis, or empty")
        if axis:
            names[axis.name] = side
    counts = [len(axis.values) for axis in (x, y, z) if axis]
    if (cells := math.prod(counts)) > MAX_CELLS:
        raise TooLong("grid", f"{' x '.join(map(str, counts))} = {cells} pictures", f"of at most {MAX_CELLS}")
    uses = given.get("adapters") or []
    if "adapter_weight" in names and "adapter" not in names and len(uses) != 1:
        allowed = "1 long where adapter_weight is an axis and adapter is not"
        raise TooLong("adapters", f"{len(uses)} long", allowed)


def _plain(values: dict, axis: Axis, value: object) -> dict:
    return {**values, axis.name: value}


def _style(values: dict, axis: Axis, value: object) -> dict:
    if value in ("", None):
        return {**values, "adapters": []}
    known = [use for use in values.get("adapters") or [] if use["id"] == value]
    return {**values, "adapters": known[:1] or [{"id": value}]}


def _strength(values: dict, axis: Axis, value: object) -> dict:
    # The text encoders' own weight goes: it would keep the style half on at 0.
    uses = [{**use, "weight": value} for use in values.get("adapters") or []]
    return {**values, "adapters": [{k: v for k, v in use.items() if k != "text_weight"} for use in uses]}


def _words(values: dict, axis: Axis, value: object) -> dict:
    sought, texts = axis.values[0], {name: values.get(name, "") for name in ("prompt", "negative_prompt")}
    if not isinstance(sought, str) or not sought or not any(sought in text for text in texts.values()):
        raise InvalidRequest("prompt values", sought, "words of the prompt, which those after it replace")
    if not isinstance(value, str):
        raise InvalidRequest("prompt values", value, "words")
    if sum(text.count(sought) for text in texts.values()) * len(value) > MAX_CHARACTERS:
        raise TooLong("prompt", f"too long with {shown(value)} in it", f"text of at most {MAX_CHARACTERS} characters")
    return values | {name: text.replace(sought, value) for name, text in texts.items()}


_SETTERS = {"adapter": _style, "adapter_weight": _strength, "prompt": _words}


def _numbers(word: str) -> list:
    if not (found := _STEPPED.fullmatch(word) or _RANGE.fullmatch(word)):
        return [_number(word)]
    first, last = _number(found[1]), _number(found[2])
    count = int(found[4]) if found.re is _RANGE and found[4] else None
    if count == 1 or first == last:
        return [first]
    step = (last - first) / (count - 1) if count else abs(_number(found[3] or "1")) * math.copysign(1, last - first)
    if not step:
        return [word]
    # One more than a grid takes is enough to be refused.
    within = count or math.floor((last - first) / step + 1e-9) + 1
    made = (round(first + i * step, 6) for i in range(min(within, MAX_CELLS + 1)))
    return [int(n) if n == int(n) else n for n in made]


def _number(word: str) -> Any:
    """The int or float that a word is, or the word."""
    if re.fullmatch(r"-?\d{1,20}", word, re.ASCII):
        return int(word)
    return float(word) if re.fullmatch(r"-?\d{0,20}\.\d{1,20}", word, re.ASCII) else word
