"""Random adapters made by PEFT itself, saved by diffusers: what the files of the world look like."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from lora.adapter import Adapter
from lora.library import Library
from pipeline.profiles import Components

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def random_lora(module, targets, seed: int, rank: int = 4, alpha: float = 4) -> dict[str, torch.Tensor]:
    """PEFT's own state dict of a random LoRA on a copy of `module`."""
    from copy import deepcopy

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False)
    wrapped = inject_adapter_in_model(config, deepcopy(module))
    return {k: v * 0.5 for k, v in get_peft_model_state_dict(wrapped).items()}


def save_adapter(
    components: Components, path: Path, seed: int, *, text: bool = True, metadata: dict | None = None
) -> Path:
    """A random adapter for UNet and text encoders, written by diffusers' `save_lora_weights`."""
    layers = {"unet_lora_layers": random_lora(components.denoiser, TARGETS, seed)}
    for i, encoder in enumerate(components.text_encoders if text else ()):
        name = ("text_encoder_lora_layers", "text_encoder_2_lora_layers")[i]
        layers[name] = random_lora(encoder, TEXT_TARGETS, seed + 1 + i)
    pipeline = StableDiffusionXLPipeline if components.family.name == "sdxl" else StableDiffusionPipeline
    pipeline.save_lora_weights(path.parent, weight_name=path.name, **layers)
    if metadata:
        save_file(load_file(path), path, metadata=metadata)
    return path


def known(name: str, **values) -> Adapter:
    """An adapter that is only known by what is said of it; there is no file."""
    usual = dict(name=name, path=Path("/nowhere"), sha256="0" * 64, rank=4, parameters=1, size=1, source="folder")
    return Adapter(id=name, **usual | values)


def library_with(components: Components, folder: Path, *names: str) -> Library:
    for i, name in enumerate(names):
        trigger = {"modelspec.trigger_phrase": f"{name} style", "modelspec.title": name.title()}
        save_adapter(components, folder / f"{name}.safetensors", 10 * i + 1, metadata=trigger)
    return Library([(folder, "folder")])
