"""Which base model to load, and the loaded parts of it.

A profile is known before a single weight is read; `load` then gives the components on their device.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import CLIPTextConfig
from transformers.utils import logging as transformers_logging

from lora.errors import ModelError, shown
from pipeline.request import checks
from pipeline.request.request import Limits
from pipeline.sampling.schedulers import STEP_CAPS, available, refused

EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "model"
FAMILIES = {"StableDiffusionXLPipeline": "sdxl", "StableDiffusionPipeline": "sd15"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelProfile:
    """A base model and how to use it.

    `base` is a folder or a Hub repository, `family` "sdxl" or "sd15", `vae` a repository that replaces the base's own
    decoder, `variant` the base's weight files to take. `adapters` are (id, weight) pairs that are on unless the
    visitor says otherwise; `hub_adapters` are (id, repository, file) to fetch; `step_seconds` is the first guess at a
    denoising step, until one was measured.
    """

    name: str
    base: str
    family: str
    limits: Limits
    vae: str = ""
    variant: str | None = None
    negative_prompt: str = ""
    adapters: tuple[tuple[str, float], ...] = ()
    hub_adapters: tuple[tuple[str, str, str], ...] = ()
    examples: tuple[str, ...] = ()
    step_seconds: float = 0.1


@dataclass(frozen=True)
class Components:
    """The loaded parts of a base model: everything that a request needs, on its device, in evaluation mode.

    `zero_empty_negative`: whether an empty negative prompt is encoded as zeros (SDXL) or as an empty text (SD 1.5).
    """

    family: str
    tokenizers: tuple
    text_encoders: tuple[nn.Module, ...]
    unet: nn.Module
    vae: nn.Module
    scheduler_config: dict
    zero_empty_negative: bool
    device: torch.device
    dtype: torch.dtype

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def adaptable(self) -> dict[str, nn.Module]:
        """The modules that adapters change, by the names that adapter files use."""
        encoders = {("text_encoder", "text_encoder_2")[i]: e for i, e in enumerate(self.text_encoders)}
        return {"unet": self.unet, **encoders}


def sampling(config: dict) -> dict:
    """The fields of Limits that follow from a base model's scheduler config."""
    return {
        "schedulers": available(config),
        "refused": tuple(refused(config).items()),
        "step_caps": tuple(STEP_CAPS.items()),
    }


# As in the model's own scheduler config; known before a file is read.
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

EMBEDDED_PROFILE = ModelProfile(
    name="embedded",
    base=str(EMBEDDED),
    family="sdxl",
    limits=Limits(
        **sampling(ZERO_SNR), scheduler="Euler", width=128, height=128, size_min=64, size_max=256,
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
    family="sdxl",
    limits=Limits(
        **sampling({}), scheduler="Euler a", size_min=512, size_max=1536, steps=25, guidance_scale=6.0
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
        pipeline = DiffusionPipeline.load_config(base)["_class_name"]
        unet = UNet2DConditionModel.load_config(base, subfolder="unet")
        vae = UNet2DConditionModel.load_config(base, subfolder="vae")
        noise = DDIMScheduler.load_config(base, subfolder="scheduler")
        layers = CLIPTextConfig.from_pretrained(base, subfolder="text_encoder").num_hidden_layers
    except (OSError, KeyError, ValueError) as error:
        log.warning("reading the base model failed: %s", error)
        raise ModelError(
            f"BASE_MODEL {shown(Path(base).name)} is no folder or Hub repository of a diffusers model, "
            "or cannot be reached."
        ) from error
    if pipeline not in FAMILIES:
        raise ModelError(f"BASE_MODEL is a {pipeline}; {' and '.join(FAMILIES)} are supported.")
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    side = unet.get("sample_size", 64) * scale
    limits = replace(
        SDXL_PROFILE.limits, width=side, height=side, size_min=max(8 * scale, side // 4) // 8 * 8, size_max=side * 2,
        size_step=max(8, scale), hires_size_max=side * 3, clip_skip_max=max(0, layers - 2), **sampling(noise),
        scheduler="Euler",
    )  # fmt: skip
    return ModelProfile("custom", base, FAMILIES[pipeline], limits, examples=SDXL_PROFILE.examples)


def load(profile: ModelProfile, dtype: torch.dtype | None = None) -> Components:
    """Read the profile's weights, by default as float16 on CUDA and float32 on the CPU. Raises ModelError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        parts = (
            {"vae": AutoencoderKL.from_pretrained(profile.vae, dtype=dtype, use_safetensors=True)}
            if profile.vae
            else {}
        )
        pipe = DiffusionPipeline.from_pretrained(
            profile.base, dtype=dtype, use_safetensors=True, variant=profile.variant, **parts
        )
    except (OSError, ValueError) as error:
        log.warning("loading the base model failed: %s", error)
        raise ModelError(f"The weights of the {profile.name} model are missing, damaged or out of reach.") from error
    names = ("", "_2") if profile.family == "sdxl" else ("",)
    encoders = tuple(getattr(pipe, f"text_encoder{n}").to(device).eval() for n in names)
    vae = pipe.vae.to(device).eval()
    # SDXL's own VAE overflows in float16 and says so.
    if getattr(vae.config, "force_upcast", False) and dtype == torch.float16 and not profile.vae:
        vae = vae.float()
    return Components(
        family=profile.family,
        tokenizers=tuple(getattr(pipe, f"tokenizer{n}") for n in names),
        text_encoders=encoders,
        unet=pipe.unet.to(device).eval(),
        vae=vae,
        scheduler_config=dict(pipe.scheduler.config),
        zero_empty_negative=bool(pipe.config.get("force_zeros_for_empty_prompt", False)),
        device=device,
        dtype=dtype,
    )
