"""The one entrance: a `GenerationRequest` is valid or was never made. No torch, no gradio."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lora.adapter import Adapter, AdapterMix, normalized
from lora.errors import InvalidRequest
from pipeline.request.checks import choice, real, switch, text, whole
from pipeline.request.mix import adapter_mix, with_tags, without_tags
from pipeline.request.picture import Picture
from pipeline.text.variants import Wildcards, adapter_tags, expand

SEEDS = 2**32
MAX_STEPS, MAX_GUIDANCE, MAX_IMAGES, MAX_HIRES_SCALE = 150, 30.0, 4, 4.0
UPSCALERS = ("pixels", "latent")


@dataclass(frozen=True)
class Limits:
    """What a profile can paint, and what it paints where nothing is said. Sizes in pixels.

    `hires_size_max` bounds a side of the larger picture of the second pass, `clip_skip_max` the layers that a text
    encoder can spare. `refused`: presets that do not work on this model, and in words what to use; `step_caps`: the
    most steps of some.
    """

    schedulers: tuple[str, ...]
    scheduler: str
    width: int = 1024
    height: int = 1024
    size_min: int = 256
    size_max: int = 1536
    size_step: int = 8
    hires_size_max: int = 2048
    steps: int = 30
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    clip_skip_max: int = 10
    refused: tuple[tuple[str, str], ...] = ()
    step_caps: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Pass:
    """One run down the noise levels, at a size in pixels: the last `steps` of the `planned` steps of a sampler."""

    width: int
    height: int
    planned: int
    steps: int

    @property
    def skipped(self) -> int:
        """How many of the planned steps are left out at the noisy end."""
        return self.planned - self.steps


@dataclass(frozen=True)
class GenerationRequest:
    """One validated request. Make it with `create`.

    `seed` is that of the first image, 0..2^32-1; image i has seed + i. `guidance_scale` 0..30, at or below 1 the
    negative prompt has no effect (Ho & Salimans 2022). `guidance_rescale` 0..1 (Lin et al. 2023). Steps that begin
    outside of `guidance_start`..`guidance_end` (0..1 of the way) are not guided and cost half (Kynkäänniemi et al.
    2024). `eta` 0..1 is the noise that DDIM and TCD add at each step, as a share of what DDPM adds (Song et al. 2021);
    others ignore it. `clip_skip` is diffusers': 0 is the model's usual layer, 1 the one before (A1111's 2).

    With an `image` painting begins at that picture, noised by `strength` (0..1): only that share of the steps runs.
    A `hires_scale` above 1 adds a second pass on the first one's picture enlarged, by its "latent" or its "pixels":
    the last `hires_strength` of `hires_steps` (0: as many as `steps`). What counts in shares of the way, adapters,
    guidance and [a:b:0.5], counts within the steps that run in each pass.

    `texts` are (prompt, negative prompt) of each image, its variants drawn by its seed. `metadata` writes into each
    PNG how it was made. Pickles, since it crosses into GPU workers.
    """

    prompt: str
    negative_prompt: str
    adapters: AdapterMix
    width: int
    height: int
    steps: int
    guidance_scale: float
    guidance_rescale: float
    guidance_start: float
    guidance_end: float
    eta: float
    clip_skip: int
    scheduler: str
    seed: int
    num_images: int
    image: Picture | None
    strength: float
    hires_scale: float
    hires_steps: int
    hires_strength: float
    hires_upscaler: str
    texts: tuple[tuple[str, str], ...]
    passes: tuple[Pass, ...]
    normalize_adapters: bool = False
    metadata: bool = True

    @classmethod
    def create(
        cls,
        values: Mapping[str, object],
        limits: Limits,
        find_adapter: Callable[[str], Adapter],
        wildcards: Wildcards | None = None,
    ) -> "GenerationRequest":
        """Check raw values as they come from a widget or a caller; those that are absent take the profile's default.

        `seed` -1 draws one. `image` is the bytes of a PNG, JPEG or WebP file. Adapters that the prompt names as
        <lora:id:weight> or, where the text encoders have a weight of their own, <lora:id:weight:text_weight> come on
        top of `adapters`; `wildcards` are the lists that __name__ draws from.

        Raises InvalidRequest, or what `find_adapter` raises for an id that it does not know.
        """
        given = usual(limits) | dict(values)
        seed = whole("seed", given["seed"], -1, SEEDS - 1, note=" (-1 draws one)")
        seed = random.SystemRandom().randrange(SEEDS) if seed == -1 else seed
        num_images = whole("num_images", given["num_images"], 1, MAX_IMAGES)
        prompt, tagged = without_tags(text("prompt", given["prompt"], empty=False))
        negative = text("negative_prompt", given["negative_prompt"])
        sampling = _sampling(given, limits)
        size = _size(given, limits)
        hires = _hires(given, limits, sampling)
        image = given["image"]
        return cls(
            prompt=prompt,
            negative_prompt=negative,
            adapters=adapter_mix(with_tags(given["adapters"], tagged), find_adapter),
            **sampling,
            **size,
            **hires,
            seed=seed,
            num_images=num_images,
            image=None if image is None else Picture.read(image, **size),
            texts=drawn(prompt, negative, seeds(seed, num_images), wildcards),
            passes=_passes(image is not None, sampling, size, hires, limits),
            normalize_adapters=switch("normalize_adapters", given["normalize_adapters"]),
            metadata=switch("metadata", given["metadata"]),
        )

    @property
    def mix(self) -> tuple[AdapterMix, float]:
        """The adapters as they are put on, and the factor (up to 1) on their weights that normalising comes to."""
        return normalized(self.adapters) if self.normalize_adapters else (self.adapters, 1.0)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image: each paints the same picture as a request for it alone."""
        return seeds(self.seed, self.num_images)

    @property
    def total_steps(self) -> int:
        """The steps of one image that run, of both passes."""
        return sum(stage.steps for stage in self.passes)

    def guidance_scales(self, steps: int) -> tuple[float, ...]:
        """The guidance of each of a pass's steps, 1 (none) outside of the interval."""
        start, end = self.guidance_start, self.guidance_end
        inside = (start <= step / steps and (step / steps < end or end == 1) for step in range(steps))
        return tuple(self.guidance_scale if within else 1.0 for within in inside)


def usual(limits: Limits) -> dict[str, object]:
    """The raw values of a request that says nothing; a prompt it must say."""
    return {
        "prompt": None, "negative_prompt": "", "adapters": [], "width": limits.width, "height": limits.height,
        "steps": limits.steps, "guidance_scale": limits.guidance_scale, "scheduler": limits.scheduler, "seed": -1,
        "num_images": 1, "normalize_adapters": False, "image": None, "strength": 0.6, "hires_scale": 1.0,
        "hires_steps": 0, "hires_strength": 0.5, "hires_upscaler": UPSCALERS[0], "clip_skip": 0,
        "guidance_rescale": limits.guidance_rescale, "guidance_start": 0.0, "guidance_end": 1.0, "eta": 0.0,
        "metadata": True,
    }  # fmt: skip


def seeds(first: int, count: int) -> tuple[int, ...]:
    return tuple((first + i) % SEEDS for i in range(count))


def drawn(prompt: str, negative: str, seeds: tuple[int, ...], wildcards: Wildcards | None) -> tuple:
    """(prompt, negative prompt) of each seed. Raises TooLong, or InvalidRequest for a style tag in a variant."""
    texts = tuple(
        (expand(prompt, seed, wildcards), expand(negative, seed, wildcards, "negative_prompt")) for seed in seeds
    )
    for pair in texts:
        for field, value in zip(("prompt", "negative_prompt"), pair):
            if tags := adapter_tags(value)[1]:
                raise InvalidRequest(f"{field} tag", f"<lora:{tags[0][0]}>", "in the prompt, and not in { } or __ __")
    return texts


def scheduler(value: object, limits: Limits) -> str:
    """The name of a preset that works on this model; for one that does not, the message says what to use."""
    names = limits.schedulers
    if isinstance(value, str) and value in names:
        return value
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    instead = dict(limits.refused).get(value) if isinstance(value, str) else None
    raise InvalidRequest("scheduler", value, instead or "one of " + ", ".join(names[:12]) + more)


def step_count(value: object, preset: str, limits: Limits, field: str = "steps", low: int = 1) -> int:
    """low..MAX_STEPS, or as many as the preset takes."""
    cap = dict(limits.step_caps).get(preset)
    return whole(field, value, low, cap or MAX_STEPS, note=f" with {preset}" if cap else "")


def _sampling(given: dict, limits: Limits) -> dict:
    preset = scheduler(given["scheduler"], limits)
    values = {
        "scheduler": preset,
        "steps": step_count(given["steps"], preset, limits),
        "guidance_scale": real("guidance_scale", given["guidance_scale"], 0, MAX_GUIDANCE),
        "clip_skip": whole("clip_skip", given["clip_skip"], 0, limits.clip_skip_max),
    }
    shares = ("guidance_rescale", "guidance_start", "guidance_end", "eta", "strength")
    values |= {name: real(name, given[name], 0, 1) for name in shares}
    if values["guidance_start"] >= values["guidance_end"]:
        end = f"less than guidance_end, which is {values['guidance_end']:g}"
        raise InvalidRequest("guidance_start", values["guidance_start"], end)
    return values


def _size(given: dict, limits: Limits) -> dict:
    return {
        side: whole(side, given[side], limits.size_min, limits.size_max, step=limits.size_step)
        for side in ("width", "height")
    }


def _hires(given: dict, limits: Limits, sampling: dict) -> dict:
    return {
        "hires_scale": real("hires_scale", given["hires_scale"], 1, MAX_HIRES_SCALE),
        "hires_steps": step_count(given["hires_steps"], sampling["scheduler"], limits, "hires_steps", low=0),
        "hires_strength": real("hires_strength", given["hires_strength"], 0, 1),
        "hires_upscaler": choice("hires_upscaler", given["hires_upscaler"], UPSCALERS),
    }


def _passes(with_image: bool, sampling: dict, size: dict, hires: dict, limits: Limits) -> tuple[Pass, ...]:
    steps, scale = sampling["steps"], hires["hires_scale"]
    first = Pass(**size, planned=steps, steps=_run("strength", steps, sampling["strength"]) if with_image else steps)
    if scale == 1:
        return (first,)
    larger = {name: round(side * scale / limits.size_step) * limits.size_step for name, side in size.items()}
    if max(larger.values()) > limits.hires_size_max:
        most = math.floor(100 * limits.hires_size_max / max(size.values())) / 100
        allowed = f"at most {most:g} here, so that no side is longer than {limits.hires_size_max} pixels"
        raise InvalidRequest("hires_scale", scale, allowed)
    planned = hires["hires_steps"] or steps
    return first, Pass(**larger, planned=planned, steps=_run("hires_strength", planned, hires["hires_strength"]))


def _run(field: str, planned: int, strength: float) -> int:
    """How many of the planned steps a strength comes to, as diffusers counts; none at all is refused."""
    if steps := int(planned * strength):
        return steps
    raise InvalidRequest(field, strength, f"at least {math.ceil(100 / planned) / 100:g} of {planned} steps to do one")
