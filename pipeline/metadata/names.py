"""What tools call samplers and schedules -> our names of them, and back."""

import re

# Our schedule -> A1111's and Forge's. Their "Normal" is read as no schedule at all, so ours keeps its small letter.
SCHEDULE_TYPES = {
    "Karras": "Karras", "exponential": "Exponential", "beta": "Beta", "SGM uniform": "SGM Uniform",
    "AYS": "Align Your Steps", "simple": "Simple", "normal": "normal", "DDIM uniform": "DDIM",
    "KL optimal": "KL Optimal", "polyexponential": "Polyexponential", "linear quadratic": "Linear Quadratic",
}  # fmt: skip
# What a sampler is spread by in A1111 from 1.9 on, and in Forge, where nothing or "Automatic" is said.
_AUTOMATIC = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "exponential"),
}  # fmt: skip
SAMPLERS = (
    "Euler", "Euler a", "Heun", "DPM2", "DPM2 a", "LMS", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun", "DPM++ 3M SDE", "DDIM", "DDPM", "UniPC", "LCM", "TCD", "DEIS", "SA-Solver", "IPNDM", "Restart",
    "Res multistep", "Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++",
)  # fmt: skip
# ComfyUI's, then what InvokeAI and NovelAI call otherwise.
_OTHERWISE = {
    "euler_ancestral": "Euler a", "dpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a", "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun", "dpmpp_3m_sde": "DPM++ 3M SDE", "uni_pc": "UniPC", "uni_pc_bh2": "UniPC",
    "euler_cfg_pp": "Euler CFG++", "euler_ancestral_cfg_pp": "Euler a CFG++", "dpmpp_2m_cfg_pp": "DPM++ 2M CFG++",
    "kdpm_2": "DPM2", "kdpm_2_a": "DPM2 a", "dpm_2_a": "DPM2 a", "dpmpp_2_a": "DPM++ 2S a", "dpmpp_2": "DPM++ 2M",
    "ddim_v3": "DDIM",
}  # fmt: skip


def _key(name: str) -> str:
    """A name without case, and whatever stands between its words."""
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())


_SAMPLERS = {_key(name): ours for name, ours in ({name: name for name in SAMPLERS} | _OTHERWISE).items()}
# "k" is InvokeAI's Karras; the last two are of no tool's own making, but are often seen.
_SCHEDULES = {
    **{_key(name): ours for ours, theirs in SCHEDULE_TYPES.items() for name in (ours, theirs)},
    **dict.fromkeys(("automatic", "uniform", "native", "default", "none"), ""),
    "k": "Karras", "sgmuniform": "SGM uniform", "turbo": None, "karras exponential": None,
}  # fmt: skip
_LONGEST_FIRST = sorted(_SCHEDULES, key=len, reverse=True)


def preset(sampler: str, schedule: str = "", automatic: bool = False) -> str:
    """Our name of a sampler and schedule, also where the schedule is at the end of the sampler's name.

    What is not known keeps its name. `automatic`: a sampler takes a schedule of its own where none is said.
    """
    name, spread = _sampler_key(sampler), _key(schedule)
    if name not in _SAMPLERS:
        end = next((key for key in _LONGEST_FIRST if name.endswith(f" {key}")), "")
        name, spread = _sampler_key(name.removesuffix(f" {end}") if end else name), spread or end
    ours, way = _SAMPLERS.get(name), _SCHEDULES.get(spread) if spread else ""
    if ours is None or way is None:
        label = schedule or (spread.title() if ours else "")
        return f"{ours or sampler} {'' if way == '' else label}".strip()
    if spread == "normal" and not (sampler.islower() or schedule.islower()):
        # ComfyUI writes all in small letters; what A1111 calls "Normal" is nearest to the plain sampler.
        way = ""
    if automatic and spread in ("", "automatic"):
        way = _AUTOMATIC.get(ours, "")
    return f"{ours} {way}".strip()


def _sampler_key(sampler: str) -> str:
    """A sampler's key without what means nothing: where it came from, as the first ComfyUI and NovelAI say, and where
    its noise is drawn.
    """
    return _key(sampler).removeprefix("sample ").removeprefix("k ").removesuffix(" gpu")


def split(preset: str) -> tuple[str, str]:
    """Sampler and schedule of one of our presets, the schedule "" where it is the model's own."""
    schedule = next((name for name in SCHEDULE_TYPES if preset.endswith(f" {name}")), "")
    return preset.removesuffix(f" {schedule}"), schedule
