"""Named presets: a sampler, alone or with how its noise levels are spread over the steps.

A sampler alone is diffusers', on the base model's own spacing, or if they have none a solver of ours there. With a
schedule it is diffusers' where its levels are those that users know under that name, and else a solver on those levels;
so it is with noise as AUTOMATIC1111 draws it, alone on k-diffusion's levels, so that the picture is the one that was
painted there.

What a preset can do depends on the model. One trained to zero terminal signal-to-noise ratio (Lin et al. 2023) starts
from a noise level that is all but infinite: samplers that do not know of it start from the wrong noise, and schedules
that are laid out between the lowest and the highest noise level spend nearly all steps where nothing can be seen.
A scheduler has state: every image gets a fresh one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import diffusers
import torch
from torch import Tensor

from pipeline.sampling import levels, solvers
from pipeline.sampling.level_scheduler import Layout, LevelScheduler, Solver
from pipeline.sampling.levels import TrainedLevels


@dataclass(frozen=True)
class Sampler:
    """A class of diffusers, with settings that differ from the base model's own scheduler config, a solver of ours, or
    both: then the class is for the sampler alone, and for the `schedules` that it has right."""

    diffusers: str = ""
    settings: dict = field(default_factory=dict)
    solver: Solver | None = None
    schedules: tuple[str, ...] = ()


_MULTISTEP = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_SDE = _MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}
_UNCLIPPED = {"clip_sample": False}
# As diffusers is told of a schedule. Of the samplers below those have them right that lay them out from the trained
# levels; the others begin at the level of the model's own spacing.
_TOLD: dict[str, dict] = {
    "Karras": {"use_karras_sigmas": True}, "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True}, "SGM uniform": {"timestep_spacing": "trailing"},
}  # fmt: skip
_TRAILING, _ALL = ("SGM uniform",), tuple(_TOLD)
_ANCESTRAL = Solver(partial(solvers.ancestral, eta=1.0))
SAMPLERS: dict[str, Sampler] = {
    "Euler": Sampler("EulerDiscreteScheduler", {}, Solver(solvers.euler), _TRAILING),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler", {}, _ANCESTRAL, _TRAILING),
    "Heun": Sampler("HeunDiscreteScheduler", {}, Solver(solvers.heun, order=2), _TRAILING),
    "DPM2": Sampler(solver=Solver(solvers.dpm2, order=2, skips_last=True)),
    "DPM2 a": Sampler(solver=Solver(partial(solvers.dpm2, eta=1.0), order=2, skips_last=True)),
    "LMS": Sampler(solver=Solver(solvers.lms)),
    "DPM++ 2S a": Sampler(solver=Solver(solvers.dpmpp_2s_ancestral, order=2)),
    "DPM++ 2M": Sampler("DPMSolverMultistepScheduler", _MULTISTEP, Solver(solvers.dpmpp_2m), _ALL),
    "DPM++ SDE": Sampler("DPMSolverSinglestepScheduler", _SDE, Solver(solvers.dpmpp_sde, order=2, brownian=True), _ALL),
    "DPM++ 2M SDE": Sampler("DPMSolverMultistepScheduler", _SDE, Solver(solvers.dpmpp_2m_sde, brownian=True), _ALL),
    "DPM++ 2M SDE Heun": Sampler(solver=Solver(partial(solvers.dpmpp_2m_sde, heun=True), brownian=True)),
    "DPM++ 3M SDE": Sampler(solver=Solver(solvers.dpmpp_3m_sde, brownian=True, skips_last=True)),
    "DDIM": Sampler("DDIMScheduler", _UNCLIPPED, Solver(solvers.ancestral, eta=True), _TRAILING),
    # Its noise is that of Euler a, which is DDIM's with an eta of 1.
    "DDPM": Sampler("DDPMScheduler", _UNCLIPPED, _ANCESTRAL, _TRAILING),
    "UniPC": Sampler("UniPCMultistepScheduler", schedules=_ALL),
    "LCM": Sampler("LCMScheduler", _UNCLIPPED, Solver(solvers.lcm)),
    "TCD": Sampler("TCDScheduler", _UNCLIPPED),
    "DEIS": Sampler("DEISMultistepScheduler"),
    "SA-Solver": Sampler("SASolverScheduler"),
    "IPNDM": Sampler(solver=Solver(solvers.ipndm)),
    "Restart": Sampler(solver=Solver(solvers.restart, order=2)),
    "Res multistep": Sampler(solver=Solver(solvers.res_multistep)),
    "Euler CFG++": Sampler(solver=Solver(solvers.euler_cfg_pp, plus=True)),
    "Euler a CFG++": Sampler(solver=Solver(partial(solvers.euler_cfg_pp, eta=1.0), plus=True)),
    "DPM++ 2M CFG++": Sampler(solver=Solver(solvers.dpmpp_2m_cfg_pp, plus=True)),
}
# AYS is a table that a family has or not.
SCHEDULES = (*levels.SPACINGS, "AYS")
# TCD's steps are those that it was distilled on; Restart lays out its own.
_ALONE = ("TCD", "Restart")
PRESETS: dict[str, tuple[str, str]] = {
    f"{sampler} {schedule}".strip(): (sampler, schedule)
    for sampler in SAMPLERS
    for schedule in ("", *(() if sampler in _ALONE else SCHEDULES))
}
# diffusers draws the steps of these two from 50 that they were distilled on.
STEP_CAPS = {"LCM": 50, "TCD": 50}
# As near to no noise as the solvers of diffusers that divide by it come.
_NEARLY_CLEAN = 1e-5


def refused(config: Mapping, ays: bool = True) -> dict[str, str]:
    """The presets that a base model with this scheduler config cannot honour, and what to use instead.

    `ays`: whether its family has a table of Align Your Steps.
    """
    without = {} if ays else {name: parts[0] for name, parts in PRESETS.items() if parts[1] == "AYS"}
    why = {name: f"{sampler}: there is no AYS table for this model" for name, sampler in without.items()}
    if not config.get("rescale_betas_zero_snr"):
        return why
    trailing = config.get("timestep_spacing") == "trailing"
    for name, (sampler, schedule) in PRESETS.items():
        if not _starts_from_noise(sampler):
            why[name] = (
                f"one that can start from pure noise, as this model must, such as Euler or DPM++ 2M, not {sampler}"
            )
        elif schedule not in ("", "SGM uniform"):
            why[name] = (
                f"{sampler}: its other schedules need a highest noise level, and this model starts from pure noise"
            )
        elif schedule and trailing:
            why[name] = f"{sampler}, which is SGM uniform on this model already"
    return why


def available(config: Mapping, ays: bool = True) -> tuple[str, ...]:
    """The presets that work on a base model with this scheduler config."""
    out = refused(config, ays)
    return tuple(name for name in PRESETS if name not in out)


def by_sampler(names: Sequence[str]) -> dict[str, list[str]]:
    """The schedules that each sampler has among presets, "" for none."""
    found: dict[str, list[str]] = {}
    for sampler, schedule in (PRESETS[name] for name in names):
        found.setdefault(sampler, []).append(schedule)
    return found


def calls(name: str, rng: str = "own") -> int:
    """How often a preset asks the model for a step."""
    own = SAMPLERS[PRESETS[name][0]]
    if own.solver and not _of_diffusers(name, rng):
        return own.solver.order
    return getattr(diffusers, own.diffusers).order


def _of_diffusers(name: str, rng: str) -> bool:
    """Whether diffusers' class paints a preset as it is."""
    sampler, schedule = PRESETS[name]
    own = SAMPLERS[sampler]
    return bool(own.diffusers) and schedule in ("", *own.schedules) and (rng == "own" or sampler in _ALONE)


