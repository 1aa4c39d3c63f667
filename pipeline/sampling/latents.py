"""What a pass of denoising begins with: noise, a picture with noise on it, or the pass before it enlarged."""

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from pipeline.families import Components
from pipeline.sampling.decode import decode


def initial_noise(components: Components, scheduler, width: int, height: int, rng: torch.Generator) -> torch.Tensor:
    """Noise for a picture of that size in pixels, scaled as the scheduler wants it."""
    scale = components.vae_scale_factor
    shape = (1, components.latent_channels, height // scale, width // scale)
    noise = randn_tensor(shape, generator=rng, device=components.device, dtype=components.dtype)
    return noise * scheduler.init_noise_sigma


@torch.no_grad()
def encode_image(components: Components, image: Image.Image, rng: torch.Generator) -> torch.Tensor:
    """RGB picture -> latents 1 x C x H x W: a sample of what a KL encoder gives, or just what a tiny one gives."""
    # Laid out in memory as diffusers does: convolutions round by it.
    pixels = torch.from_numpy((np.asarray(image, np.float32)[None] / 255).transpose(0, 3, 1, 2))
    return components.family.to_latents(components, 2.0 * pixels - 1.0, rng)


def noised(components: Components, scheduler, timesteps: torch.Tensor, latents: torch.Tensor, rng) -> torch.Tensor:
    """Latents with as much noise as the first of `timesteps` expects."""
    noise = randn_tensor(latents.shape, generator=rng, device=components.device, dtype=components.dtype)
    return scheduler.add_noise(latents, noise, timesteps[:1])


def enlarged(
    components: Components, latents: torch.Tensor, width: int, height: int, by: str, rng: torch.Generator
) -> torch.Tensor:
    """Clean latents for a picture of that size in pixels, by the "latent" itself or by its "pixels"."""
    if by == "pixels":
        image = decode(components, latents).resize((width, height), Image.Resampling.LANCZOS)
        return encode_image(components, image, rng)
    size = height // components.vae_scale_factor, width // components.vae_scale_factor
    return torch.nn.functional.interpolate(latents, size, mode="bilinear", antialias=True)
