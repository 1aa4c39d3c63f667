"""Latents and pixels, with all that a VAE's config says of how they were scaled."""

import io
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageStat

from pipeline.families.base import Components, scaled, unscaled
from pipeline.families.sdxl import SDXL
from pipeline.sampling.decode import Previewer, decode


class LinearVAE(torch.nn.Module):
    """A VAE whose colours are linear in its latents, as previews take all to be: of it they have to be exact."""

    def __init__(self, **says):
        super().__init__()
        self.config = SimpleNamespace(scaling_factor=0.5, latent_channels=4, block_out_channels=(4,) * 4, **says)
        self.colours = torch.nn.Conv2d(4, 3, 1, bias=False)
        with torch.no_grad():
            self.colours.weight.normal_(0, 0.03, generator=torch.Generator().manual_seed(0))

    def decode(self, latents, return_dict):
        return (torch.nn.functional.interpolate(self.colours(latents), scale_factor=8),)


STATISTICS = {"latents_mean": [0.9, -0.7, 0.4, -0.2], "latents_std": [2.0, 0.5, 1.5, 0.8]}


@pytest.fixture(params=[{}, STATISTICS, {"shift_factor": 0.7}, STATISTICS | {"shift_factor": -0.4}])
def vae(request):
    """One of each way to say how latents are scaled."""
    return LinearVAE(**request.param)


def test_what_is_scaled_is_unscaled(vae):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(unscaled(vae, scaled(vae, latents)), latents, atol=1e-5)


@torch.no_grad()
def test_a_preview_has_the_colours_of_the_picture(vae):
    denoiser = SimpleNamespace(config=SimpleNamespace(in_channels=4))
    components = Components(SDXL, (), (), denoiser, vae, {})
    previewer = Previewer(components)
    for seed in range(8):
        latents = torch.randn(1, 4, 1, 1, generator=torch.Generator().manual_seed(seed)).expand(1, 4, 8, 8)
        preview = Image.open(io.BytesIO(previewer(latents)))
        seen, meant = (ImageStat.Stat(image).mean for image in (preview, decode(components, latents)))
        assert max(abs(a - b) for a, b in zip(seen, meant)) < 5
