"""Latents -> pictures: the VAE for the result, a linear map for the preview at every step."""

import io

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PREVIEW_SIDE = 128


@torch.no_grad()
def decode(vae, latents: torch.Tensor) -> Image.Image:
    """Latents 1 x C x H x W -> RGB picture, by the VAE's own scaling (and shift, where its config has them)."""
    return to_image(vae.decode(unscaled(vae, latents), return_dict=False)[0][0] / 2 + 0.5)


def unscaled(vae, latents: torch.Tensor) -> torch.Tensor:
    """Latents as a model denoises them -> as the VAE decodes them, in its dtype: undo its scale, statistics, shift."""
    latents = latents.to(next(vae.parameters()))
    mean, std = latent_statistics(vae, latents)
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None)
    latents = latents / scale if mean is None else latents * std / scale + mean
    return latents + shift if shift else latents


def scaled(vae, latents: torch.Tensor) -> torch.Tensor:
    """What `unscaled` undoes."""
    mean, std = latent_statistics(vae, latents)
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None)
    latents = latents - shift if shift else latents
    return latents * scale if mean is None else (latents - mean) * scale / std


def latent_statistics(vae, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """Mean and deviation of each latent channel where the VAE's config has them, as 1 x C x 1 x 1."""
    found = [getattr(vae.config, name, None) for name in ("latents_mean", "latents_std")]
    if None in found:
        return None, None
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in found)
    return mean, std


def to_image(pixels: torch.Tensor) -> Image.Image:
    """3 x H x W in 0..1 -> RGB picture, rounded as diffusers does."""
    array = pixels.nan_to_num().clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    return Image.fromarray((array * 255).round().astype("uint8"))


def encode_png(image: Image.Image, parameters: str = "") -> bytes:
    """PNG file, with `parameters` as its text of that name; the same picture and text give the same bytes."""
    buffer, texts = io.BytesIO(), PngInfo()
    if parameters:
        texts.add_text("parameters", parameters)
    image.save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


class Previewer:
    """Latents -> small JPEG in well under a millisecond: each latent is one pixel, its colour linear in its channels.

    The map is fitted to the VAE itself: patches of constant random latents are decoded once, and the mean colour of
    each is regressed on its latents. Any VAE gets a preview that way, without a table of numbers.
    """

    GRID, PATCH = 12, 6

    @torch.no_grad()
    def __init__(self, vae, channels: int):
        rng = torch.Generator().manual_seed(0)
        colours = torch.randn(1, channels, self.GRID, self.GRID, generator=rng)
        patches = colours.repeat_interleave(self.PATCH, 2).repeat_interleave(self.PATCH, 3)
        pixels = vae.decode(unscaled(vae, patches), return_dict=False)[0].float().cpu() / 2 + 0.5
        means = torch.nn.functional.adaptive_avg_pool2d(pixels.clamp(0, 1), self.GRID)[0].flatten(1).T
        inputs = torch.cat([colours[0].flatten(1).T, torch.ones(self.GRID**2, 1)], 1)
        self._map = torch.linalg.lstsq(inputs, means).solution

    def __call__(self, latents: torch.Tensor) -> bytes:
        """Latents 1 x C x H x W -> JPEG, at most PREVIEW_SIDE pixels a side."""
        channels = latents[0].float().cpu()
        pixels = torch.einsum("chw,cr->rhw", channels, self._map[:-1]) + self._map[-1].view(3, 1, 1)
        image = to_image(pixels)
        scale = PREVIEW_SIDE / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=70)
        return buffer.getvalue()