def _starts_from_noise(sampler: str) -> bool:
    if not (name := SAMPLERS[sampler].diffusers):
        return sampler != "Restart"
    return "rescale_betas_zero_snr" in getattr(diffusers, name)._get_init_keys(getattr(diffusers, name))


def make(name: str, config: Mapping, ays: Sequence[float] = (), rng: str = "own") -> Any:
    """A fresh scheduler of the preset `name` on a base model's scheduler config (betas, prediction type, spacing).

    `ays` is the family's table of noise levels; `rng` other than "own" is as A1111 has the preset.
    """
    sampler, schedule = PRESETS[name]
    own = SAMPLERS[sampler]
    if _of_diffusers(name, rng):
        told = own.settings | _TOLD.get(schedule, {})
        return getattr(diffusers, own.diffusers).from_config(dict(config), **told)
    trained = TrainedLevels(config)
    layout = partial(_laid_out, sampler, schedule, config, trained, ays, rng != "own")
    if own.solver:
        return LevelScheduler(own.solver, trained, config.get("prediction_type", "epsilon"), layout)
    kind = getattr(diffusers, own.diffusers)
    relaid: Any = type(kind.__name__, (_Relaid, kind), {"layout": staticmethod(layout), "trained": trained})
    return relaid.from_config(dict(config), **own.settings)


