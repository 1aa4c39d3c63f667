"""What a pass of denoising begins with: noise, a picture with noise on it, or the pass before it enlarged."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from pipeline.families import Components


@dataclass(frozen=True)
class Randomness:
    """All that is drawn for one picture, on the CPU whatever the device: the same seed is the same picture everywhere.

    Noise to begin with is turned by `strength` 0..1 towards that of `variation`.
    """

    rng: torch.Generator
    variation: torch.Generator | None = None
    strength: float = 0.0

    @classmethod
    def of(cls, seed: int, variation_seed: int | None = None, strength: float = 0.0) -> "Randomness":
        """From its seeds."""
        rng, other = (None if each is None else torch.Generator().manual_seed(each) for each in (seed, variation_seed))
        assert rng is not None
        return cls(rng, other, strength)

    def noise(self, components: Components, width: int, height: int) -> torch.Tensor:
        """Noise 1 x C x H x W for a picture of that size in pixels."""
        scale = components.vae_scale_factor
        shape = (1, components.latent_channels, height // scale, width // scale)
        draw = partial(randn_tensor, shape, device=components.device, dtype=components.dtype)
        noise = draw(generator=self.rng)
        if self.variation is None:
            return noise
        other = draw(generator=self.variation)
        return turned(self.strength, noise[0].float(), other[0].float())[None].to(noise)


def turned(share: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Noise C x H x W turned by a share of the way from `low` to `high`, column by column on a sphere (Shoemake 1985).

    As AUTOMATIC1111 does, so that its variations are the same here: angles are between columns, and where these are
    all but parallel it mixes, with the shares the other way round.
    """
    cosine = torch.nn.functional.normalize(low, dim=1, eps=0) * torch.nn.functional.normalize(high, dim=1, eps=0)
    cosine = cosine.sum(1, keepdim=True)
    if cosine.mean() > 0.9995:
        return share * low + (1 - share) * high
    angle = cosine.acos()
    return ((1 - share) * angle).sin() / angle.sin() * low + (share * angle).sin() / angle.sin() * high


def as_pixels(image: Image.Image) -> torch.Tensor:
    """RGB picture -> 1 x 3 x H x W in -1..1."""
    # Laid out in memory as diffusers does: convolutions round by it.
    return 2.0 * torch.from_numpy((np.asarray(image, np.float32)[None] / 255).transpose(0, 3, 1, 2)) - 1.0


@torch.no_grad()
def encode_image(components: Components, image: Image.Image, rng: torch.Generator) -> torch.Tensor:
    """RGB picture -> latents 1 x C x H x W: a sample of what a KL encoder gives, or just what a tiny one gives."""
    return components.family.to_latents(components, as_pixels(image), rng)


def noised(scheduler, timesteps: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Latents with as much noise as the first of `timesteps` expects."""
    return scheduler.add_noise(latents, noise, timesteps[:1])


def enlarged(components: Components, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Clean latents for a picture of that size in pixels, by themselves."""
    size = height // components.vae_scale_factor, width // components.vae_scale_factor
    return torch.nn.functional.interpolate(latents, size, mode="bilinear", antialias=True)
