"""The `adapters` of a request, and those that its prompt names, as raw values -> an AdapterMix. No torch, no gradio."""

import re
from collections.abc import Callable, Mapping, Sequence

from lora.adapter import Adapter, AdapterMix, AdapterUse
from lora.errors import InvalidRequest, TooLong, UnknownAdapter
from pipeline.request.checks import real
from pipeline.text.variants import adapter_tags

BLOCK = re.compile(r"down|mid|up|mid_block(\.[a-z0-9_.]{1,60})?|(down|up)_blocks\.\d{1,2}(\.[a-z0-9_.]{1,60})?")
ADAPTER_KEYS = ("id", "weight", "text_weight", "blocks", "start", "end")
MAX_BLOCKS, MAX_ADAPTERS, MAX_WEIGHT = 32, 10, 2.0
_WEIGHT = {"type": "number", "minimum": -MAX_WEIGHT, "maximum": MAX_WEIGHT}
# The JSON schema of an entry of `adapters`.
ADAPTER = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "weight": _WEIGHT | {"default": 1},
        "text_weight": _WEIGHT,
        "blocks": {"type": "object", "properties": dict.fromkeys(("down", "mid", "up"), _WEIGHT)},
        "start": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
        "end": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
    },
}  # fmt: skip


def without_tags(prompt: str) -> tuple[str, list[dict]]:
    """The prompt without its <lora:id:text_weight:weight> tags, and these as entries of `adapters`.

    Raises InvalidRequest for a dyn= in one.
    """
    prompt, tags = adapter_tags(prompt)
    for name, numbers in tags:
        if len(numbers) > 2:
            raise InvalidRequest("prompt tag", f"<lora:{name}:dyn={numbers[2]:g}>", "without dyn=: no rank is cut here")
    return prompt, [tagged(*tag) for tag in tags]


def tagged(name: str, numbers: Sequence[float]) -> dict:
    """An entry of `adapters` for a tag's numbers, in A1111's order: the text encoders', the UNet's, a rank."""
    if len(numbers) < 2:
        return {"id": name} | dict(zip(("weight",), numbers))
    return {"id": name, "weight": numbers[1], "text_weight": numbers[0]} | dict(zip(("rank",), numbers[2:]))


def with_tags(adapters: object, tagged: list[dict]) -> object:
    """`adapters` as given, with those that the prompt names; what is no list stays as it is and is refused by name."""
    return [*adapters, *tagged] if tagged and isinstance(adapters, (list, tuple)) else adapters


def adapter_mix(value: object, find_adapter: Callable[[str], Adapter]) -> AdapterMix:
    """`[{"id": "ink", "weight": 0.8}, ...]` -> the adapters by that id, with all that ADAPTER_KEYS may say."""
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest("adapters", value, 'a list like [{"id": "ink", "weight": 0.8}]')
    if len(value) > MAX_ADAPTERS:
        raise TooLong("adapters", f"{len(value)} long", f"a list of at most {MAX_ADAPTERS}")
    return tuple(_adapter_use(f"adapters[{i}]", item, find_adapter) for i, item in enumerate(value))


def _adapter_use(field: str, item: object, find_adapter: Callable[[str], Adapter]) -> AdapterUse:
    if not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
        raise InvalidRequest(field, item, 'an object like {"id": "ink", "weight": 0.8}')
    if unknown := sorted(map(str, set(item) - set(ADAPTER_KEYS))):
        raise InvalidRequest(f"{field} key", unknown[0], "one of " + ", ".join(ADAPTER_KEYS))
    weight = real(f"{field}.weight", item.get("weight", 1.0), -MAX_WEIGHT, MAX_WEIGHT)
    text_weight = item.get("text_weight")
    if text_weight is not None:
        text_weight = real(f"{field}.text_weight", text_weight, -MAX_WEIGHT, MAX_WEIGHT)
    start, end = (
        real(f"{field}.{name}", item.get(name, usual), 0, 1) for name, usual in (("start", 0.0), ("end", 1.0))
    )
    if start >= end:
        raise InvalidRequest(f"{field}.start", item.get("start", 0.0), f"less than its end, which is {end:g}")
    blocks = _block_factors(f"{field}.blocks", item.get("blocks"))
    adapter = find_adapter(item["id"])
    if adapter.embedding:
        allowed = f'a style; this one is an embedding: write its word "{adapter.words[0][0]}" into the prompt'
        raise InvalidRequest(f"{field}.id", item["id"], allowed)
    return AdapterUse(adapter, weight, text_weight, blocks, start, end)


def _block_factors(field: str, value: object) -> tuple[tuple[str, float], ...]:
    """`{"down": 0.5, "up_blocks.0": 1}` -> sorted pairs; factors as weights, -2..2."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise InvalidRequest(field, value, 'an object like {"down": 0.5, "mid": 1, "up": 0}')
    if len(value) > MAX_BLOCKS:
        raise TooLong(field, f"{len(value)} long", f"an object of at most {MAX_BLOCKS} blocks")
    for name in value:
        if not isinstance(name, str) or not BLOCK.fullmatch(name):
            raise InvalidRequest(f"{field} key", name, 'down, mid, up or a block of the model such as "up_blocks.0"')
    return tuple(sorted((name, real(f"{field}.{name}", f, -MAX_WEIGHT, MAX_WEIGHT)) for name, f in value.items()))


def trigger_words(prompt: str, adapters: Sequence[Adapter]) -> dict[str, list[str]]:
    """The adapters' trigger words that stand in a prompt, and those that do not; case does not matter."""
    words = list(dict.fromkeys(word for adapter in adapters for word in adapter.triggers))
    inside = [bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", prompt, re.IGNORECASE)) for word in words]
    return {
        "present": [word for word, found in zip(words, inside) if found],
        "missing": [word for word, found in zip(words, inside) if not found],
    }


def unknown_tags(prompt: str, find_adapter: Callable[[str], Adapter]) -> list[str]:
    """What <lora:...> tags of the prompt name though there is none: a request with it is refused."""
    unknown = []
    for name in dict.fromkeys(name for name, _ in adapter_tags(prompt)[1]):
        try:
            find_adapter(name)
        except UnknownAdapter:
            unknown.append(name)
    return unknown


def adapter_ids(value: object, find_adapter: Callable[[str], Adapter]) -> tuple[Adapter, ...]:
    """`["ink", "gloss"]` -> the adapters by these ids. Raises InvalidRequest, or what `find_adapter` raises."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest("adapters", value, 'a list of ids like ["ink"]')
    if len(value) > MAX_ADAPTERS:
        raise TooLong("adapters", f"{len(value)} long", f"a list of at most {MAX_ADAPTERS}")
    return tuple(map(find_adapter, value))
