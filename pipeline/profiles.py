"""Which base model to load: profiles, known before a single weight is read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from lora.errors import ModelError, shown
from pipeline.families import Components, Family, family_of
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL
from pipeline.fetching import Download, fetched
from pipeline.request import checks
from pipeline.request.request import Limits
from pipeline.sampling.schedulers import PRESETS

WEIGHTS = "diffusion_pytorch_model.safetensors"
EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "model"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelProfile:
    """A base model and how to use it.

    `base` is a folder or a Hub repository of a model of that `family`, `vae` a repository that replaces the base's own
    decoder, `variant` the base's weight files to take. `revision` is the commit of the base's repository, the newest
    where there is none; its `download` is told before it begins. `adapters` are (id, weight) pairs that are on unless
    the visitor says otherwise; `hub_adapters` are (id, repository, file) to fetch; `step_seconds` is the first guess at
    a denoising step, until one was measured.
    """

    name: str
    base: str
    family: Family
    limits: Limits
    vae: str = ""
    variant: str | None = None
    revision: str | None = None
    download: Download | None = None
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
        **SDXL.sampling(ZERO_SNR), scheduler="Euler", width=256, height=256, size_min=128, size_max=512,
        size_step=16, hires_size_max=1024, steps=25, guidance_scale=3.0, guidance_rescale=0.7, clip_skip_max=2,
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


# Song et al. 2024 (arXiv:2403.16627): a UNet of three levels without a middle, for one step from pure noise without
# guidance, which DEIS takes as the model's own scheduler does. Nothing else was taught: other samplers begin elsewhere.
_ONE_STEP = "DEIS, by which this model takes the one step that it was taught"
LAPTOP_PROFILE = ModelProfile(
    name="laptop",
    base="IDKiro/sdxs-512-dreamshaper",
    revision="76f720262bb051da75666b22c902a78c8e16c763",
    download=Download(
        "OpenRAIL++",
        1.8,
        (
            "model_index.json",
            "feature_extractor/preprocessor_config.json",
            "scheduler/scheduler_config.json",
            *(f"tokenizer/{file}.json" for file in ("special_tokens_map", "tokenizer_config", "vocab")),
            "tokenizer/merges.txt",
            *(f"text_encoder/{file}" for file in ("config.json", "model.safetensors")),
            *(f"{part}/{file}" for part in ("unet", "vae") for file in ("config.json", WEIGHTS)),
        ),
    ),
    family=SD15,
    limits=Limits(
        schedulers=("DEIS",), scheduler="DEIS", refused=tuple((name, _ONE_STEP) for name in PRESETS if name != "DEIS"),
        step_caps=(("DEIS", 1),), width=512, height=512, size_min=384, size_max=768, hires_size_max=768, steps=1,
        guidance_scale=1.0, text_layer=SD15.text_layer,
    ),
    examples=SDXL_PROFILE.examples,
    step_seconds=1.5,
)  # fmt: skip


def load_profile(name: str = "", base_model: str = "") -> ModelProfile:
    """The profile of that name: "embedded", "laptop", "sdxl" or "custom"; by default custom where `base_model` is
    given, else sdxl on a GPU and embedded without one.

    Raises ModelError for an unknown name, and for a base model that is none or cannot be reached.
    """
    checks.base_model(name, base_model)
    name = name or ("custom" if base_model else "sdxl" if torch.cuda.is_available() else "embedded")
    known = {profile.name: profile for profile in (EMBEDDED_PROFILE, LAPTOP_PROFILE, SDXL_PROFILE)}
    return _custom(base_model) if name == "custom" else known[name]


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
    """Read the profile's weights, by default as float16 on CUDA and float32 on the CPU; first they are fetched, where
    that is to be told. Raises ModelError.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    # Before the progress bars are silenced.
    base = fetched(profile.base, profile.revision, profile.download) if profile.download else profile.base
    with _told(profile):
        return profile.family.load(base, dtype, device, profile.variant, profile.vae, profile.revision)


def describe(profile: ModelProfile) -> Components:
    """The profile's parts without their weights, on the "meta" device. Raises ModelError."""
    with _told(profile):
        return profile.family.describe(profile.base, profile.revision)


@contextmanager
def _told(profile: ModelProfile) -> Iterator[None]:
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, httpx2.HTTPError) as error:
        log.warning("loading the base model failed: %s", error)
        raise ModelError(f"The weights of the {profile.name} model are missing, damaged or out of reach.") from error
