"""How an adapter is trained: one frozen record, checked when it is made."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lora.errors import InvalidRequest, together

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_MLP = ("ff.net.0.proj", "ff.net.2")
_CONVOLUTIONS = ("conv1", "conv2", "proj_in", "proj_out")
# Names of UNet layers by the end of their path: each choice holds the one before it.
TARGETS = {
    "attention": _ATTENTION,
    "attention+mlp": _ATTENTION + _MLP,
    "attention+mlp+conv": _ATTENTION + _MLP + _CONVOLUTIONS,
}
_TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_TARGETS = {
    "attention": _TEXT_ATTENTION,
    "attention+mlp": (*_TEXT_ATTENTION, "fc1", "fc2"),
    "attention+mlp+conv": (*_TEXT_ATTENTION, "fc1", "fc2"),
}


def _number(default: float | None, low: float, high: float, help: str):
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


def _choice(default: str, choices, help: str):
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


def _plain(default: bool | str, help: str):
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result besides the base and the pictures. Raises InvalidRequest."""

    trigger: str = _plain("", "word that stands for the style in captions; may be empty")
    captions: bool = _plain(True, "read NAME.txt beside NAME.png; without, the trigger alone is the caption")
    steps: int = _number(500, 1, 1_000_000, "optimizer steps")
    batch_size: int = _number(4, 1, 256, "pictures in one pass")
    accumulation: int = _number(1, 1, 256, "passes whose gradients are averaged into one optimizer step")
    learning_rate: float | None = _number(
        None, 1e-7, 1.0, "peak; 1e-4 for bases of SD's size and 1e-3 for small ones such as the embedded, if not given"
    )
    schedule: str = _choice("cosine", ("constant", "cosine", "linear"), "how the learning rate falls after warm-up")
    warmup: int = _number(20, 0, 100_000, "optimizer steps over which the learning rate rises from 0")
    targets: str = _choice("attention+mlp", TARGETS, "layers that are adapted")
    text_encoders: bool = _plain(False, "adapt the text encoders as well")
    rank: int = _number(16, 1, 256, "inner width of the update B A (Hu et al. 2021, arXiv:2106.09685)")
    alpha: float | None = _number(None, 1e-3, 1024, "scale alpha / rank of the update; the rank itself if not given")
    rslora: bool = _plain(False, "scale by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732)")
    dora: bool = _plain(False, "learn direction and length apart (Liu et al. 2024, arXiv:2402.09353)")
    timestep_rank: bool = _plain(
        False,
        "the noisier a time step, the fewer ranks learn there, from an orthogonal start (T-LoRA, "
        "Soboleva et al. 2025, arXiv:2507.05964); the file is an ordinary one, whose ranks all act at every step of a "
        "painting, where the paper masks them again",
    )
    min_rank: int = _number(1, 1, 256, "with T-LoRA, ranks that learn at the noisiest step")
    rank_power: float = _number(
        1.0, 0.1, 10, "with T-LoRA, how they fall: by (1 - t / T) to this power; more is sooner"
    )
    min_snr_gamma: float | None = _number(
        None, 0.1, 100, "weigh time steps by min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556); 5 is usual"
    )
    caption_dropout: float = _number(0.1, 0, 1, "share of pictures shown without caption, for guidance")
    preserve_unconditional: float = _number(
        0.0, 0, 1, "share of those at which the base's own prediction is learnt: guidance then strengthens the style"
    )
    preserve_noisiest: float = _number(
        0.0, 0, 1, "share of the time steps, the noisiest, at which the base's prediction is learnt: its shapes stay"
    )
    precision: str = _choice(
        "float32", ("float32", "bfloat16"), "of the passes; bfloat16 is slow on a CPU without AVX-512 BF16 or AMX"
    )
    gradient_checkpointing: bool = _plain(
        False,
        "work what is between layers out again on the way back, instead of keeping it: less memory, more time",
    )
    resolution: int | None = _number(None, 32, 4096, "side of the pictures in pixels; the model's own if not given")
    seed: int = _number(0, 0, 2**32 - 1, "decides first weights, order, time steps and noise")
    sample_every: int = _number(0, 0, 1_000_000, "optimizer steps between sample pictures; 0 paints none")
    checkpoint_every: int = _number(0, 0, 1_000_000, "optimizer steps between checkpoints; 0 writes none")
    export_scale: float = _number(
        1.0, 0.1, 10, "factor of the learnt update in the written file: what the style does at weight 1"
    )
    title: str = _plain("", "name of the style, for the file's metadata")
    description: str = _plain("", "for the file's metadata")
    license: str = _plain("", "of the adapter, for the file's metadata")

    def __post_init__(self):
        problems: list[InvalidRequest] = []
        for field in dataclasses.fields(self):
            try:
                object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
            except InvalidRequest as error:
                problems.append(error)
        if problems:
            raise together(problems)
        if not (self.captions or self.trigger):
            raise InvalidRequest("trigger", None, "a word when there are no captions")
        if self.timestep_rank and self.dora:
            # Its lengths are those of the whole update.
            raise InvalidRequest("dora", True, "false with timestep_rank")
        if self.timestep_rank and self.min_rank > self.rank:
            raise InvalidRequest("min_rank", self.min_rank, f"at most the rank, {self.rank}")

    @property
    def scale_alpha(self) -> float:
        """Alpha as it counts: the rank where none was given."""
        return float(self.rank) if self.alpha is None else self.alpha

    @property
    def scaling(self) -> float:
        """The factor in front of B A."""
        return self.scale_alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


