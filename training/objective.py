"""What is learnt: the loss of a random batch of pictures under the base model's own noise and text."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from lora.errors import InvalidRequest, ModelError
from lora.names import is_text
from pipeline.families import Components
from training.config import TrainingConfig
from training.dataset import Example, data_sha256, pixels
from training.denoising import Denoising
from training.inject import switched_off


def adapted(components: Components, config: TrainingConfig) -> dict[str, nn.Module]:
    """The modules that get adapter layers, by their names in the file."""
    modules = components.adaptable()
    return {name: module for name, module in modules.items() if config.text_encoders or not is_text(name)}


class Objective(Denoising):
    """Pictures as latents and captions as embeddings, made once; and the loss of a random batch of them.

    `given` is what an objective of the same pictures had `prepared`: it is taken as it is. Raises InvalidRequest for
    that of others.
    """

    def __init__(
        self,
        components: Components,
        examples: Sequence[Example],
        config: TrainingConfig,
        given: dict | None = None,
    ):
        if not examples:
            raise InvalidRequest("images", None, "at least one picture")
        captions = (text for e in examples for text in e.captions)
        super().__init__(components, captions, config, None if given is None else given["texts"])
        pictures = pixels([e.picture for e in examples], self.side)
        paired = any(e.before for e in examples)
        if paired and not config.preserve_noisiest:
            raise InvalidRequest("preserve_noisiest", 0.0, "more than 0 with pictures before, or leave these out")
        before = pixels([e.before or e.picture for e in examples], self.side) if paired else pictures
        shown = pictures if torch.equal(pictures, before) else torch.cat([pictures, before])
        self.sha256 = data_sha256(shown, examples)
        if given is not None:
            self.refuse_others(given)
        encoded = encode_pictures(components, shown) if given is None else given["latents"]
        self.encoded = encoded.to(components.device)
        self.latents, self.before = self.encoded[: len(examples)], self.encoded[-len(examples) :]
        # The noisiest step at which the style is learnt: a sampler comes to it by the base's predictions.
        self.switch = math.ceil(self.noise.config.num_train_timesteps * (1 - config.preserve_noisiest)) - 1
        row = {text: i for i, text in enumerate(self.texts)}
        self.rows = [[row[text] for text in e.captions] for e in examples]

    def prepared(self) -> dict:
        """With the pictures before."""
        return super().prepared() | {"latents": self.encoded}

    def loss(self, rng: torch.Generator) -> torch.Tensor:
        """Mean weighted squared error over a random batch, a scalar with gradient."""
        config, count, device = self.config, self.config.batch_size, self.latents.device
        picks = torch.randint(len(self.latents), (count,), generator=rng)
        turns = torch.randint(2**31, (count,), generator=rng).tolist()
        lot = torch.rand(count, generator=rng)
        said = lot >= config.caption_dropout
        steps = torch.randint(len(self.noise.alphas_cumprod), (count,), generator=rng).to(device)
        noise = torch.randn(self.latents[picks].shape, generator=rng).to(device)
        latents, noise = self.underway(picks.to(device), noise, steps)
        choices = [self.rows[pick] for pick in picks.tolist()]
        rows = [choice[turn % len(choice)] if say else 0 for choice, turn, say in zip(choices, turns, said)]
        target = self.components.family.target(self.noise, latents, noise, steps)
        noisy = self.noise.add_noise(latents, noise, steps).to(self.components.denoiser.dtype)
        kept = (lot < config.caption_dropout * config.preserve_unconditional).to(device)
        kept |= steps > self.switch
        if kept.any():
            with torch.no_grad(), switched_off(adapted(self.components, config).values()):
                target[kept] = self.predict(noisy[kept], steps[kept], [rows[i] for i in kept.nonzero()])
        errors = (self.predict(noisy, steps, rows) - target).square().mean((1, 2, 3))
        alphas = self.noise.alphas_cumprod.to(device)[steps]
        return (errors * snr_weights(alphas, self.noise.config.prediction_type, config.min_snr_gamma)).mean()

    def underway(
        self, picks: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and noise whose mixture at `steps` is what a sampler meets on its way to these pictures.

        Before the switch it goes to `before`, as the base paints it. From there on the probability flow to the
        picture leaves the share sigma / sigma(switch) of their difference: as if the noise had held it all along.
        """
        latents, before = self.latents[picks], self.before[picks]
        alpha = self.noise.alphas_cumprod[self.switch].item()
        shift = (before - latents) * math.sqrt(alpha / (1 - alpha))
        learnt = (steps <= self.switch)[:, None, None, None]
        return torch.where(learnt, latents, before), torch.where(learnt, noise + shift, noise)


def snr_weights(alphas: torch.Tensor, kind: str, gamma: float | None) -> torch.Tensor:
    """Min-SNR weights of time steps with cumulated `alphas`, shape as theirs (Hang et al. 2023, arXiv:2303.09556).

    With SNR = a / (1 - a): min(SNR, gamma) / SNR where noise is predicted, min(SNR, gamma) / (SNR + 1) for velocity.
    """
    if gamma is None:
        return torch.ones_like(alphas)
    snr = alphas / (1 - alphas)
    if kind == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    # gamma / SNR capped at 1 is the same quotient, and defined where the SNR is zero.
    return (gamma / snr).clamp(max=1)


@torch.no_grad()
def encode_pictures(components: Components, pictures: torch.Tensor) -> torch.Tensor:
    """uint8 N x 3 x H x W -> latents N x C x h x w as the denoiser has them, float32."""
    batches = (batch.to(components.device).float() / 127.5 - 1 for batch in pictures.split(16))
    # Without chance: the mode of what a KL encoder gives leaves the picture as it is.
    result = torch.cat([components.family.to_latents(components, batch).float() for batch in batches])
    if not torch.isfinite(result).all():
        raise ModelError("The autoencoder's numbers run out of range in float16; load it in float32.")
    return result
