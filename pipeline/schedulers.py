"""Named presets over diffusers' schedulers. A scheduler has state: every image gets a fresh one."""

import diffusers

# name -> (class, settings that differ from the base model's own scheduler config)
PRESETS: dict[str, tuple[str, dict]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M Karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}


def make(name: str, config: dict):
    """A fresh scheduler of the preset `name` on a base model's scheduler config (betas, prediction type, spacing)."""
    class_name, settings = PRESETS[name]
    return getattr(diffusers, class_name).from_config(dict(config), **settings)
