"""The one entrance: a `GenerationRequest` is valid or was never made. No torch, no gradio.

A value of a request is one row here: its kind, its limits, in words what it does, its default, its name in the text of
a picture. Whatever tells of it or takes it follows; see fields.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

from lora.adapter import Adapter, AdapterMix, normalized
from lora.errors import AtelierError, Described, InvalidRequest, together
from pipeline.metadata.marks import Marks
from pipeline.request.fields import (
    OUTPAINTED,
    Adapters,
    Choice,
    Given,
    Number,
    PictureFile,
    Preset,
    Seed,
    Steps,
    Switch,
    Text,
    Whole,
    defaults,
    inner_size,
    row,
    rows,
)
from pipeline.request.limits import (
    MAX_GUIDANCE,
    MAX_HIRES_SCALE,
    MAX_IMAGES,
    MAX_MASK_BLUR,
    RNGS,
    SEEDS,
    UPSCALERS,
    Limits,
)
from pipeline.request.mix import MAX_ADAPTERS
from pipeline.request.picture import Picture
from pipeline.text.prompt import CHUNK, MAX_CHUNKS
from pipeline.text.variants import Wildcards, adapter_tags, expand, finding

_SIDE = "pixels, {low} to {high}, a multiple of {step}"


def _beyond(side: str, end: str) -> Any:
    """A row for the pixels of a side of the frame that are new at one end of it."""
    words = f"pixels of {side} at the {end} that are painted beyond image, {{low}} to {{high}}, a multiple of {{step}}"
    return row(Whole(help=words, low=0, high="size_max", step="size_step", default=0, neutral=0,
                     infotext=f"Outpaint {end}"))  # fmt: skip


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


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One validated request. Make it with `create`; the rows stand in the order of /generate, which is a contract.

    At or below a `guidance_scale` of 1 the negative prompt has no effect (Ho & Salimans 2022). `guidance_rescale` is
    Lin et al. 2023. Steps that begin outside of `guidance_start`..`guidance_end` are not guided and cost half
    (Kynkäänniemi et al. 2024). `eta` is the noise that DDIM and TCD add at each step, as a share of what DDPM adds
    (Song et al. 2021); others ignore it.

    With an `image` painting begins at that picture, noised by `strength`: only that share of the steps runs. Above 1
    `hires_scale` adds a second pass on the first one's picture enlarged, its "latent", its "pixels", or these by
    the network of that name: the last `hires_strength` of `hires_steps` (0: as many as `steps`). What counts in shares
    of the way, adapters, guidance and [a:b:0.5], counts within the steps that run in each pass.

    With a `mask`, what is white in it is painted anew and fades into the rest over `mask_blur` pixels; what is black
    stays as it is. What is outpainted is new, too: the image is fitted into the rest of the frame, `inner_size`.

    Above a `variation_strength` of 0 all images have the same seed, and noise turned towards that of `variation_seed`
    + i. With `tiling` what leaves the picture on one side comes in on the other.

    `texts` are (prompt, negative prompt) of each image, its variants drawn by its seed; `embeddings` have the words in
    them that are no tokens. Pickles, since it crosses into GPU workers.
    """

    prompt: str = row(
        Text(help=f"what to paint, up to {CHUNK * MAX_CHUNKS} tokens, written as in AUTOMATIC1111", required=True)
    )
    negative_prompt: str = row(Text(help="what to leave out; no effect where guidance_scale is 1 or less", default=""))
    adapters: AdapterMix = row(
        Adapters(
            help=f'[{{{{"id": "ink", "weight": 0.8}}}}, ...], at most {MAX_ADAPTERS}, weights -2 to 2; '
            "ids from /adapters",
            default=[],
        )
    )
    width: int = row(Whole(help=_SIDE, low="size_min", high="size_max", step="size_step", own=True))
    height: int = row(Whole(help=_SIDE, low="size_min", high="size_max", step="size_step", own=True))
    steps: int = row(Steps(help="{low} to {high}", low=1, own=True, infotext="Steps"))
    guidance_scale: float = row(
        Number(help="{low} to {high}", low=0, high=MAX_GUIDANCE, own=True, infotext="CFG scale")
    )
    scheduler: str = row(Preset(help="one of {options}", own=True))
    seed: int = row(
        Seed(help="0 to {high}, or -1 to draw one; picture i has seed + i", low=-1, high=SEEDS - 1, default=-1,
             infotext="Seed")
    )  # fmt: skip
    num_images: int = row(Whole(help="{low} to {high}", low=1, high=MAX_IMAGES, default=1))
    normalize_adapters: bool = row(
        Switch(help="scale the weights down so that their sizes add up to at most 1", default=False)
    )
    image: Picture | None = row(PictureFile(help="a PNG, JPEG or WebP file to begin with"))
    strength: float = row(
        Number(help="{low} to {high}, the share of the steps that paint over image", low=0, high=1, default=0.6)
    )
    hires_scale: float = row(
        Number(help="{low} to {high}; above 1 a second pass enlarges the picture", low=1, high=MAX_HIRES_SCALE,
               default=1.0, infotext="Hires upscale")
    )  # fmt: skip
    hires_steps: int = row(
        Steps(help="{low} to {high}; 0 is as many as steps", low=0, default=0, infotext="Hires steps")
    )
    hires_strength: float = row(
        Number(help="{low} to {high}, the share of hires_steps that run", low=0, high=1, default=0.5)
    )
    hires_upscaler: str = row(
        Choice(help="what is enlarged, or by which network of UPSCALERS_DIR: {options}", options="upscalers",
               default=UPSCALERS[0], infotext="Hires upscaler",
               written_as=(("pixels", "Lanczos"), ("latent", "Latent")))
    )  # fmt: skip
    clip_skip: int = row(
        Whole(help="0 to {high}; 0 is the model's usual text layer (A1111's \"Clip skip\" 1, or 2 of SDXL)", low=0,
              high="clip_skip_max", default=0, neutral=0)
    )  # fmt: skip
    guidance_rescale: float = row(
        Number(help="{low} to {high}", low=0, high=1, own=True, neutral=0.0, infotext="Guidance rescale")
    )
    guidance_start: float = row(
        Number(help="{low} to {high}, the share of the steps after which guidance begins", low=0, high=1, default=0.0,
               neutral=0.0, infotext="Guidance start")
    )  # fmt: skip
    guidance_end: float = row(
        Number(help="{low} to {high}, the share of the steps after which it ends", low=0, high=1, default=1.0,
               neutral=1.0, infotext="Guidance end")
    )  # fmt: skip
    eta: float = row(
        Number(help="{low} to {high}, noise that DDIM and TCD add", low=0, high=1, default=0.0, neutral=0.0,
               infotext="Eta")
    )  # fmt: skip
    metadata: bool = row(Switch(help="write into the PNG how it was made", default=True))
    mask: Picture | None = row(
        PictureFile(help="a picture file, cut as image is: where it is white image is painted anew, black stays as it "
                    "is", mask=True)
    )  # fmt: skip
    mask_blur: int = row(
        Whole(help="{low} to {high} pixels inside of what is white, over which the new fades into what stays", low=0,
              high=MAX_MASK_BLUR, default=4, infotext="Mask blur")
    )  # fmt: skip
    outpaint_left: int = _beyond("width", "left")
    outpaint_right: int = _beyond("width", "right")
    outpaint_top: int = _beyond("height", "top")
    outpaint_bottom: int = _beyond("height", "bottom")
    variation_seed: int = row(
        Seed(help="0 to {high}, or -1 to draw one; where variation_strength is above 0, picture i has seed and "
             "variation_seed + i", low=-1, high=SEEDS - 1, default=-1, infotext="Variation seed")
    )  # fmt: skip
    variation_strength: float = row(
        Number(help="{low} to {high}, how far the noise of seed is turned towards that of variation_seed", low=0,
               high=1, default=0.0, neutral=0.0, infotext="Variation seed strength")
    )  # fmt: skip
    tiling: bool = row(Switch(help="a picture whose edges fit together, to be laid as tiles", default=False,
                              infotext="Tiling"))  # fmt: skip
    rng: str = row(
        Choice(help="whose noise and, for a scheduler without a schedule, whose noise levels: {options}; the last two "
               "are A1111's and Forge's, drawn by the CPU or as a GPU draws it", options=RNGS, default=RNGS[0],
               neutral=RNGS[0], infotext="RNG", written_as=(("cpu", "CPU"), ("nv", "NV")))
    )  # fmt: skip
    ensd: int = row(
        Whole(help="{low} to {high}; with rng cpu or nv it is added to the seed for the noise that samplers add "
              "(A1111's eta noise seed delta)", low=0, high=SEEDS - 1, default=0, neutral=0, infotext="ENSD")
    )  # fmt: skip

    texts: tuple[tuple[str, str], ...]
    passes: tuple[Pass, ...]
    embeddings: tuple[Adapter, ...]

    @classmethod
    def create(
        cls,
        values: Mapping[str, object],
        limits: Limits,
        find_adapter: Callable[[str], Adapter],
        wildcards: Wildcards | None = None,
        embeddings: Sequence[Adapter] = (),
    ) -> Self:
        """Check raw values as they come from a widget or a caller; those that are absent take the profile's default.

        `seed` -1 draws one. `image` and `mask` are the bytes of PNG, JPEG or WebP files. Adapters that the prompt names
        as <lora:id:weight> or, where the text encoders have a weight of their own, <lora:id:text_weight:weight> come on
        top of `adapters`; `wildcards` are the lists that __name__ draws from, `embeddings` those whose words count.

        Raises InvalidRequest, or what `find_adapter` raises for an id that it does not know; where more than one thing
        is wrong, an InvalidRequest that says them all.
        """
        table = rows(cls)  # type: ignore[arg-type]  # mypy asks a request for its hash, not the class
        given = Given(defaults(limits, table) | dict(values), limits, find_adapter)
        made: dict[str, Any] = {}
        problems: list[AtelierError] = []
        for field in table:
            with _noted(problems):
                made[field.name] = field.check(given)
        for check in (_check_guidance, _check_start, _check_room):
            with _noted(problems):
                check(made, limits)
        with _noted(problems):
            made["passes"] = _passes(made, limits)
        with _noted(problems):
            made["texts"] = _texts(made, wildcards)
            made["embeddings"] = _embeddings(made, embeddings)
        if problems:
            raise together(problems)
        if not made["variation_strength"]:
            # Drawn for nothing it would tell apart what is the same.
            made["variation_seed"] = 0
        return cls(**made)

    @property
    def begun_with(self) -> Marks | None:
        """What the picture that it begins with says of itself, if it begins with one."""
        return self.image.marks if self.image else None

    @property
    def mix(self) -> tuple[AdapterMix, float]:
        """The adapters as they are put on, and the factor (up to 1) on their weights that normalising comes to."""
        return normalized(self.adapters) if self.normalize_adapters else (self.adapters, 1.0)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image: each paints the same picture as a request for it alone."""
        return _seeds(self.seed, self.num_images, self.variation_strength)

    @property
    def variation_seeds(self) -> tuple[int, ...]:
        """That of each image; none where there is no variation."""
        return seeds(self.variation_seed, self.num_images) if self.variation_strength else ()

    @property
    def inner_size(self) -> tuple[int, int]:
        """Width and height of what the image fills."""
        size = inner_size({name: getattr(self, name) for name in (*OUTPAINTED, *chain(*OUTPAINTED.values()))})
        return size["width"], size["height"]

    @property
    def masked(self) -> bool:
        """Whether a part of the image stays and a part is new."""
        return self.mask is not None or self.inner_size != (self.width, self.height)

    @property
    def total_steps(self) -> int:
        """The steps of one image that run, of both passes."""
        return sum(stage.steps for stage in self.passes)

    def guidance_scales(self, steps: int) -> tuple[float, ...]:
        """The guidance of each of a pass's steps, 1 (none) outside of the interval."""
        start, end = self.guidance_start, self.guidance_end
        inside = (start <= step / steps and (step / steps < end or end == 1) for step in range(steps))
        return tuple(self.guidance_scale if within else 1.0 for within in inside)


