"""The one entrance: a `GenerationRequest` is valid or was never made. No torch, no gradio."""

import math
import random
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lora.adapter import Adapter, AdapterMix, AdapterUse, normalized
from lora.errors import InvalidRequest, TooLong
from pipeline.variants import MAX_CHARACTERS, Wildcards, adapter_tags, expand

SEEDS = 2**32
BLOCK = re.compile(r"down|mid|up|mid_block(\.[a-z0-9_.]{1,60})?|(down|up)_blocks\.\d{1,2}(\.[a-z0-9_.]{1,60})?")
ADAPTER_KEYS = ("id", "weight", "text_weight", "blocks", "start", "end")
MAX_BLOCKS = 32
MAX_STEPS, MAX_GUIDANCE, MAX_IMAGES, MAX_ADAPTERS, MAX_WEIGHT = 150, 30.0, 4, 10, 2.0


@dataclass(frozen=True)
class Limits:
    """What a profile can paint, and what it paints where nothing is said. Sizes in pixels.

    `refused`: presets that do not work on this model, and in words what to use; `step_caps`: the most steps of some.
    """

    schedulers: tuple[str, ...]
    scheduler: str
    width: int = 1024
    height: int = 1024
    size_min: int = 256
    size_max: int = 1536
    size_step: int = 8
    steps: int = 30
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    refused: tuple[tuple[str, str], ...] = ()
    step_caps: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class GenerationRequest:
    """One validated request. Make it with `create`.

    `seed` is that of the first image, 0..2^32-1; image i has seed + i. `guidance_scale` 0..30, at or below 1 the
    negative prompt has no effect (Ho & Salimans 2022). `guidance_rescale` 0..1 (Lin et al. 2023). `eta` 0..1 is the
    noise that DDIM and TCD add at each step, as a share of what DDPM adds (Song et al. 2021); others ignore it.
    `texts` are (prompt, negative prompt) of each image, its variants drawn by its seed. Pickles, since it crosses
    into GPU workers.
    """

    prompt: str
    negative_prompt: str
    adapters: AdapterMix
    width: int
    height: int
    steps: int
    guidance_scale: float
    guidance_rescale: float
    eta: float
    scheduler: str
    seed: int
    num_images: int
    texts: tuple[tuple[str, str], ...]
    normalize_adapters: bool = False

    @classmethod
    def create(
        cls,
        values: Mapping[str, object],
        limits: Limits,
        find_adapter: Callable[[str], Adapter],
        wildcards: Wildcards | None = None,
    ) -> "GenerationRequest":
        """Check raw values as they come from a widget or a caller; those that are absent take the profile's default.

        `seed` -1 draws one. Adapters that the prompt names as <lora:id:weight> or, where the text encoders have a
        weight of their own, <lora:id:weight:text_weight> come on top of `adapters`; `wildcards` are the lists that
        __name__ draws from.

        Raises InvalidRequest, or what `find_adapter` raises for an id that it does not know.
        """
        given = dict(values)
        size = (limits.size_min, limits.size_max)
        seed = whole("seed", given.get("seed", -1), -1, SEEDS - 1, note=" (-1 draws one)")
        seed = random.SystemRandom().randrange(SEEDS) if seed == -1 else seed
        num_images = whole("num_images", given.get("num_images", 1), 1, MAX_IMAGES)
        prompt, tagged = without_tags(text("prompt", given.get("prompt"), empty=False))
        negative = text("negative_prompt", given.get("negative_prompt", ""))
        preset = scheduler(given.get("scheduler", limits.scheduler), limits)
        return cls(
            prompt=prompt,
            negative_prompt=negative,
            adapters=adapter_mix(with_tags(given.get("adapters", []), tagged), find_adapter),
            width=whole("width", given.get("width", limits.width), *size, step=limits.size_step),
            height=whole("height", given.get("height", limits.height), *size, step=limits.size_step),
            steps=step_count(given.get("steps", limits.steps), preset, limits),
            guidance_scale=real("guidance_scale", given.get("guidance_scale", limits.guidance_scale), 0, MAX_GUIDANCE),
            guidance_rescale=real("guidance_rescale", given.get("guidance_rescale", limits.guidance_rescale), 0, 1),
            eta=real("eta", given.get("eta", 0.0), 0, 1),
            scheduler=preset,
            seed=seed,
            num_images=num_images,
            texts=drawn(prompt, negative, seeds(seed, num_images), wildcards),
            normalize_adapters=switch("normalize_adapters", given.get("normalize_adapters", False)),
        )

    @property
    def mix(self) -> tuple[AdapterMix, float]:
        """The adapters as they are put on, and the factor (up to 1) on their weights that normalising comes to."""
        return normalized(self.adapters) if self.normalize_adapters else (self.adapters, 1.0)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image: each paints the same picture as a request for it alone."""
        return seeds(self.seed, self.num_images)


def seeds(first: int, count: int) -> tuple[int, ...]:
    return tuple((first + i) % SEEDS for i in range(count))


def without_tags(prompt: str) -> tuple[str, list[dict]]:
    """The prompt without its <lora:id:weight:text_weight> tags, and these as entries of `adapters`."""
    prompt, tags = adapter_tags(prompt)
    return prompt, [{"id": name} | dict(zip(("weight", "text_weight"), numbers)) for name, numbers in tags]


def with_tags(adapters: object, tagged: list[dict]) -> object:
    """`adapters` as given, with those that the prompt names; what is no list stays as it is and is refused by name."""
    return [*adapters, *tagged] if tagged and isinstance(adapters, (list, tuple)) else adapters


def drawn(prompt: str, negative: str, seeds: tuple[int, ...], wildcards: Wildcards | None) -> tuple:
    """(prompt, negative prompt) of each seed. Raises TooLong, or InvalidRequest for a style tag in a variant."""
    texts = tuple((expand(prompt, seed, wildcards), expand(negative, seed, wildcards)) for seed in seeds)
    for pair in texts:
        for field, value in zip(("prompt", "negative_prompt"), pair):
            if tags := adapter_tags(value)[1]:
                raise InvalidRequest(f"{field} tag", f"<lora:{tags[0][0]}>", "in the prompt, and not in { } or __ __")
    return texts


def text(field: str, value: object, empty: bool = True) -> str:
    """A prompt without control characters and lone surrogates, at most MAX_CHARACTERS long."""
    if not isinstance(value, str):
        raise InvalidRequest(field, value, "text")
    if len(value) > MAX_CHARACTERS:
        raise TooLong(field, f"{len(value)} characters long", f"text of at most {MAX_CHARACTERS} characters")
    # C*: control, lone surrogates, unassigned, and invisible marks such as those that reverse the writing direction.
    kept = (" " if c.isspace() else c for c in value)
    clean = "".join(c for c in kept if not unicodedata.category(c).startswith("C")).strip()
    if not (clean or empty):
        raise InvalidRequest(field, None, 'a few words, such as "a red apple"')
    return clean


def real(field: str, value: object, low: float, high: float) -> float:
    allowed = f"a number from {low:g} to {high:g}"
    # bool is an int in Python, but True is nobody's guidance scale.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(field, value, allowed)
    # Compared before float(), which a huge int overflows; NaN fails both comparisons.
    if not (low <= value <= high) or not math.isfinite(value):
        raise InvalidRequest(field, value, allowed)
    return float(value)


def whole(field: str, value: object, low: int, high: int, step: int = 1, note: str = "") -> int:
    allowed = (
        f"a whole number from {low} to {high}{note}" if step == 1 else f"a multiple of {step} from {low} to {high}"
    )
    try:
        real(field, value, low, high)
    except InvalidRequest:
        raise InvalidRequest(field, value, allowed) from None
    if value != int(value) or int(value) % step:
        raise InvalidRequest(field, value, allowed)
    return int(value)


def scheduler(value: object, limits: Limits) -> str:
    """The name of a preset that works on this model; for one that does not, the message says what to use."""
    names = limits.schedulers
    if isinstance(value, str) and value in names:
        return value
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    instead = dict(limits.refused).get(value) if isinstance(value, str) else None
    raise InvalidRequest("scheduler", value, instead or "one of " + ", ".join(names[:12]) + more)


def step_count(value: object, preset: str, limits: Limits) -> int:
    """1..MAX_STEPS, or as many as the preset takes."""
    cap = dict(limits.step_caps).get(preset)
    return whole("steps", value, 1, cap or MAX_STEPS, note=f" with {preset}" if cap else "")


def switch(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(field, value, "true or false")
    return value


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
    return AdapterUse(find_adapter(item["id"]), weight, text_weight, blocks, start, end)


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
