"""The kinds of values that a request is made of. A row of the request says which kind each value is, and all follows.

What is allowed, the endpoints' signature and help, the API page, OpenAPI, the tools of agents, the command line, the
page's defaults and the text in pictures come from the rows in request.py. No torch, no gradio.
"""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from lora.adapter import Adapter, AdapterMix
from lora.errors import Described, InvalidRequest
from pipeline.request import checks
from pipeline.request.limits import MAX_STEPS, Limits
from pipeline.request.mix import ADAPTER, MAX_ADAPTERS, adapter_mix, with_tags, without_tags
from pipeline.request.picture import UNREAD, WHITE, Mode, Picture

# A bound or default that a model has of its own, under this name of Limits.
Own = str
# Of each side of the frame what is new at its two ends; the picture to start from fills the rest.
OUTPAINTED = {"width": ("outpaint_left", "outpaint_right"), "height": ("outpaint_top", "outpaint_bottom")}


@dataclass(frozen=True)
class Given:
    """The raw values of one request, complete, and what they are judged by."""

    values: Mapping[str, Any]
    limits: Limits
    find_adapter: Callable[[str], Adapter]


@dataclass(frozen=True, kw_only=True)
class Field(ABC):
    """A row. `help` says in words what the value is and what is allowed, {low}, {high}, {step} and {options} in it.

    `own`: the default is the model's, by the field's name in Limits. `neutral` is the value at which it does nothing:
    a picture says nothing then, and a picture that says nothing meant it. `infotext` is its name in the text of a
    picture, "" where it has none or shares one.
    """

    type: ClassVar[type]
    help: str
    name: str = ""
    default: Any = None
    own: bool = False
    neutral: Any = None
    infotext: str = ""

    def default_for(self, limits: Limits) -> Any:
        """What is taken where nothing is said."""
        return getattr(limits, self.name) if self.own else self.default

    @abstractmethod
    def check(self, given: Given) -> Any:
        """The value as the request has it. Raises InvalidRequest."""

    def schema(self, limits: Limits) -> dict[str, Any]:
        """Its JSON schema."""
        default = self.default_for(limits)
        schema = {"description": self.help.format_map(self.bounds(limits)), **self.shape(limits)}
        return schema if default is None else schema | {"default": default}

    def bounds(self, limits: Limits) -> dict[str, Any]:
        """What stands for the names in `help`."""
        return {}

    def shape(self, limits: Limits) -> dict[str, Any]:
        """Type and limits as JSON schema says them."""
        return {}

    def written(self, value: Any) -> object:
        """As the text of a picture says it."""
        return value

    def read(self, text: str) -> Any:
        """What a picture's text means, or None."""
        return text


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """Words; `required` ones may not be empty."""

    type = str
    required: bool = False

    def check(self, given):
        """Without what cannot be seen; <lora:...> tags of the prompt are adapters."""
        text = checks.text(self.name, given.values[self.name], empty=not self.required)
        return without_tags(text)[0] if self.required else text

    def shape(self, limits):
        """A string."""
        return {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """A number from `low` to `high`, which may be a model's own."""

    type: ClassVar[type] = float
    low: float | Own
    high: float | Own

    def bounds(self, limits):
        """Both bounds as they are written."""
        return {name: f"{self._bound(name, limits):g}" for name in ("low", "high")}

    def check(self, given):
        """As a float."""
        low, high = (self._bound(name, given.limits) for name in ("low", "high"))
        return checks.real(self.name, given.values[self.name], low, high)

    def shape(self, limits):
        """A number within its bounds."""
        return {"type": "number", "minimum": self._bound("low", limits), "maximum": self._bound("high", limits)}

    def read(self, text):
        """A decimal number."""
        return read_number(text)

    def _bound(self, name: str, limits: Limits) -> Any:
        bound = getattr(self, name)
        return getattr(limits, bound) if isinstance(bound, str) else bound


@dataclass(frozen=True, kw_only=True)
class Whole(Number):
    """A whole number; a multiple of `step`."""

    type = int
    step: int | Own = 1

    def bounds(self, limits):
        """Bounds and step as they are written."""
        return {name: f"{self._bound(name, limits)}" for name in ("low", "high", "step")}

    def check(self, given):
        """As an int."""
        low, high, step = (self._bound(name, given.limits) for name in ("low", "high", "step"))
        return checks.whole(self.name, given.values[self.name], low, high, step)

    def shape(self, limits):
        """An integer within its bounds."""
        step = self._bound("step", limits)
        return super().shape(limits) | {"type": "integer"} | ({"multipleOf": step} if step > 1 else {})

    def read(self, text):
        """A whole number."""
        return read_whole(text)


@dataclass(frozen=True, kw_only=True)
class Seed(Whole):
    """A seed; -1 draws one."""

    def check(self, given):
        """Drawn, if it is to be."""
        return checks.drawn_seed(self.name, given.values[self.name])


@dataclass(frozen=True, kw_only=True)
class Steps(Whole):
    """Steps of a sampler, of which some take fewer."""

    high: float | Own = MAX_STEPS

    def check(self, given):
        """As many as the preset takes."""
        preset = given.values["scheduler"]
        return checks.steps(self.name, given.values[self.name], preset, given.limits, self._bound("low", given.limits))


@dataclass(frozen=True, kw_only=True)
class Switch(Field):
    """True or false."""

    type = bool
    neutral: Any = False

    def check(self, given):
        """As it is."""
        return checks.switch(self.name, given.values[self.name])

    def shape(self, limits):
        """A boolean."""
        return {"type": "boolean"}

    def read(self, text):
        """As Python writes it."""
        return {"True": True, "False": False}.get(text.strip())


@dataclass(frozen=True, kw_only=True)
class Choice(Field):
    """One of a few words, which may be a model's own. `written_as` are those that a picture's text has for some."""

    type = str
    options: tuple[str, ...] | Own
    written_as: tuple[tuple[str, str], ...] = ()

    def bounds(self, limits):
        """The options as they are written."""
        *others, last = self._options(limits)
        return {"options": f"{', '.join(others)} or {last}"}

    def check(self, given):
        """As it is."""
        return checks.choice(self.name, given.values[self.name], self._options(given.limits))

    def shape(self, limits):
        """An enumeration."""
        return {"type": "string", "enum": [*self._options(limits)]}

    def written(self, value):
        """In the words of a picture's text."""
        return dict(self.written_as).get(value, value)

    def read(self, text):
        """The option of a word, which may go on in brackets, else the text."""
        said = (option for option, word in self.written_as if text == word or text.startswith(f"{word} ("))
        return next(said, text)

    def _options(self, limits: Limits) -> tuple[str, ...]:
        return getattr(limits, self.options) if isinstance(self.options, str) else self.options


@dataclass(frozen=True, kw_only=True)
class Preset(Field):
    """A sampler and its schedule, of those that work on the model."""

    type = str

    def bounds(self, limits):
        """The presets as they are written."""
        return {"options": limits.presets}

    def check(self, given):
        """One that works; for another the message says what to use."""
        return checks.scheduler(given.values[self.name], given.limits)

    def shape(self, limits):
        """An enumeration."""
        return {"type": "string", "enum": [*limits.schedulers]}


@dataclass(frozen=True, kw_only=True)
class PictureFile(Field):
    """The bytes of a picture file, or None. A `mask` is read as grey and may not be all black."""

    type = bytes
    mask: bool = False

    @property
    def mode(self) -> Mode:
        """As Pillow calls it."""
        return "L" if self.mask else "RGB"

    def check(self, given) -> Picture | None:
        """Decoded and cut to the size of the request but what is outpainted; where that is none, to the model's."""
        if (raw := given.values[self.name]) is None:
            return None
        size = {side: getattr(given.limits, side) for side in OUTPAINTED}
        # A size that is not allowed is told by its own row.
        with suppress(TypeError, ValueError, OverflowError):
            asked = inner_size(given.values)
            size = asked if all(0 < side <= given.limits.size_max for side in asked.values()) else size
        picture = Picture.read(raw, **size, name=self.name, mode=self.mode)
        if self.mask and picture is not UNREAD and not any(picture.image().histogram()[WHITE:]):
            raise Described(self.name, "all black", "white where the picture is to be painted anew")
        return picture


@dataclass(frozen=True, kw_only=True)
class Adapters(Field):
    """Adapters with their weights, those among them that the prompt names."""

    type = list

    def check(self, given) -> AdapterMix:
        """As a mix."""
        tagged: list[dict] = []
        # A prompt that is not allowed is told by its own row.
        with suppress(InvalidRequest):
            tagged = without_tags(checks.text("prompt", given.values["prompt"]))[1]
        return adapter_mix(with_tags(given.values[self.name], tagged), given.find_adapter)

    def shape(self, limits):
        """A list of objects."""
        return {"type": "array", "maxItems": MAX_ADAPTERS, "items": ADAPTER}


def inner_size(values: Mapping[str, Any]) -> dict[str, int]:
    """Width and height of a request without what is outpainted. Raises TypeError and the like for no numbers."""
    return {side: int(values[side] - sum(values[end] for end in ends)) for side, ends in OUTPAINTED.items()}


def read_number(text: str) -> float | None:
    """A decimal number of bounded length, or None."""
    return float(text) if re.fullmatch(r"-?\d{0,12}\.?\d{1,20}(e-?\d{1,2})?", text.strip(), re.ASCII) else None


def read_whole(text: str) -> int | None:
    """A whole number of bounded length, or None."""
    return int(text) if re.fullmatch(r"-?\d{1,20}", text.strip(), re.ASCII) else None


def row(field: Field) -> Any:
    """A value of a dataclass that such a row describes."""
    return dataclasses.field(metadata={"row": field})


@cache
def rows(table: type) -> tuple[Field, ...]:
    """The rows of a dataclass, each with its name, in order."""
    described = (each for each in dataclasses.fields(table) if "row" in each.metadata)
    return tuple(dataclasses.replace(each.metadata["row"], name=each.name) for each in described)


def schemas(limits: Limits, table: tuple[Field, ...]) -> dict[str, dict[str, Any]]:
    """The JSON schema of each raw value, with a `description`; files have no type."""
    return {field.name: field.schema(limits) for field in table}


def defaults(limits: Limits, table: tuple[Field, ...]) -> dict[str, Any]:
    """The raw values of a request that says nothing; a prompt it must say."""
    return {field.name: field.default_for(limits) for field in table}
