"""The record of a finished picture: what callers are told, the history keeps and a picture's text says."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from pipeline.request.fields import Field
from pipeline.request.request import FIELDS

# Of the record's form. 1 had no version in it; older ones lack fields that came later.
VERSION = 4
# Fields of a request that the record says in another form, or not at all.
_OTHERWISE = {
    "adapters", "image", "mask", "mask_blur", "metadata", "normalize_adapters", "num_images", "strength",
    "variation_seed",
}  # fmt: skip


class SecondPass(TypedDict):
    """The second pass as it was."""

    scale: float
    width: int
    height: int
    steps: int
    strength: float
    upscaler: str


class Details(TypedDict, total=False):
    """How a set of pictures was made: these, and every other field of the request by its name. Ready for JSON.

    `prompts` and `negative_prompts` are those of each picture, its variants drawn; `strength` is None where painting
    began from noise; `mask` is the share of the pixels that were painted anew, None where all were, as is `mask_blur`;
    `embeddings` are the words of the prompts that are no tokens, with the file of each;
    `variation_seeds` are those of each picture, if there were any; `adapters` say how they fitted; `adapters_scale` is
    what normalising came to; `text_layer` is the model's, as in Limits; `timings` are seconds by stage.
    """

    version: int
    prompt: str
    negative_prompt: str
    prompts: list[str]
    negative_prompts: list[str]
    tokens: dict[str, Any]
    clamped: list[str]
    adapters: list[dict[str, Any]]
    adapters_scale: float
    embeddings: list[dict[str, str]]
    width: int
    height: int
    steps: int
    guidance_scale: float
    scheduler: str
    strength: float | None
    mask: float | None
    mask_blur: int | None
    hires: SecondPass | None
    seed: int
    seeds: list[int]
    variation_seeds: list[int]
    profile: str
    text_layer: int
    timings: dict[str, float]


def of_request(request: Any, table: Sequence[Field] = FIELDS) -> dict[str, Any]:
    """What a record says of a request by itself. The fields of the second pass are told together."""
    names = (field.name for field in table if field.name not in _OTHERWISE and not field.name.startswith("hires_"))
    return {name: getattr(request, name) for name in names}


def of_first(whole: Details, count: int) -> Details:
    """The record of a batch as if it had only its first `count` pictures."""
    return {
        **whole, "seeds": whole["seeds"][:count], "variation_seeds": whole["variation_seeds"][:count],
        "prompts": whole["prompts"][:count], "negative_prompts": whole["negative_prompts"][:count],
    }  # fmt: skip


def upgraded(stored: Mapping[str, Any]) -> Details:
    """A record of any version as one of this; what an older one does not say, it did without."""
    if stored.get("version") == VERSION:
        return cast(Details, stored)
    neutral = {field.name: field.neutral for field in FIELDS if field.neutral is not None}
    missing: dict[str, Any] = {
        "strength": None, "mask": None, "mask_blur": None, "variation_seeds": [], "hires": None, "tokens": {},
        "clamped": [], "adapters": [], "adapters_scale": 1.0, "embeddings": [],
    }  # fmt: skip
    return cast(Details, missing | neutral | dict(stored) | {"version": VERSION})
