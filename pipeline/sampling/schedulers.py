"""Named presets over diffusers' schedulers: a sampler, and how its noise levels are spread over the steps.

What a preset can do depends on the model. One trained to zero terminal signal-to-noise ratio (Lin et al. 2023) starts
from a noise level that is all but infinite: samplers that do not know of it start from the wrong noise, and schedules
that are laid out between the lowest and the highest noise level spend nearly all steps where nothing can be seen.
A scheduler has state: every image gets a fresh one.
"""

from collections.abc import Mapping, Sequence

import diffusers
import numpy as np

_MULTISTEP = {"algorithm_type": "dpmsolver++", "solver_order": 2}
# name -> (class, settings that differ from the base model's own scheduler config)
SAMPLERS: dict[str, tuple[str, dict]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", _MULTISTEP),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", _MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}),
    "DPM++ SDE": ("DPMSolverSinglestepScheduler", _MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}),
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "DDPM": ("DDPMScheduler", {"clip_sample": False}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {"clip_sample": False}),
    "TCD": ("TCDScheduler", {"clip_sample": False}),
}
# Karras et al. 2022; beta is Lee et al. 2024; SGM uniform is Stability's, trailing spacing; AYS is Sabour et al. 2024,
# a table that a family has or not.
SCHEDULES: dict[str, dict] = {
    "Karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "SGM uniform": {"timestep_spacing": "trailing"},
    "AYS": {},
}
# diffusers draws the steps of these two from 50 that they were distilled on.
STEP_CAPS = {"LCM": 50, "TCD": 50}


def _spread(sampler: str) -> list[str]:
    """The schedules that a sampler of diffusers takes."""
    if sampler in ("LCM", "TCD"):
        return []
    if sampler in ("Euler a", "DDIM", "DDPM"):
        return ["SGM uniform"]
    return [name for name in SCHEDULES if name != "AYS" or sampler != "UniPC"]


def _presets() -> dict[str, tuple[str, dict]]:
    presets = {}
    for sampler, (class_name, settings) in SAMPLERS.items():
        presets[sampler] = class_name, settings
        presets |= {f"{sampler} {name}": (class_name, settings | SCHEDULES[name]) for name in _spread(sampler)}
    return presets


PRESETS = _presets()


def refused(config: Mapping, ays: bool = True) -> dict[str, str]:
    """The presets that a base model with this scheduler config cannot honour, and what to use instead.

    `ays`: whether its family has a table of Align Your Steps.
    """
    without = {} if ays else {name: name.removesuffix(" AYS") for name in PRESETS if name.endswith(" AYS")}
    why = {name: f"{sampler}: there is no AYS table for this model" for name, sampler in without.items()}
    if not config.get("rescale_betas_zero_snr"):
        return why
    for name, (class_name, settings) in PRESETS.items():
        sampler = next(s for s in sorted(SAMPLERS, key=len, reverse=True) if name.startswith(s))
        if not _knows_zero_snr(class_name):
            why[name] = (
                f"one that can start from pure noise, as this model must, such as Euler or DPM++ 2M, not {sampler}"
            )
        elif name != sampler and settings.get("timestep_spacing") != "trailing":
            why[name] = (
                f"{sampler}: its other schedules need a highest noise level, and this model starts from pure noise"
            )
        elif name != sampler and config.get("timestep_spacing") == "trailing":
            why[name] = f"{sampler}, which is SGM uniform on this model already"
    return why


def available(config: Mapping, ays: bool = True) -> tuple[str, ...]:
    """The presets that work on a base model with this scheduler config."""
    return tuple(name for name in PRESETS if name not in refused(config, ays))


def _knows_zero_snr(class_name: str) -> bool:
    return "rescale_betas_zero_snr" in getattr(diffusers, class_name)._get_init_keys(getattr(diffusers, class_name))


def make(name: str, config: Mapping):
    """A fresh scheduler of the preset `name` on a base model's scheduler config (betas, prediction type, spacing)."""
    class_name, settings = PRESETS[name]
    return getattr(diffusers, class_name).from_config(dict(config), **settings)


def timesteps(name: str, steps: int, ays: Sequence[int] = ()) -> dict:
    """The arguments of a scheduler's `set_timesteps`: the number of steps, or for AYS the steps themselves.

    The family's table of ten, `ays`, is for ten steps; other numbers are read off the line through it.
    """
    if not name.endswith("AYS"):
        return {"num_inference_steps": steps}
    table = np.interp(np.linspace(0, 9, steps), np.arange(10), ays)
    return {"timesteps": [int(t) for t in table.round()]}


def prepare(name: str, config: Mapping, steps: int, ays: Sequence[int] = (), device=None, skip: int = 0):
    """A fresh scheduler with its timesteps set, and those of them that run: all but the first `skip` steps'."""
    scheduler = make(name, config)
    scheduler.set_timesteps(**timesteps(name, steps, ays), device=device)
    begin = skip * scheduler.order
    # Said outright, since schedulers look themselves up by timestep, and dense schedules have some of them twice.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return scheduler, scheduler.timesteps[begin:]


def sigmas(name: str, config: Mapping, steps: int, ays: Sequence[int] = ()) -> list[float]:
    """The noise levels from the first step to the clean picture, standard deviations relative to it; for drawing."""
    scheduler, _ = prepare(name, config, steps, ays)
    levels = getattr(scheduler, "sigmas", None)
    if levels is None:
        # Zero signal would be an infinite level; diffusers' Euler takes the same bound.
        signal = scheduler.alphas_cumprod[scheduler.timesteps.long()].clamp(min=2**-24)
        levels = [*((1 - signal) / signal).sqrt().tolist(), 0.0]
    # Heun visits each level twice.
    return list(dict.fromkeys(round(float(level), 6) for level in levels))
