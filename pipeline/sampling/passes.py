"""One pass of one picture: what it begins with, and its steps."""

from collections.abc import Generator, Iterator, Sequence

import torch
from PIL import Image

from lora.errors import PaintingFailed
from pipeline.families import Components
from pipeline.request.request import GenerationRequest, Pass
from pipeline.sampling import schedulers
from pipeline.sampling.decode import decode
from pipeline.sampling.denoise import Denoised, denoise
from pipeline.sampling.inpaint import Canvas, begin, nothing_known
from pipeline.sampling.latents import AnyRandomness, encode_image, enlarged, noised
from pipeline.sampling.level_scheduler import LevelScheduler
from pipeline.text.conditioning import Pair
from pipeline.upscaling.upscalers import Upscale


def run_pass(
    components: Components,
    texts: Sequence[Pair],
    request: GenerationRequest,
    stage: Pass,
    before: torch.Tensor | None,
    canvas: Canvas | None,
    upscale: Upscale | None,
    random: AnyRandomness,
) -> Iterator[Denoised]:
    """Its steps, from noise, from the request's picture, into it, or from the latents of the pass `before`, enlarged.

    While they are enlarged by `upscale` those come again, as a step 0. Raises PaintingFailed where they are no numbers.
    """
    scheduler, timesteps = schedulers.prepare(
        request.scheduler, components.scheduler_config, stage.planned, components.family.ays, components.device,
        stage.skipped, request.rng,
    )  # fmt: skip
    if canvas:
        latents, around = begin(components, scheduler, timesteps, canvas, request.strength, random)
    else:
        clean = yield from _clean(components, request, stage, before, upscale, random)
        noise = random.noise(components, stage.width, stage.height)
        latents = noise * scheduler.init_noise_sigma if clean is None else noised(scheduler, timesteps, clean, noise)
        around = nothing_known(components, stage.width, stage.height, random.rng)
    yield from denoise(
        components, scheduler, timesteps, texts, latents, guidance_scales=request.guidance_scales(stage.steps),
        guidance_rescale=request.guidance_rescale, eta=request.eta, around=around,
        rng=random.added if isinstance(scheduler, LevelScheduler) else random.rng,
    )  # fmt: skip


def _clean(
    components: Components,
    request: GenerationRequest,
    stage: Pass,
    before: torch.Tensor | None,
    upscale: Upscale | None,
    random: AnyRandomness,
) -> Generator[Denoised, None, torch.Tensor | None]:
    """The latents that a pass puts noise on, if there are any."""
    if before is None:
        return encode_image(components, request.image.image(), random.rng) if request.image else None
    size = stage.width, stage.height
    if request.hires_upscaler == "latent":
        return enlarged(components, finite(before), *size)
    image = decode(components, finite(before))
    if upscale:
        image = yield from _each_tile(upscale(image), Denoised(0, 0, before, before))
    return encode_image(components, image.resize(size, Image.Resampling.LANCZOS), random.rng)


def _each_tile(tiles: Generator[None, None, Image.Image], again: Denoised) -> Generator[Denoised, None, Image.Image]:
    """The picture, and `again` after each of its tiles: whoever has left is noticed between two of them."""
    while True:
        try:
            next(tiles)
        except StopIteration as end:
            return end.value
        yield again


def finite(latents: torch.Tensor) -> torch.Tensor:
    """The latents, if they are numbers: an overflow would come out as a black picture."""
    if not torch.isfinite(latents).all():
        raise PaintingFailed("The numbers overflowed while painting; lower the guidance or the adapter weights.")
    return latents
