"""The training loop: a generator of steps that ends in a TrainedAdapter and leaves the base as it found it."""

import dataclasses
import io
import math
import os
import pickle
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.optimization import get_scheduler
from PIL import Image
from torch import nn

from lora.errors import AdapterError, Described, InvalidRequest
from pipeline.families import Components
from training.config import TrainingConfig
from training.dataset import Example
from training.denoising import Denoising
from training.export import TrainedAdapter, file_metadata
from training.inject import adapter_state, checkpointed, injected, quick_attention, trainable
from training.objective import Objective, adapted

MAX_NORM = 1.0
# To predict nothing at all costs about 1.
MAX_LOSS = 100.0
# Decide what is written and shown, not what is learnt: a finished run may be written again with others.
NOT_LEARNT = ("export_scale", "title", "description", "license", "sample_every", "checkpoint_every")
UNREADABLE = (
    ValueError, TypeError, LookupError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile,
    pickle.UnpicklingError,
)  # fmt: skip
KEYS = {"config", "losses", "rng", "weights", "optimizer", "rates", "prepared", "seconds", "begun"}


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
    objective: Denoising | None = None,
) -> Iterator[TrainingStep | TrainedAdapter]:
    """Learn the style of `examples`: yields a TrainingStep after each step, and last the TrainedAdapter.

    Closing the generator cancels; either way the base is left without adapter layers and with the same bits.
    `checkpoint` is written every `config.checkpoint_every` steps; if it exists, training goes on from it and comes
    to the very bits that it would have come to without a stop. `paint` is called every `config.sample_every` steps
    while the adapter is active. An `objective` is learnt instead of that of the examples. Raises InvalidRequest,
    ModelError, or AdapterError where the loss is lost.
    """
    saved = checkpoint.read_bytes() if checkpoint is not None and checkpoint.exists() else None
    with opened(components, examples, config, saved, objective) as run:
        while not run.done:
            step = run.advance()
            if checkpoint is not None and config.checkpoint_every and step.step % config.checkpoint_every == 0:
                _write(checkpoint, run.saved())
            yield run.sampled(step, paint)
        adapter = run.adapter()
    yield adapter


@contextmanager
def opened(
    components: Components, examples: Sequence[Example], config: TrainingConfig, saved: bytes | None,
    objective: Denoising | None = None,
) -> Iterator["Run"]:  # fmt: skip
    """A run with its adapter layers in the base for as long as a `with` block lasts, from its start or where it was
    `saved`. Raises as `train` does, and InvalidRequest for what was not saved by this run.
    """
    start = time.monotonic()
    if config.learning_rate is None:
        config = dataclasses.replace(config, learning_rate=components.family.default_learning_rate(components.denoiser))
    state = None if saved is None else _read(saved)
    if state:
        _refuse_other_config(state["config"], config)
    if objective is None:
        objective = Objective(components, examples, config, state and state["prepared"])
    elif state:
        objective.refuse_others(state["prepared"])
    modules = adapted(components, config)
    tokens = objective.latents.shape[-2:].numel()
    denoiser = components.denoiser
    with checkpointed(denoiser, config), quick_attention(denoiser, tokens, config), injected(modules, config):
        run = Run(components, objective, modules, config, start, state["begun"] if state else 0)
        if state:
            run.restore(state)
        yield run


def prolonged(saved: bytes, steps: int) -> bytes:
    """What was saved of a run, to go on for `steps` more: they have a learning rate as a run of their own.

    Weights and optimizer are as they were. Raises InvalidRequest for what was not saved.
    """
    state = _read(saved)
    state["begun"], state["rates"] = len(state["losses"]), None
    state["config"] |= {"steps": len(state["losses"]) + steps}
    return _written(state)


