"""What every stage shares: the work folder, the arguments, checkpoints, averaged weights."""

import argparse
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets" / "model"
ADAPTERS = ROOT / "assets" / "adapters"


def arguments(doc: str, *, minutes: float, seed: int = 0) -> argparse.ArgumentParser:
    """The command line that all training stages have in common."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".work", help="folder for data and checkpoints")
    parser.add_argument("--minutes", type=float, default=minutes, help="training time of this run; resumable")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of each process")
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def save(path: Path, state: dict) -> None:
    """Write a checkpoint so that a kill in the middle leaves the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load(path: Path) -> dict | None:
    """The checkpoint at `path`, or None where there is none yet."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


# Where a processor does not multiply bfloat16, float32 is twenty to fifty times as fast.
PRECISION = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def mixed() -> torch.autocast:
    """Passes in PRECISION; weights and sums stay in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=PRECISION is torch.bfloat16)


def quick(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Attention spelt out and kernels channels last: with bfloat16 on a CPU that halves the time of a step."""
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)


class Clock:
    """Training time, in seconds. Each run is one cycle of the learning rate (SGDR, Loshchilov & Hutter 2017).

    With `time.process_time` as `now`, it stands while a process of one thread is stopped.
    """

    def __init__(self, minutes: float, before: float = 0.0, now: Callable[[], float] = time.monotonic):
        self.before, self.limit, self.now = before, minutes * 60, now
        self.start = now()

    @property
    def run(self) -> float:
        return self.now() - self.start

    @property
    def total(self) -> float:
        return self.before + self.run

    @property
    def over(self) -> bool:
        return self.run >= self.limit

    def cosine(self, peak: float, floor: float = 0.02, warmup: float = 30) -> float:
        """Learning rate: linear warm-up over `warmup` seconds, and a cosine over the run."""
        progress = min(1.0, self.run / self.limit)
        rate = peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
        return rate * min(1.0, self.run / warmup + 0.01)


class Average:
    """Exponential moving average of a module's parameters (the weights that are shipped)."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floats = [(s, v) for (s, v) in zip(self.shadow.values(), module.state_dict().values()) if s.is_floating_point()]
        torch._foreach_lerp_([s for s, _ in floats], [v.to(s.dtype) for s, v in floats], 1 - decay)
