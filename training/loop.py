"""The training loop: a generator of steps that ends in a TrainedAdapter and leaves the base as it found it."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.optimization import get_scheduler
from PIL import Image
from torch import nn

from lora.errors import AdapterError, InvalidRequest
from pipeline.families import Components
from training.config import TrainingConfig
from training.dataset import Example
from training.export import TrainedAdapter, file_metadata
from training.inject import adapter_state, injected, quick_attention, trainable
from training.objective import Objective, adapted

MAX_NORM = 1.0
# Decide what is written, not what is learnt: a finished run may be written again with others.
WRITTEN = ("export_scale", "title", "description", "license")


@dataclass(frozen=True)
class TrainingStep:
    """One optimizer step done. `loss` is the mean over its pictures; `sample` a picture, where one was due."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    sample: Image.Image | None = None


def train(
    components: Components,
    examples: Sequence[Example],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    paint: Callable[[], Image.Image] | None = None,
) -> Iterator[TrainingStep | TrainedAdapter]:
    """Learn the style of `examples`: yields a TrainingStep after each step, and last the TrainedAdapter.

    Closing the generator cancels; either way the base is left without adapter layers and with the same bits.
    `checkpoint` is written every `config.checkpoint_every` steps; if it exists, training goes on from it and comes
    to the very bits that it would have come to without a stop. `paint` is called every `config.sample_every` steps
    while the adapter is active. Raises InvalidRequest, ModelError, or AdapterError where the loss is lost.
    """
    start = time.monotonic()
    if config.learning_rate is None:
        config = dataclasses.replace(config, learning_rate=components.family.default_learning_rate(components.denoiser))
    objective = Objective(components, examples, config)
    modules = adapted(components, config)
    size = sum(p.numel() for module in modules.values() for p in module.parameters())
    tokens = objective.latents[0, 0].numel()
    with quick_attention(components.denoiser, tokens, config), injected(modules, config):
        state = _State(trainable(modules), config)
        if checkpoint is not None and checkpoint.exists():
            state.load(checkpoint, config, objective)
        while (step := len(state.losses)) < config.steps:
            rate = state.optimizer.param_groups[0]["lr"]
            state.advance(lambda: objective.loss(state.rng))
            step += 1
            if checkpoint is not None and config.checkpoint_every and step % config.checkpoint_every == 0:
                state.save(checkpoint, config, objective)
            sample = paint() if paint and config.sample_every and step % config.sample_every == 0 else None
            yield TrainingStep(step, config.steps, state.losses[-1], rate, time.monotonic() - start, sample)
        tensors = {
            name: (value * config.export_scale if "lora_B" in name else value).half().cpu()
            for name, value in adapter_state(modules).items()
        }
        count = sum(p.numel() for p in state.parameters)
    metadata = file_metadata(
        config, list(modules), components.family.kohya_version(components), len(examples), objective.sha256
    )
    seconds = time.monotonic() - start
    yield TrainedAdapter(tensors, metadata, tuple(state.losses), count, count / size, seconds)


class _State:
    """All that changes while training: weights, optimizer, learning rate, the one random stream, the losses."""

    def __init__(self, parameters: dict[str, nn.Parameter], config: TrainingConfig):
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.accumulation = config.accumulation
        # `train` has put the family's own where none was given.
        assert config.learning_rate is not None
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=1e-2)
        name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
        self.rates = get_scheduler(name, self.optimizer, None, config.warmup, config.steps)
        # On the CPU, so that the draws are the same on every device.
        self.rng = torch.Generator().manual_seed(config.seed)
        self.losses: list[float] = []

    def advance(self, loss_of_batch: Callable[[], torch.Tensor]) -> None:
        """One optimizer step over `accumulation` batches."""
        total = 0.0
        for _ in range(self.accumulation):
            loss = loss_of_batch() / self.accumulation
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise AdapterError(
                f"Training lost its way at step {len(self.losses) + 1}: the loss is no number; lower the learning rate."
            )
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.rates.step()
        self.losses.append(total)

    def save(self, path: Path, config: TrainingConfig, objective: Objective) -> None:
        """Write a checkpoint so that a kill in the middle leaves the previous one."""
        state = {
            "config": dataclasses.asdict(config), "data": objective.sha256, "base": objective.base,
            "losses": self.losses, "rng": self.rng.get_state(),
            "weights": dict(zip(self.names, (p.detach() for p in self.parameters))),
            "optimizer": self.optimizer.state_dict(), "rates": self.rates.state_dict(),
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def load(self, path: Path, config: TrainingConfig, objective: Objective) -> None:
        """Go on from a checkpoint of the same run; refuses one of another."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        for field, now in dataclasses.asdict(config).items():
            if field not in WRITTEN and (before := state["config"].get(field)) != now:
                raise InvalidRequest(field, now, f"{before!r}, as in the checkpoint that is to go on")
        for field, key, now in (("images", "data", objective.sha256), ("base", "base", objective.base)):
            if state[key] != now:
                raise InvalidRequest(field, "another", "that of the checkpoint that is to go on")
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters):
                parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rates.load_state_dict(state["rates"])
        self.rng.set_state(state["rng"])
        self.losses = list(state["losses"])