FIELDS = rows(GenerationRequest)
PICTURES = tuple(field for field in FIELDS if isinstance(field, PictureFile))


def seeds(first: int, count: int) -> tuple[int, ...]:
    return tuple((first + i) % SEEDS for i in range(count))


def _seeds(first: int, count: int, variation: float) -> tuple[int, ...]:
    """As AUTOMATIC1111 counts: variations are of one seed."""
    return (first,) * count if variation else seeds(first, count)


@contextmanager
def _noted(problems: list[AtelierError]) -> Iterator[None]:
    """Keep what is wrong. What follows from a value that is missing is not wrong by itself."""
    try:
        yield
    except AtelierError as problem:
        problems.append(problem)
    except KeyError:
        if not problems:
            raise


def _texts(made: Mapping[str, Any], wildcards: Wildcards | None) -> tuple[tuple[str, str], ...]:
    """(prompt, negative prompt) of each seed. Raises TooLong, or InvalidRequest for a style tag in a variant."""
    prompt, negative = made["prompt"], made["negative_prompt"]
    drawn = tuple(
        (expand(prompt, seed, wildcards), expand(negative, seed, wildcards, "negative_prompt"))
        for seed in _seeds(made["seed"], made["num_images"], made["variation_strength"])
    )
    for pair in drawn:
        for field, value in zip(("prompt", "negative_prompt"), pair):
            if tags := adapter_tags(value)[1]:
                raise InvalidRequest(f"{field} tag", f"<lora:{tags[0][0]}>", "in the prompt, and not in { } or __ __")
    return drawn


