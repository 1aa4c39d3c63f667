"""What the rest needs to know of a model family. Nothing outside of this folder asks which family a model is of.

A family is one file beside this one: a subclass of `Family`, registered. What it does not say is as for a latent
diffusion model with CLIP text encoders.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import diffusers
import torch
import transformers
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from lora.errors import ModelError
from lora.inspection import FamilyMarks
from pipeline.request.request import Limits
from pipeline.sampling import schedulers

F = TypeVar("F", bound="Family")
CPU = torch.device("cpu")
# Below the last level that diffusers has of Align Your Steps is the lowest of these models (Sabour et al. 2024).
AYS_LOWEST = 0.029
_REGISTERED: "dict[str, Family]" = {}


@dataclass(frozen=True)
class Components:
    """The parts of a base model: loaded, on their device, in evaluation mode; or on the "meta" device, as shapes.

    `zero_empty_negative`: whether an empty negative prompt is encoded as zeros or as an empty text.
    """

    family: "Family"
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    denoiser: Any
    vae: Any
    scheduler_config: dict
    zero_empty_negative: bool = False
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, pipe: DiffusionPipeline) -> "Components":
        """Those of a diffusers pipeline. Raises ModelError for one of another family."""
        return family_of(type(pipe).__name__).parts(pipe)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.vae.config.latent_channels

    @property
    def inpaints(self) -> bool:
        """Whether the denoiser was trained to paint into pictures: beside the latents it sees a mask and the rest."""
        return self.denoiser.config.in_channels == 2 * self.latent_channels + 1

    @property
    def side(self) -> int:
        """Side of the pictures that the model was made for, in pixels."""
        return self.denoiser.config.sample_size * self.vae_scale_factor

    def adaptable(self) -> dict[str, nn.Module]:
        """The modules that adapters change, by the names that adapter files use."""
        names = (encoder for _, encoder in self.family.encoders)
        return {self.family.denoiser: self.denoiser, **dict(zip(names, self.text_encoders))}


class Family(ABC):
    """One model family.

    `marks` say how it is called and how its adapters are known, `pipeline` is the class that a model's folder names,
    `inpainting` the one of a model that was trained to paint into pictures. `encoders` are (tokenizer, text encoder)
    and `denoiser` the name of the denoising model in it. `ays` are the eleven noise levels of Align Your Steps, where
    there are any; `kohya_versions` are (width of its text, what kohya's tools call a base). `steps` and
    `guidance_scale` are those of a model of which nothing more is known; `text_layer` is as in Limits.
    """

    marks: FamilyMarks
    pipeline: str
    inpainting: str | None = None
    encoders: tuple[tuple[str, str], ...]
    denoiser = "unet"
    ays: tuple[float, ...] = ()
    kohya_versions: tuple[tuple[int, str], ...] = ()
    steps, guidance_scale = 25, 6.0
    text_layer = 1

    @property
    def name(self) -> str:
        """As the endpoints call it."""
        return self.marks.name

    # What a model of the family is made of.

    def load(
        self,
        base: str,
        dtype: torch.dtype,
        device: torch.device,
        variant: str | None = None,
        vae: str = "",
        revision: str | None = None,
    ) -> Components:
        """Read the weights of a folder, or of a repository at that `revision`, with the `vae` of another one.

        Raises OSError, ValueError.
        """
        other = {"vae": diffusers.AutoencoderKL.from_pretrained(vae, dtype=dtype, use_safetensors=True)} if vae else {}
        pipe = DiffusionPipeline.from_pretrained(
            base, dtype=dtype, use_safetensors=True, variant=variant, revision=revision, **other
        )
        # A VAE that overflows in float16 says so.
        if getattr(pipe.vae.config, "force_upcast", False) and dtype == torch.float16 and not vae:
            pipe.vae.float()
        for name in (self.denoiser, "vae", *(encoder for _, encoder in self.encoders)):
            getattr(pipe, name).to(device).eval()
        tiny = isinstance(pipe.vae, diffusers.AutoencoderTiny)
        if tiny and device.type == "cpu":
            # Its convolutions take half the time so; a value in 25,000 comes out one level off.
            pipe.vae.to(memory_format=torch.channels_last)
        return self.parts(pipe)

    def parts(self, pipe: Any) -> Components:
        """The parts of a loaded pipeline."""
        denoiser = getattr(pipe, self.denoiser)
        return Components(
            family=self,
            tokenizers=tuple(getattr(pipe, tokenizer) for tokenizer, _ in self.encoders),
            text_encoders=tuple(getattr(pipe, encoder) for _, encoder in self.encoders),
            denoiser=denoiser,
            vae=pipe.vae,
            scheduler_config=dict(pipe.scheduler.config),
            zero_empty_negative=bool(pipe.config.get("force_zeros_for_empty_prompt", False)),
            device=denoiser.device,
            dtype=denoiser.dtype,
        )

    def describe(self, base: str, revision: str | None = None) -> Components:
        """The parts of a folder, or of a repository at that `revision`, on the "meta" device: configs and tokenizers
        are read, no weight is.

        Raises OSError, ValueError.
        """
        index = DiffusionPipeline.load_config(base, revision=revision)
        names = [name for pair in self.encoders for name in pair]
        parts = {name: _described(base, revision, name, *index[name]) for name in (*names, self.denoiser, "vae")}
        return Components(
            family=self,
            tokenizers=tuple(parts[tokenizer] for tokenizer, _ in self.encoders),
            text_encoders=tuple(parts[encoder] for _, encoder in self.encoders),
            denoiser=parts[self.denoiser],
            vae=parts["vae"],
            scheduler_config=dict(DDPMScheduler.load_config(base, subfolder="scheduler", revision=revision)),
            zero_empty_negative=bool(index.get("force_zeros_for_empty_prompt", False)),
            device=torch.device("meta"),
        )

    def limits(self, base: str) -> Limits:
        """What a model of which nothing but its folder is known can paint. Raises OSError, KeyError, ValueError."""
        denoiser, vae = (diffusers.AutoencoderKL.load_config(base, subfolder=part) for part in (self.denoiser, "vae"))
        noise = DDPMScheduler.load_config(base, subfolder="scheduler")
        layers = AutoConfig.from_pretrained(base, subfolder=self.encoders[0][1]).num_hidden_layers
        # A tiny autoencoder's config may name those of its two halves alone.
        scale = 2 ** (len(vae.get("block_out_channels") or vae["decoder_block_out_channels"]) - 1)
        side = denoiser.get("sample_size", 64) * scale
        return Limits(
            **self.sampling(noise), scheduler="Euler", width=side, height=side,
            size_min=max(8 * scale, side // 4) // 8 * 8, size_max=side * 2, size_step=max(8, scale),
            hires_size_max=side * 3, clip_skip_max=max(0, layers - 2), steps=self.steps,
            guidance_scale=self.guidance_scale,
        )  # fmt: skip

    def sampling(self, scheduler_config: dict) -> dict:
        """The fields of Limits that follow from the family and a model's scheduler config."""
        return {
            "text_layer": self.text_layer,
            "schedulers": schedulers.available(scheduler_config, bool(self.ays)),
            "refused": tuple(schedulers.refused(scheduler_config, bool(self.ays)).items()),
            "step_caps": tuple(schedulers.STEP_CAPS.items()),
        }

    # Text.

    @abstractmethod
    def states(self, encoder: Any, output: Any, clip_skip: int) -> torch.Tensor:
        """What the denoiser reads of a text encoder's output, N x L x D; `clip_skip` layers before the usual one."""

    def encode(
        self, components: Components, number: int, ids: torch.Tensor, clip_skip: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token ids N x L of a text encoder, by its number -> states N x L x D, and what it pools, N x P, or None."""
        encoder = components.text_encoders[number]
        output = encoder(ids.to(components.device), output_hidden_states=True)
        return self.states(encoder, output, clip_skip), getattr(output, "text_embeds", None)

    # The denoiser.

    @abstractmethod
    def predict(
        self,
        components: Components,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        hidden: torch.Tensor,
        pooled: torch.Tensor | None,
    ) -> torch.Tensor:
        """What the denoiser says of N x C x H x W latents at a time step or N of them, under the text states N x L x D
        and pooled texts N x P, all that it needs beside them included; N x C x H x W.
        """

    def noising(self, scheduler_config: dict) -> Any:
        """The noise that a model of this config was trained with, for `add_noise` and `target`. Raises ModelError."""
        noise: Any = DDPMScheduler.from_config(scheduler_config)
        if (kind := noise.config.prediction_type) not in ("epsilon", "v_prediction"):
            raise ModelError(f"A base that predicts {kind!r} cannot be adapted; epsilon and v_prediction can.")
        return noise

    def target(self, noising: Any, latents: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """What the denoiser should say of these latents with this noise at N time steps."""
        velocity = noising.config.prediction_type == "v_prediction"
        return noising.get_velocity(latents, noise, steps) if velocity else noise

    # Latents and pixels.

    def to_latents(
        self, components: Components, pixels: torch.Tensor, rng: torch.Generator | None = None
    ) -> torch.Tensor:
        """N x 3 x H x W in -1..1 -> latents as the denoiser has them: a sample of what a KL encoder gives, its mode
        without `rng`, or just what a tiny one gives.
        """
        vae = components.vae
        out = vae.encode(pixels.to(components.device, next(vae.parameters()).dtype))
        if hasattr(out, "latents"):
            latents = out.latents
        else:
            latents = out.latent_dist.mode() if rng is None else out.latent_dist.sample(rng)
        return scaled(vae, latents.to(components.dtype))

    def to_pixels(self, components: Components, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the denoiser has them -> N x 3 x H x W in -1..1."""
        vae = components.vae
        return vae.decode(unscaled(vae, latents), return_dict=False)[0]

    # Training.

    def is_small(self, denoiser: nn.Module) -> bool:
        """Whether it is one of ten million parameters or so, and not of a thousand million."""
        return sum(p.numel() for p in denoiser.parameters()) < 1e8

    def default_learning_rate(self, denoiser: nn.Module) -> float:
        """A peak that suits a model: a small one needs more."""
        return 1e-3 if self.is_small(denoiser) else 1e-4

    def kohya_version(self, components: Components) -> str:
        """The base as kohya's tools call it in the files that they write, known by the width of its text."""
        return dict(self.kohya_versions).get(components.denoiser.config.cross_attention_dim, "custom")


def register(family: F) -> F:
    """Let models be of this family."""
    _REGISTERED[family.pipeline] = family
    return family


def family_of(pipeline: str) -> Family:
    """The family whose models name this class of diffusers. Raises ModelError."""
    for family in registered():
        if pipeline in (family.pipeline, family.inpainting):
            return family
    *others, last = _REGISTERED
    raise ModelError(f"BASE_MODEL is a {pipeline}; {', '.join(others)} and {last} are supported.")


def registered() -> tuple[Family, ...]:
    """All families."""
    return tuple(_REGISTERED.values())


def _described(base: str, revision: str | None, name: str, library: str, class_name: str) -> Any:
    """A part of a model without its weights: a tokenizer whole, a model on the "meta" device."""
    kind = getattr(diffusers if library == "diffusers" else transformers, class_name)
    where: dict[str, Any] = {"subfolder": name, "revision": revision}
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(base, **where)
    with torch.device("meta"):
        if issubclass(kind, PreTrainedModel):
            return kind(kind.config_class.from_pretrained(base, **where)).eval()
        return kind.from_config(kind.load_config(base, **where)).eval()


def unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as a model denoises them -> as the VAE decodes them, in its dtype: undo its scale, statistics, shift."""
    latents = latents.to(next(vae.parameters()))
    mean, std = latent_statistics(vae, latents)
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None)
    latents = latents / scale if mean is None or std is None else latents * std / scale + mean
    return latents + shift if shift else latents


def scaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """What `unscaled` undoes."""
    mean, std = latent_statistics(vae, latents)
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None)
    latents = latents - shift if shift else latents
    return latents * scale if mean is None else (latents - mean) * scale / std


def latent_statistics(vae: Any, latents: torch.Tensor) -> Sequence[torch.Tensor] | tuple[None, None]:
    """Mean and deviation of each latent channel where the VAE's config has them, as 1 x C x 1 x 1."""
    found = [getattr(vae.config, name, None) for name in ("latents_mean", "latents_std")]
    if None in found:
        return None, None
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in found)
    return mean, std