class Run:
    """All that changes while training, as long as the adapter layers are there: weights, optimizer, learning rate,
    the one random stream, the losses.
    """

    def __init__(
        self,
        components: Components,
        objective: Denoising,
        modules: dict[str, nn.Module],
        config: TrainingConfig,
        start: float,
        begun: int = 0,
    ):
        """`begun` is the step after which the learning rate began anew."""
        self.components, self.objective, self.modules, self.config = components, objective, modules, config
        self.size = sum(p.numel() for module in modules.values() for p in module.parameters() if not p.requires_grad)
        parameters = trainable(modules)
        self.names, self.parameters = list(parameters), list(parameters.values())
        # `opened` has put the family's own where none was given.
        assert config.learning_rate is not None
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=1e-2)
        name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
        self.rates = get_scheduler(name, self.optimizer, None, config.warmup, config.steps - begun)
        # On the CPU, so that the draws are the same on every device.
        self.rng = torch.Generator().manual_seed(config.seed)
        self.losses: list[float] = []
        self.start, self.begun = start, begun

    @property
    def done(self) -> bool:
        """Whether all steps are."""
        return len(self.losses) >= self.config.steps

    @property
    def seconds(self) -> float:
        """Since the run was begun; time that passed between being saved and opened again is none."""
        return time.monotonic() - self.start

    def advance(self) -> TrainingStep:
        """One optimizer step over `accumulation` batches. Raises AdapterError where the loss is lost."""
        rate, total = self.optimizer.param_groups[0]["lr"], 0.0
        for _ in range(self.config.accumulation):
            part = self.objective.loss(self.rng) / self.config.accumulation
            part.backward()
            total += part.item()
        # NaN fails the comparison.
        if not total < MAX_LOSS:
            loss = f"{total:.3g}" if math.isfinite(total) else "no number"
            raise AdapterError(
                f"Training lost its way at step {len(self.losses) + 1}: the loss is {loss}; lower the learning rate."
            )
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.rates.step()
        self.losses.append(total)
        return TrainingStep(len(self.losses), self.config.steps, total, rate, self.seconds)

    def sampled(self, step: TrainingStep, paint: Callable[[], Image.Image] | None) -> TrainingStep:
        """The step with its sample picture, where one is due."""
        if not paint or not self.config.sample_every or step.step % self.config.sample_every:
            return step
        return dataclasses.replace(step, sample=paint())

    def adapter(self) -> TrainedAdapter:
        """What has been learnt so far. Raises AdapterError where a file cannot hold it."""
        tensors = {
            name: (value * self.config.export_scale if "lora_B" in name else value).half().cpu()
            for name, value in adapter_state(self.modules).items()
        }
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise AdapterError("What was learnt is too large for float16; lower the learning rate or export_scale.")
        count = sum(p.numel() for p in self.parameters)
        pictures, base = len(self.objective.rows), self.components.family.kohya_version(self.components)
        metadata = file_metadata(
            self.config, list(self.modules), base, pictures, self.objective.sha256, len(self.losses)
        )
        return TrainedAdapter(tensors, metadata, tuple(self.losses), count, count / self.size, self.seconds)

    def saved(self) -> bytes:
        """Everything from which `opened` goes on, with what the objective has prepared: that takes less room than the
        optimizer and more time.
        """
        state = {
            "config": dataclasses.asdict(self.config), "losses": self.losses, "rng": self.rng.get_state(),
            "weights": dict(zip(self.names, (p.detach() for p in self.parameters))),
            "optimizer": self.optimizer.state_dict(), "rates": self.rates.state_dict(),
            "prepared": self.objective.prepared(), "seconds": self.seconds, "begun": self.begun,
        }  # fmt: skip
        return _written(state)

    def restore(self, state: dict) -> None:
        """Go on from what was saved."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters):
                parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["rates"] is None:
            self.optimizer.param_groups[0]["lr"] = self.rates.get_last_lr()[0]
        else:
            self.rates.load_state_dict(state["rates"])
        self.rng.set_state(state["rng"])
        self.losses = list(state["losses"])
        self.start -= state["seconds"]


def _written(state: dict) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _read(saved: bytes) -> dict:
    """What `Run.saved` wrote. Nothing in it is run: only tensors and plain data are read."""
    try:
        # torch does not look at the checksums that it writes.
        with zipfile.ZipFile(io.BytesIO(saved)) as archive:
            if archive.testzip() is not None:
                raise ValueError
        state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= KEYS:
            raise ValueError
    except UNREADABLE:
        raise Described("checkpoint", "damaged or of another version", "one that this version has written") from None
    return state


def _refuse_other_config(before: dict, config: TrainingConfig) -> None:
    for field, now in dataclasses.asdict(config).items():
        if field not in NOT_LEARNT and (was := before.get(field)) != now:
            raise InvalidRequest(field, now, f"{was!r}, as in the checkpoint that is to go on")


def _write(path: Path, data: bytes) -> None:
    """So that a kill in the middle leaves the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)
