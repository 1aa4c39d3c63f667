"""The denoising loop, open on one screen: guidance, rescale, scheduler step, one yield a step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers.utils.torch_utils import randn_tensor

from pipeline.conditioning import Conditioning
from pipeline.models import Components


@dataclass(frozen=True)
class Denoised:
    """After step `step` (1-based): `latents` 1 x C x H x W, and `estimate`, the clean picture as foreseen there."""

    step: int
    latents: torch.Tensor
    estimate: torch.Tensor


def initial_noise(components: Components, scheduler, width: int, height: int, rng: torch.Generator) -> torch.Tensor:
    """Noise for a picture of that size in pixels, scaled as the scheduler wants it."""
    scale = components.vae_scale_factor
    shape = (1, components.unet.config.in_channels, height // scale, width // scale)
    noise = randn_tensor(shape, generator=rng, device=components.device, dtype=components.dtype)
    return noise * scheduler.init_noise_sigma


@torch.no_grad()
def denoise(
    components: Components,
    scheduler,
    positive: Conditioning,
    negative: Conditioning,
    latents: torch.Tensor,
    *,
    guidance_scale: float,
    guidance_rescale: float = 0.0,
    rng: torch.Generator,
) -> Iterator[Denoised]:
    """Yield after each step of `scheduler`, whose timesteps are set.

    Classifier-free guidance e = e_neg + s * (e_pos - e_neg) where s > 1 (Ho & Salimans 2022, equation 6); `rng` gives
    the noise that stochastic schedulers add.
    """
    guided = guidance_scale > 1
    hidden = torch.cat([negative.hidden, positive.hidden]) if guided else positive.hidden
    extra = size_conditioning(components, positive, negative, latents, guided)
    noise = {"generator": rng} if _stochastic(scheduler) else {}
    for i, t in enumerate(scheduler.timesteps):
        inputs = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
        prediction = components.unet(inputs, t, encoder_hidden_states=hidden, added_cond_kwargs=extra).sample
        if guided:
            without, toward = prediction.chunk(2)
            prediction = without + guidance_scale * (toward - without)
            if guidance_rescale:
                prediction = rescaled(prediction, toward, guidance_rescale)
        out = scheduler.step(prediction, t, latents, **noise)
        latents = out.prev_sample
        yield Denoised(i + 1, latents, _estimate(scheduler, out))


def rescaled(prediction: torch.Tensor, toward: torch.Tensor, amount: float) -> torch.Tensor:
    """Bring a guided prediction back to the spread of the unguided one by `amount` 0..1 (Lin et al. 2023, 15-16)."""
    axes = list(range(1, prediction.ndim))
    matched = prediction * (toward.std(dim=axes, keepdim=True) / prediction.std(dim=axes, keepdim=True))
    return amount * matched + (1 - amount) * prediction


def size_conditioning(components, positive, negative, latents, guided) -> dict | None:
    """SDXL's added conditions: pooled text, and original size, crop corner, target size in pixels."""
    if components.family != "sdxl":
        return None
    height, width = (side * components.vae_scale_factor for side in latents.shape[-2:])
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=positive.hidden.dtype, device=latents.device)
    if not guided:
        return {"text_embeds": positive.pooled, "time_ids": time_ids}
    return {"text_embeds": torch.cat([negative.pooled, positive.pooled]), "time_ids": torch.cat([time_ids] * 2)}


def _stochastic(scheduler) -> bool:
    return "generator" in scheduler.step.__code__.co_varnames


def _estimate(scheduler, out) -> torch.Tensor:
    """The clean latents that the scheduler just foresaw; those that keep none give the noisy ones."""
    if (estimate := getattr(out, "pred_original_sample", None)) is not None:
        return estimate
    history = getattr(scheduler, "model_outputs", None)
    return history[-1] if history and history[-1] is not None else out.prev_sample
