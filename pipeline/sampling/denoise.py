"""The denoising loop, open on one screen: guidance, rescale, scheduler step, one yield a step."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.families import Components
from pipeline.sampling.inpaint import Around
from pipeline.sampling.level_scheduler import LevelScheduler
from pipeline.sampling.noise import Added
from pipeline.text.conditioning import Pair


@dataclass(frozen=True)
class Denoised:
    """After step `step` (1-based, 0 before the first): `latents` 1 x C x H x W, and `clean`, the picture without noise
    as predicted there.

    `done` steps are behind it: one less than `step` half way through one that asks the model twice.
    """

    step: int
    done: int
    latents: torch.Tensor
    clean: torch.Tensor


@torch.no_grad()
def denoise(
    components: Components,
    scheduler,
    timesteps: torch.Tensor,
    texts: Sequence[Pair],
    latents: torch.Tensor,
    *,
    guidance_scales: Sequence[float],
    guidance_rescale: float = 0.0,
    eta: float = 0.0,
    rng: torch.Generator | Added,
    around: Around | None = None,
) -> Iterator[Denoised]:
    """Yield after each of `timesteps`, those of `scheduler` or its last ones, from the `latents` that belong to them.

    `texts` and `guidance_scales` are one for each step. Classifier-free guidance e = e_neg + s * sum over parts of
    w * (e_part - e_neg) where s > 1 (Ho & Salimans 2022, equation 6; Liu et al. 2022, equation 11), else one pass
    through the model; a prompt without AND is one part of w = 1. CFG++ needs the unguided prediction at any s. `rng`
    gives the noise that stochastic schedulers add, `eta` how much of it where they leave that open. `around` is what
    holds a picture that is painted into.
    """
    around = around or Around()
    takes = inspect.signature(scheduler.step).parameters
    given: dict[str, Any] = {name: value for name, value in {"generator": rng, "eta": eta}.items() if name in takes}
    plus = isinstance(scheduler, LevelScheduler) and scheduler.solver.plus
    for i, t in enumerate(timesteps):
        # Some have two timesteps a step.
        step = i * len(texts) // len(timesteps)
        (positive, negative), scale = texts[step], guidance_scales[step]
        guided = scale > 1 or plus
        rows = [negative, positive] if guided else [positive]
        hidden = torch.cat([text.hidden for text in rows])
        pools = [text.pooled for text in rows if text.pooled is not None]
        inputs = around.beside(scheduler.scale_model_input(torch.cat([latents] * len(hidden)), t))
        prediction = components.family.predict(components, inputs, t, hidden, torch.cat(pools) if pools else None)
        toward = mixed(prediction[-len(positive.strengths) :], shares(positive.strengths))
        if guided:
            without = prediction[:1]
            given |= {"unguided": without} if plus else {}
            prediction = without + scale * mixed(prediction[1:] - without, positive.strengths)
            if guidance_rescale:
                prediction = rescaled(prediction, toward, guidance_rescale)
        else:
            prediction = toward
        out = scheduler.step(prediction, t, latents, **given)
        latents = around.after_step(scheduler, out.prev_sample, timesteps[i + 1 : i + 2])
        done = (i + 1) * len(texts) // len(timesteps)
        # A1111's DDIM has a step less than it says.
        yield Denoised(max(step + 1, done), done, latents, around.preview(_clean(scheduler, out)))


def mixed(parts: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    """The weighted sum of P x C x H x W over P, as 1 x C x H x W; one part of strength 1 stays as it is."""
    return sum(strength * part for strength, part in zip(strengths, parts.split(1)))


def shares(strengths: Sequence[float]) -> list[float]:
    """Strengths as shares of 1; what only repels has none, unless all do."""
    kept = [max(strength, 0.0) for strength in strengths]
    kept = kept if any(kept) else [1.0] * len(kept)
    return [strength / sum(kept) for strength in kept]


def rescaled(prediction: torch.Tensor, toward: torch.Tensor, amount: float) -> torch.Tensor:
    """Bring a guided prediction back to the spread of the unguided one by `amount` 0..1 (Lin et al. 2023, 15-16)."""
    axes = list(range(1, prediction.ndim))
    matched = prediction * (toward.std(dim=axes, keepdim=True) / prediction.std(dim=axes, keepdim=True))
    return amount * matched + (1 - amount) * prediction


def _clean(scheduler, out) -> torch.Tensor:
    """The clean latents that the scheduler just foresaw; those that keep none give the noisy ones."""
    if (clean := getattr(out, "pred_original_sample", None)) is not None:
        return clean
    # What DEIS remembers is the noise.
    deis = getattr(scheduler, "config", {}).get("algorithm_type") == "deis"
    history = None if deis else getattr(scheduler, "model_outputs", None)
    return history[-1] if history and history[-1] is not None else out.prev_sample