# What a distillation neither has nor honours.
_OF_PICTURES = (
    "trigger", "captions", "text_encoders", "timestep_rank", "min_snr_gamma", "caption_dropout",
    "preserve_unconditional", "preserve_noisiest",
)  # fmt: skip


@dataclass(frozen=True)
class DistillationConfig(TrainingConfig):
    """How an adapter for few steps is learnt from the base itself. Raises InvalidRequest."""

    few_steps: int = _number(4, 1, 50, "steps in which the base is to paint with the adapter, without guidance")
    teacher_steps: int = _number(24, 1, 1000, "those in which it paints what is to be learnt, a multiple of few_steps")
    guidance_scale: float | None = _number(
        None, 1, 30, "guidance that is learnt (Ho & Salimans 2022); the model family's usual one if not given"
    )
    guidance_rescale: float = _number(0.0, 0, 1, "of the guidance that is learnt (Lin et al. 2023, arXiv:2305.08891)")
    trajectories: int | None = _number(
        None, 1, 1_000_000, "ways from noise to picture that are learnt from; one for each prompt if not given"
    )
    huber: float = _number(
        0.1,
        1e-6,
        100,
        "where the pseudo-Huber loss turns from squares to distances (Song & Dhariwal 2023, arXiv:2310.14189)",
    )

    def __post_init__(self):
        super().__post_init__()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _OF_PICTURES and value != field.default:
                raise InvalidRequest(field.name, value, "left out when distilling, which learns from no pictures")
        if self.teacher_steps % self.few_steps:
            raise InvalidRequest("teacher_steps", self.teacher_steps, f"a multiple of few_steps, {self.few_steps}")


def _checked(field: dataclasses.Field, value: Any) -> object:
    """The value in its field's type, or InvalidRequest."""
    rules = field.metadata
    own: Any = field.type
    if value is None and field.default is None:
        return value
    if "choices" in rules:
        if value not in rules["choices"]:
            raise InvalidRequest(field.name, value, "one of " + ", ".join(rules["choices"]))
    elif "low" in rules:
        kind = "a whole number" if own in (int, int | None) else "a number"
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # NaN fails both comparisons.
        in_range = is_number and rules["low"] <= value <= rules["high"]
        if not in_range or (kind == "a whole number" and value != int(value)):
            raise InvalidRequest(field.name, value, f"{kind} from {rules['low']:g} to {rules['high']:g}")
        return int(value) if kind == "a whole number" else float(value)
    elif not isinstance(value, own):
        raise InvalidRequest(field.name, value, "true or false" if own is bool else "text")
    return value
