"""Latents -> pictures: the VAE for the result, a linear map for the preview at every step."""

import io

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.families import Components
from pipeline.metadata.marks import XMP_PNG, packet

PREVIEW_SIDE = 128


@torch.no_grad()
def decode(components: Components, latents: torch.Tensor) -> Image.Image:
    """Latents 1 x C x H x W -> RGB picture."""
    return to_image(components.family.to_pixels(components, latents)[0] / 2 + 0.5)


def to_image(pixels: torch.Tensor) -> Image.Image:
    """3 x H x W in 0..1 -> RGB picture, rounded as diffusers does."""
    array = pixels.nan_to_num().clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    return Image.fromarray((array * 255).round().astype("uint8"))


def encode_png(image: Image.Image, parameters: str = "", xmp: bytes = packet()) -> bytes:
    """PNG file, with `parameters` as its text of that name, marked; the same picture and texts give the same bytes."""
    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_itxt(XMP_PNG.decode(), xmp.decode())
    if parameters:
        texts.add_text("parameters", parameters)
    image.save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


class Previewer:
    """Latents -> small JPEG in well under a millisecond: each latent is one pixel, its colour linear in its channels.

    The map is fitted to the VAE itself: patches of constant random latents are decoded once, and the mean colour of
    each is regressed on its latents. Any VAE gets a preview that way, without a table of numbers.
    """

    # Patches a side; latents of a patch's side, and of one that is decoded to more than 48 pixels.
    GRID, PATCH, LEAST = 12, 6, 3

    @torch.no_grad()
    def __init__(self, components: Components):
        rng = torch.Generator().manual_seed(0)
        colours = torch.randn(1, components.latent_channels, self.GRID, self.GRID, generator=rng)
        side = self.PATCH if self.PATCH * components.vae_scale_factor <= 48 else self.LEAST
        patches = colours.repeat_interleave(side, 2).repeat_interleave(side, 3)
        pixels = components.family.to_pixels(components, patches).float().cpu() / 2 + 0.5
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
        image.save(buffer, "JPEG", quality=70, xmp=packet())
        return buffer.getvalue()