def _embeddings(made: Mapping[str, Any], known: Sequence[Adapter]) -> tuple[Adapter, ...]:
    """Those whose words are in the texts: of adapters that are on, and of the `known`. The first of a word counts."""
    brought = [use.adapter for use in made["adapters"] if use.adapter.words]
    words: dict[str, Adapter] = {}
    for adapter in (*brought, *known):
        for word, _ in adapter.words:
            words.setdefault(word.casefold(), adapter)
    pattern = finding(words)
    said = (
        {word.casefold() for pair in made["texts"] for text in pair for word in pattern.findall(text)}
        if pattern
        else ()
    )
    return tuple(dict.fromkeys(words[word] for word in words if word in said))


def _check_guidance(made: Mapping[str, Any], limits: Limits) -> None:
    if made["guidance_start"] >= made["guidance_end"]:
        end = f"less than guidance_end, which is {made['guidance_end']:g}"
        raise InvalidRequest("guidance_start", made["guidance_start"], end)


def _check_start(made: Mapping[str, Any], limits: Limits) -> None:
    """Whether there is an image where one is needed, and no second pass over what has to stay."""
    beyond = {name: made[name] for name in chain(*OUTPAINTED.values()) if made[name]}
    if made["image"] is None:
        if made["mask"] is not None:
            raise Described("mask", "given", "left out where there is no image to paint over")
        for name, pixels in beyond.items():
            raise InvalidRequest(name, pixels, "0 where there is no image to paint beyond")
    if made["hires_scale"] > 1 and (beyond or made["mask"] is not None):
        allowed = "1 with a mask or outpainting; give the finished picture as image to enlarge it"
        raise InvalidRequest("hires_scale", made["hires_scale"], allowed)


