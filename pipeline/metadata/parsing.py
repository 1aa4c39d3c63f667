"""What the readers of other tools' texts share. All of it takes any JSON, and linear time."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pipeline.request.fields import read_number
from pipeline.request.mix import tagged
from pipeline.request.request import FIELDS
from pipeline.text.variants import adapter_tags

T = TypeVar("T")
_ROWS = {field.name: field for field in FIELDS}


def read_json(text: str, kind: type[T]) -> T | None:
    """JSON of that type, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None


def first_json(text: str, kind: type[T]) -> T | None:
    """JSON of that type at the start of a text, whatever follows, or None."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None


def said(value: object) -> str:
    """A word or number of JSON as text, "" for what holds others: that may be deeper than Python writes."""
    return str(value) if isinstance(value, (str, int, float)) else ""


def section(found: Mapping, name: str) -> dict:
    """What stands under that name, empty unless it is an object, or one written as text."""
    inside = found.get(name)
    inside = read_json(inside, dict) if isinstance(inside, str) else inside
    return dict(inside) if isinstance(inside, dict) else {}


def taken(found: dict, names: Mapping[str, str]) -> dict[str, Any]:
    """What `found` says under their names -> values under ours; it is taken out of `found`."""
    values = {}
    for theirs, ours in names.items():
        if (value := _ROWS[ours].read(said(found.get(theirs)))) not in (None, ""):
            values[ours] = value
            del found[theirs]
    return values


def read_size(text: str) -> dict[str, int]:
    """Width and height of "832x1216", "(832, 1216)" and the like; empty where it is none."""
    size = re.fullmatch(r"\D{0,9}(\d{1,6})\D{1,9}(\d{1,6})\D{0,9}", text, re.ASCII)
    return {"width": int(size[1]), "height": int(size[2])} if size else {}


def use(name: object, weight: object = 1.0, text_weight: object = None) -> list[dict]:
    """The entry of `adapters` of a file's name, with or without its ending, and its weights; none for no name."""
    weights = [number for each in (text_weight, weight) if (number := read_number(said(each))) is not None]
    weights = weights[:1] if len({*weights}) == 1 else weights
    known = said(name).removesuffix(".safetensors")
    return [tagged(known, weights)] if known and known != "None" and weights else []


def reading(values: Mapping, uses: Sequence[dict], other: Mapping, notes: Sequence[str] = ()) -> dict:
    """What a reader gives: the values of a request with the tags of its prompt among the adapters, `other` for fields
    that mean nothing here, and `notes`, if there are any.
    """
    prompt, tags = adapter_tags(values.get("prompt", ""))
    rest = {name: said(value) for name, value in other.items() if value not in (None, "", False, [], {})}
    read: dict[str, Any] = {"negative_prompt": "", **values}
    read |= {"prompt": prompt, "adapters": [*uses, *(tagged(*tag) for tag in tags)], "other": rest}
    return read | ({"notes": [*notes]} if notes else {})