class _Relaid:
    """A multistep scheduler of diffusers on levels of ours."""

    layout: Callable[[int], Layout]
    trained: TrainedLevels

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """So many steps."""
        super().set_timesteps(num_inference_steps, device=device)  # type: ignore[misc]  # there is one behind it
        self.sigmas = self.layout(num_inference_steps).levels.clamp(min=_NEARLY_CLEAN)
        self.timesteps = self.trained.times(self.sigmas[:-1]).to(device)
        self.num_inference_steps = len(self.timesteps)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean latents with the noise of a time, which need not be whole."""
        level = self.trained.at(timesteps.cpu()[:1]).to(original_samples)
        return (original_samples + noise * level) / (level**2 + 1).sqrt()


def _laid_out(
    sampler: str, schedule: str, config: Mapping, trained: TrainedLevels, ays: Sequence[float], theirs: bool, n: int
) -> Layout:
    """The levels of n steps; `theirs`: as A1111 lays out the preset."""
    if not schedule and not theirs and sampler != "Restart":
        model = diffusers.EulerDiscreteScheduler.from_config(dict(config))
        model.set_timesteps(n)
        return Layout(model.sigmas, float(model.init_noise_sigma))
    if theirs and not schedule and sampler in ("DDIM", "LCM"):
        return _by_time_steps(sampler, config, trained, n)
    solver = SAMPLERS[sampler].solver
    dropped = theirs and solver is not None and solver.skips_last
    found = _spread(schedule or ("Karras" if sampler == "Restart" else "normal"), trained, ays, theirs, n + dropped)
    found = torch.cat([found[:-2], found[-1:]]) if dropped else found
    return Layout(found, found[0].item())


def _spread(schedule: str, trained: TrainedLevels, ays: Sequence[float], theirs: bool, n: int) -> Tensor:
    """The levels of a schedule."""
    if schedule == "AYS":
        return levels.align_your_steps(n, ays, both_ends=theirs)
    return (levels.A1111_SPACINGS if theirs else levels.SPACINGS)[schedule](n, trained)


def _by_time_steps(sampler: str, config: Mapping, trained: TrainedLevels, n: int) -> Layout:
    """A1111's for the two that it lays out by whole time steps: DDIM begins below the highest and ends with the noise
    of time step 1, one step earlier than it says; LCM takes some of the 50 that it was distilled on.
    """
    if sampler == "LCM":
        model = make("LCM", config)
        model.set_timesteps(n)
        found = levels.clean(trained.sigmas[model.timesteps])
        return Layout(found, found[0].item())
    last = len(trained.sigmas) - 1
    times = (torch.arange(0, last + 1, (last + 1) // n) + 1).clamp(max=last).flip(0)
    found = trained.sigmas[times] if len(times) > 1 else levels.clean(trained.sigmas[times])
    # It counts noise relative to both, so that pure noise has a variance of 1 there.
    return Layout(found, float((found[0] ** 2 + 1).sqrt()), float((found[-1] ** 2 + 1).rsqrt()))


def prepare(
    name: str, config: Mapping, steps: int, ays: Sequence[float] = (), device: Any = None, skip: int = 0,
    rng: str = "own",
) -> tuple[Any, Tensor]:  # fmt: skip
    """A fresh scheduler with its timesteps set, and those of them that run: all but the first `skip` steps'."""
    scheduler = make(name, config, ays, rng)
    scheduler.set_timesteps(steps, device=device)
    begin = skip * scheduler.order
    # Said outright, since schedulers look themselves up by timestep, and dense schedules have some of them twice.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return scheduler, scheduler.timesteps[0 if isinstance(scheduler, LevelScheduler) else begin :]


def sigmas(name: str, config: Mapping, steps: int, ays: Sequence[float] = ()) -> list[float]:
    """The noise levels from the first step to the clean picture, standard deviations relative to it; for drawing."""
    scheduler, _ = prepare(name, config, steps, ays)
    found = getattr(scheduler, "sigmas", None)
    if name == "Restart":
        # Those that it comes back to are near others, and not the same to the last digit.
        highs = (round(high.item(), 4) for high, _ in solvers.restart_pairs(scheduler.sigmas))
        found = [*sorted(set(highs), reverse=True), 0.0]
    if found is None:
        # Zero signal would be an infinite level; diffusers' Euler takes the same bound.
        signal = scheduler.alphas_cumprod[scheduler.timesteps.long()].clamp(min=levels.LEAST_SIGNAL)
        found = [*((1 - signal) / signal).sqrt().tolist(), 0.0]
    # Heun visits each level twice.
    return list(dict.fromkeys(round(float(level), 6) for level in found))