def _check_room(made: Mapping[str, Any], limits: Limits) -> None:
    """Whether what is outpainted leaves an image that could be painted by itself."""
    for side, left in inner_size(made).items():
        if made["image"] and left < limits.size_min and left != made[side]:
            most = max(0, made[side] - limits.size_min)
            allowed = f"at most {most} in all with a {side} of {made[side]}: image needs {limits.size_min} of it"
            raise InvalidRequest(" + ".join(OUTPAINTED[side]), made[side] - left, allowed)


def _passes(made: Mapping[str, Any], limits: Limits) -> tuple[Pass, ...]:
    steps, scale, size = made["steps"], made["hires_scale"], {side: made[side] for side in ("width", "height")}
    run = steps if made["image"] is None else _run("strength", steps, made["strength"])
    first = Pass(**size, planned=steps, steps=run)
    if scale == 1:
        return (first,)
    larger = {name: round(side * scale / limits.size_step) * limits.size_step for name, side in size.items()}
    if max(larger.values()) > limits.hires_size_max:
        most = math.floor(100 * limits.hires_size_max / max(size.values())) / 100
        allowed = f"at most {most:g} here, so that no side is longer than {limits.hires_size_max} pixels"
        raise InvalidRequest("hires_scale", scale, allowed)
    planned = made["hires_steps"] or steps
    return first, Pass(**larger, planned=planned, steps=_run("hires_strength", planned, made["hires_strength"]))


def _run(field: str, planned: int, strength: float) -> int:
    """How many of the planned steps a strength comes to, as diffusers counts; none at all is refused."""
    if steps := int(planned * strength):
        return steps
    raise InvalidRequest(field, strength, f"at least {math.ceil(100 / planned) / 100:g} of {planned} steps to do one")
