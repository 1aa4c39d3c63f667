"""PEFT layers in a model for as long as a `with` block lasts, and what they cost."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from peft.tuners.lora import LoraLayer, LoraModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from torch import nn

from lora.names import is_text
from training.config import TARGETS, TEXT_TARGETS, TrainingConfig

NAME = "style"
MAX_TOKENS = 1024


def lora_config(config: TrainingConfig, component: str) -> LoraConfig:
    """PEFT's own config for one component, by its name in adapter files."""
    targets = TEXT_TARGETS if is_text(component) else TARGETS
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.scale_alpha,  # type: ignore[arg-type]  # PEFT says int, and divides any number
        use_rslora=config.rslora, use_dora=config.dora, target_modules=list(targets[config.targets]),
    )  # fmt: skip


@contextmanager
def injected(modules: Mapping[str, nn.Module], config: TrainingConfig) -> Iterator[None]:
    """Fresh adapter layers in all `modules`; afterwards each module is what it was: same layers, flags and bits."""
    flags = [(p, p.requires_grad) for module in modules.values() for p in module.parameters()]
    modes = [(part, part.training) for module in modules.values() for part in module.modules()]
    tuners: list[LoraModel] = []
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            for component, module in modules.items():
                module.eval()
                tuners.append(LoraModel(module, lora_config(config, component), NAME))
                if config.timestep_rank and not is_text(component):
                    _start_orthogonal(module)
        for parameter in trainable(modules).values():
            parameter.data = parameter.data.float()
        yield
    finally:
        for tuner in tuners:
            tuner.unload()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None
        for part, mode in modes:
            part.training = mode


def _start_orthogonal(module: nn.Module) -> None:
    """The rows of each layer's A at right angles: so a rank that is masked takes nothing of the others with it.

    They are as long as PEFT's own (Kaiming), so that a learning rate means the same. Soboleva et al. start B orthogonal
    too and subtract the first B A from then on: that would be a file of twice the rank. Here B starts at zero as ever.
    """
    for layer in _lora_layers(module):
        weight = cast(torch.Tensor, layer.lora_A[NAME].weight)
        # Drawn on the CPU, where the seed counts.
        weight.data.copy_(nn.init.orthogonal_(torch.empty(weight.shape), gain=3**-0.5))


@contextmanager
def masked_ranks(module: nn.Module, masks: torch.Tensor | None) -> Iterator[None]:
    """Of each layer's inner numbers only those that `masks`, N x rank of 0 and 1, leaves to the N pictures of a pass.

    All of them where there are no masks.
    """

    def mask(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        assert masks is not None
        own = masks.to(output.dtype)
        return output * (own[:, :, None, None] if output.ndim == 4 else own[:, None])

    layers = [] if masks is None else [layer.lora_A[NAME] for layer in _lora_layers(module)]
    hooks = [layer.register_forward_hook(mask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rank_masks(steps: torch.Tensor, total: int, config: TrainingConfig) -> torch.Tensor | None:
    """N x rank of 1 for the ranks that learn at the time steps `steps` (0 to total - 1), else 0 (Soboleva et al. 2025,
    arXiv:2507.05964): the first min_rank + (rank - min_rank) * ((T - t) / T) ** power, rounded down. None where all do.
    """
    if not config.timestep_rank:
        return None
    share = ((total - steps.double()) / total) ** config.rank_power
    ranks = (config.min_rank + (config.rank - config.min_rank) * share).floor()
    return (torch.arange(config.rank, device=steps.device) < ranks[:, None]).float()


def _lora_layers(module: nn.Module) -> list[LoraLayer]:
    return [part for part in module.modules() if isinstance(part, LoraLayer)]


@contextmanager
def switched_off(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The modules as they are without their adapter layers' changes."""
    layers = [part for module in modules for part in module.modules() if isinstance(part, BaseTunerLayer)]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextmanager
def checkpointed(denoiser: Any, config: TrainingConfig) -> Iterator[None]:
    """Let the denoiser keep little for the way back, if it is to, for as long as a `with` block lasts."""
    if not config.gradient_checkpointing:
        yield
        return
    denoiser.enable_gradient_checkpointing()
    try:
        yield
    finally:
        denoiser.disable_gradient_checkpointing()


@contextmanager
def quick_attention(unet: Any, tokens: int, config: TrainingConfig) -> Iterator[None]:
    """Attention spelt out in matrix products where that is faster: in bfloat16 on a CPU, a training step takes 0.65
    of the time that it takes with torch's fused kernel. Not for many tokens, since it holds tokens x tokens numbers.
    """
    before = unet.attn_processors
    if unet.device.type == "cpu" and config.precision == "bfloat16" and tokens <= MAX_TOKENS:
        unet.set_attn_processor(AttnProcessor())
    try:
        yield
    finally:
        unet.set_attn_processor(before)


def trainable(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """What learns, by name."""
    named = ((f"{c}.{name}", p) for c, module in modules.items() for name, p in module.named_parameters())
    return {name: p for name, p in named if p.requires_grad}


def adapter_state(modules: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """The adapter as diffusers names it: `unet.PATH.lora_A.weight`, `text_encoder.text_model.PATH.lora_A.weight`."""
    state: dict[str, torch.Tensor] = {}
    for component, module in modules.items():
        # Files have always said text_model; transformers 5 dropped that level from CLIPTextModel.
        flat = is_text(component) and not hasattr(module, "text_model")
        prefix = f"{component}.text_model." if flat else f"{component}."
        own = get_peft_model_state_dict(module, adapter_name=NAME, save_embedding_layers=False)
        state |= {prefix + key: value.detach() for key, value in own.items()}
    return state


def trainable_parameters(unet: nn.Module, rank: int, targets: str = "attention+mlp") -> tuple[int, float]:
    """Numbers that a UNet adapter learns, and their share (0..1) of the UNet's. Reads shapes only: meta will do.

    `targets` is a key of TARGETS. A layer in -> out costs rank * (in + out), a convolution its kernel area times
    rank * in, plus rank * out (Hu et al. 2021, section 4.2).
    """
    ends = tuple("." + name for name in TARGETS[targets])
    layers = [m for name, m in unet.named_modules() if ("." + name).endswith(ends)]
    count = sum(rank * (layer.weight[0].numel() + layer.weight.shape[0]) for layer in layers)
    return count, count / sum(p.numel() for p in unet.parameters())
