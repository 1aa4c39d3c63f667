"""Painting a part of a picture anew: what the whole looks like before, and what holds the rest in its place.

Follows diffusers' StableDiffusionInpaintPipeline and StableDiffusionXLInpaintPipeline, whose pixels it paints. Their
models are of two kinds: any, whose latents outside of the mask are replaced by the picture's after each step (Lugmayr
et al. 2022 without its repetitions), and those trained for it, which are shown the mask and the rest of the picture
beside the latents (Rombach et al. 2022).
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from pipeline.families import Components
from pipeline.request.picture import WHITE
from pipeline.request.request import GenerationRequest
from pipeline.sampling.latents import AnyRandomness, as_pixels, noised


@dataclass(frozen=True)
class Canvas:
    """What is painted into: `picture`, RGB of the whole frame, and `mask`, H x W, true where it is painted anew.

    `share` is how much of the result is new, H x W in 0..1: nothing outside of the mask, all of it deep inside.
    """

    picture: Image.Image
    mask: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, request: GenerationRequest) -> "Canvas | None":
        """None where nothing of a picture stays."""
        if not (request.masked and request.image):
            return None
        before, after = (request.outpaint_left, request.outpaint_top), (request.outpaint_right, request.outpaint_bottom)
        ends = [*zip(before, after)][::-1]
        inner = np.asarray(request.image.image())
        white = np.asarray(request.mask.image()) >= WHITE if request.mask else np.zeros(inner.shape[:2], bool)
        mask = np.pad(white, ends, constant_values=True)
        # What lies beyond begins as the edge drawn out: flat, and in the colours that it should go on in.
        return cls(Image.fromarray(np.pad(inner, [*ends, (0, 0)], "edge")), mask, fading(mask, request.mask_blur))

    def over(self, painted: Image.Image) -> Image.Image:
        """The picture with what was painted in it; outside of the mask every byte is the picture's."""
        old, new = (np.asarray(image, np.float32) for image in (self.picture, painted))
        share = self.share[:, :, None]
        return Image.fromarray((share * new + (1 - share) * old).round().astype(np.uint8))


def fading(mask: np.ndarray, pixels: int) -> np.ndarray:
    """How much is new: rises from the edge of a mask H x W inwards over so many pixels, or as many as there are."""
    if mask.all():
        return np.ones(mask.shape, np.float32)
    # Half a second that only those wait who bring a mask.
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(mask).astype(np.float32)
    return np.minimum(depth / min(pixels + 1, depth.max()), 1)


@dataclass(frozen=True)
class Around:
    """What holds a pass to the rest of the picture; by itself nothing does.

    `mask` is 1 x 1 x H x W, 1 where it is painted anew, and `latents` those of the picture. With `noise` they take
    their place after each step, with as much of it as is left. `shown` is what a model trained for it sees beside the
    latents: mask and picture.
    """

    mask: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    shown: torch.Tensor | None = None

    def beside(self, latents: torch.Tensor) -> torch.Tensor:
        """The input of the denoiser, of N x C x H x W latents."""
        return latents if self.shown is None else torch.cat([latents, self.shown.expand(len(latents), -1, -1, -1)], 1)

    def after_step(self, scheduler, latents: torch.Tensor, next_timestep: torch.Tensor) -> torch.Tensor:
        """Latents with the picture's around them; `next_timestep` is one, or none after the last."""
        if self.mask is None or self.latents is None or self.noise is None:
            return latents
        known = scheduler.add_noise(self.latents, self.noise, next_timestep) if len(next_timestep) else self.latents
        return (1 - self.mask) * known + self.mask * latents

    def preview(self, clean: torch.Tensor) -> torch.Tensor:
        """Clean latents as they will stand in the picture."""
        if self.mask is None or self.latents is None:
            return clean
        # Of two precisions, where the scheduler foresees in more than the model has.
        return (1 - self.mask) * self.latents + self.mask * clean


@torch.no_grad()
def begin(
    components: Components, scheduler, timesteps: torch.Tensor, canvas: Canvas, strength: float, random: AnyRandomness
) -> tuple[torch.Tensor, Around]:
    """The latents of the first of `timesteps`, and what holds them; at a `strength` of 1 they are nothing but noise."""
    trained, pure = components.inpaints, strength == 1
    mask, pixels = latent_mask(components, canvas.mask), as_pixels(canvas.picture)
    # Drawn in the order of diffusers, and laid out in memory as it does.
    known = None if trained and pure else components.family.to_latents(components, pixels, random.rng).contiguous()
    noise = random.noise(components, *canvas.picture.size)
    latents = (
        noise * scheduler.init_noise_sigma if known is None or pure else noised(scheduler, timesteps, known, noise)
    )
    if not trained:
        return latents, Around(mask, known, noise)
    hidden = pixels * ~torch.from_numpy(canvas.mask)[None, None]
    rest = components.family.to_latents(components, hidden, random.rng)
    return latents, Around(mask, rest, shown=torch.cat([mask, rest], 1))


@torch.no_grad()
def nothing_known(components: Components, width: int, height: int, rng: torch.Generator) -> Around:
    """What a model that was trained to paint into pictures is shown where there is none: all of it is to be painted."""
    if not components.inpaints:
        return Around()
    # As it was in training where nothing was left to be seen.
    grey = as_pixels(Image.new("RGB", (width, height))) * False
    grey = components.family.to_latents(components, grey, rng)
    return Around(shown=torch.cat([torch.ones_like(grey[:, :1]), grey], 1))


def latent_mask(components: Components, mask: np.ndarray) -> torch.Tensor:
    """A mask H x W in pixels as 1 x 1 x H x W in latents: as diffusers, what the first pixel of each says.

    One so thin that it is between all of these takes every latent that it touches.
    """
    scale, whole = components.vae_scale_factor, torch.from_numpy(mask).float()[None, None]
    small = whole[:, :, ::scale, ::scale]
    small = small if small.any() else torch.nn.functional.max_pool2d(whole, scale)
    return small.to(components.device, components.dtype)
