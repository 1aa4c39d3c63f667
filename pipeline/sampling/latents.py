"""What a pass of denoising begins with: noise, a picture with noise on it, or the pass before it enlarged."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from pipeline.families import Components
from pipeline.sampling.noise import SOURCES, Added, Stream


@dataclass(frozen=True)
class Randomness:
    """All that is drawn for one picture, on the CPU whatever the device: the same seed is the same picture everywhere.

    Noise to begin with is turned by `strength` 0..1 towards that of `variation`.
    """

    rng: torch.Generator
    variation: torch.Generator | None = None
    strength: float = 0.0

    @classmethod
    def of(cls, seed: int, variation_seed: int | None = None, strength: float = 0.0) -> Self:
        """From its seeds."""
        rng, other = (None if each is None else torch.Generator().manual_seed(each) for each in (seed, variation_seed))
        assert rng is not None
        return cls(rng, other, strength)

    @property
    def added(self) -> Added:
        """What samplers of ours add noise from; those of diffusers draw from `rng`."""
        return Added.of(self.rng)

    def noise(self, components: Components, width: int, height: int) -> torch.Tensor:
        """Noise 1 x C x H x W for a picture of that size in pixels."""
        shape = _shape(components, width, height)
        draw = partial(randn_tensor, shape, device=components.device, dtype=components.dtype)
        noise = draw(generator=self.rng)
        if self.variation is None:
            return noise
        other = draw(generator=self.variation)
        return turned(self.strength, noise[0].float(), other[0].float())[None].to(noise)


class ForeignRandomness:
    """The same as AUTOMATIC1111 draws it: of a `source` of noise, anew for each pass.

    Samplers go on where noise to begin with ended, or with an `ensd` above 0 in a stream of seed + ensd. What it draws
    from elsewhere, `rng`, is another stream, so as not to be that noise again.
    """

    def __init__(self, source: str, seed: int, ensd: int, variation_seed: int | None = None, strength: float = 0.0):
        self._begin, self._seed, self._ensd = SOURCES[source], seed, ensd
        self._variation_seed, self._strength = variation_seed, strength
        self._stream: Stream = self._begin(seed)
        self.rng = torch.Generator().manual_seed(seed ^ 0xFFFFFFFF)

    @property
    def added(self) -> Added:
        """What samplers of ours add noise from, after `noise`."""
        return Added(self._stream, self._begin, self._seed)

    def noise(self, components: Components, width: int, height: int) -> torch.Tensor:
        """Noise 1 x C x H x W for a picture of that size in pixels."""
        shape, self._stream = _shape(components, width, height), self._begin(self._seed)
        noise = self._stream(shape)[0]
        if self._variation_seed is not None:
            noise = turned(self._strength, noise, self._begin(self._variation_seed)(shape)[0])
        if self._ensd:
            self._stream = self._begin(self._seed + self._ensd)
        return noise[None].to(components.device, components.dtype)


AnyRandomness = Randomness | ForeignRandomness


def _shape(components: Components, width: int, height: int) -> tuple[int, int, int, int]:
    scale = components.vae_scale_factor
    return 1, components.latent_channels, height // scale, width // scale


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
