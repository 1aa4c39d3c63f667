"""Which base model to load: profiles, known before a single weight is read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from lora.errors import ModelError, shown
from pipeline.families import Components, Family, family_of
from pipeline.families.sdxl import SDXL
from pipeline.request import checks
from pipeline.request.request import Limits

EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "model"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelProfile:
    """A base model and how to use it.

    `base` is a folder or a Hub repository of a model of that `family`, `vae` a repository that replaces the base's own
    decoder, `variant` the base's weight files to take. `adapters` are (id, weight) pairs that are on unless the
    visitor says otherwise; `hub_adapters` are (id, repository, file) to fetch; `step_seconds` is the first guess at a
    denoising step, until one was measured.
    """

    name: str
    base: str
    family: Family
    limits: Limits
    vae: str = ""
    variant: str | None = None
    negative_prompt: str = ""
    adapters: tuple[tuple[str, float], ...] = ()
    hub_adapters: tuple[tuple[str, str, str], ...] = ()
    examples: tuple[str, ...] = ()
    step_seconds: float = 0.1


# As in the model's own scheduler config; known before a file is read.
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

EMBEDDED_PROFILE = ModelProfile(
    name="embedded",
    base=str(EMBEDDED),
    family=SDXL,
    limits=Limits(
        **SDXL.sampling(ZERO_SNR), scheduler="Euler", width=128, height=128, size_min=64, size_max=256,
        hires_size_max=512, steps=25, guidance_scale=3.0, guidance_rescale=0.7, clip_skip_max=2,
    ),
    examples=("a red apple", "penguin", "a rocket", "sunflower", "smiling face with sunglasses",
              "a penguin and a red apple"),
    step_seconds=0.07,
)  # fmt: skip

SDXL_PROFILE = ModelProfile(
    name="sdxl",
    base="stabilityai/stable-diffusion-xl-base-1.0",
    vae="madebyollin/sdxl-vae-fp16-fix",
    variant="fp16",
    family=SDXL,
    limits=Limits(
        **SDXL.sampling({}), scheduler="Euler a", size_min=512, size_max=1536, steps=25, guidance_scale=6.0
    ),
    negative_prompt="blurry, low quality, deformed, watermark, text",
    adapters=(("dalle-3-xl-v2", 0.65),),
    hub_adapters=(("dalle-3-xl-v2", "ehristoforu/dalle-3-xl-v2", "dalle-3-xl-lora-v2.safetensors"),),
    examples=(
        "a red apple on a wooden table, studio light",
        "a fox reading a newspaper in a cosy library, oil painting",
        "an isometric village at dusk, lanterns lit, soft fog",
        "a paper-cut whale swimming between clouds",
    ),
    step_seconds=0.12,
)  # fmt: skip


def load_profile(name: str = "", base_model: str = "") -> ModelProfile:
    """The profile of that name: "embedded", "sdxl" or "custom"; by default custom where `base_model` is given, else
    sdxl on a GPU and embedded without one.

    Raises ModelError for an unknown name, and for a base model that is none or cannot be reached.
    """
    checks.base_model(name, base_model)
    name = name or ("custom" if base_model else "sdxl" if torch.cuda.is_available() else "embedded")
    return _custom(base_model) if name == "custom" else {"embedded": EMBEDDED_PROFILE, "sdxl": SDXL_PROFILE}[name]


def _custom(base: str) -> ModelProfile:
    try:
        family = family_of(DiffusionPipeline.load_config(base)["_class_name"])
        limits = family.limits(base)
    except (OSError, KeyError, ValueError) as error:
        log.warning("reading the base model failed: %s", error)
        raise ModelError(
            f"BASE_MODEL {shown(Path(base).name)} is no folder or Hub repository of a diffusers model, "
            "or cannot be reached."
        ) from error
    return ModelProfile("custom", base, family, limits, examples=SDXL_PROFILE.examples)


def load(profile: ModelProfile, dtype: torch.dtype | None = None) -> Components:
    """Read the profile's weights, by default as float16 on CUDA and float32 on the CPU. Raises ModelError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    with _told(profile):
        return profile.family.load(profile.base, dtype, device, profile.variant, profile.vae)


def describe(profile: ModelProfile) -> Components:
    """The profile's parts without their weights, on the "meta" device. Raises ModelError."""
    with _told(profile):
        return profile.family.describe(profile.base)


@contextmanager
def _told(profile: ModelProfile) -> Iterator[None]:
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError) as error:
        log.warning("loading the base model failed: %s", error)
        raise ModelError(f"The weights of the {profile.name} model are missing, damaged or out of reach.") from error
