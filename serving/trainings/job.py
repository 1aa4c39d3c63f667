"""One training as it is known here: what is wanted, how far it is, and what its owner sees of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.trainings.order import TrainingOrder
from serving.trainings.store import LIVE
from training.export import smooth

# Of how many samples, the newest, what had been learnt is kept; of how many there are pictures.
CHECKPOINTS, MOST_SAMPLES = 8, 40
# Percents at which a sample shows the style.
STRENGTHS = (50, 100)
MOST_POINTS = 200


@dataclass(frozen=True)
class TrainingLimits:
    """Seconds of a slice; trainings in all; optimizer steps of one; and whether they go on by themselves after a
    restart, which needs a machine that is not lent to whoever asks.
    """

    slice_seconds: float = 15.0
    total: int = 8
    steps: int = 5000
    resumes: bool = True


@dataclass
class Progress:
    """How far a training is, as it is kept: `samples` are the steps at which there are pictures, `kept` the ids of
    styles by their steps.
    """

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    samples: list[int] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    message: str = ""

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


@dataclass(eq=False)
class Training:
    """One training. `state` is kept: live, done, stopped or failed; `status` is what is being done just now: waiting,
    training, sampling, or the state. `step` may be ahead of what is kept; `error` is what it ended in just now.
    """

    id: str
    owner: str
    order: TrainingOrder
    state: str = LIVE
    progress: Progress = field(default_factory=Progress)
    files: set[str] = field(default_factory=set)
    address: str = ""
    status: str = "waiting"
    place: int = 0
    step: int = 0
    stopping: bool = False
    task: asyncio.Task | None = None
    error: Exception | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    # Whoever changes what is kept and the files that belong to it has it: they change together.
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def running(self) -> bool:
        """Whether something is being done for it."""
        return self.task is not None and not self.task.done()

    @property
    def done(self) -> bool:
        """Whether all steps that were wanted are."""
        return self.progress.step >= self.order.config.steps

    @property
    def due(self) -> set[int]:
        """The steps after which a sample is painted; at 0 it is the base's own picture."""
        every, steps = self.order.every, self.order.config.steps
        return {*range(0, steps + 1, every), steps}

    @property
    def checkpoints(self) -> list[int]:
        """The steps of which there is still what had been learnt."""
        steps = sorted({*self.progress.samples[-CHECKPOINTS:], self.progress.step})
        return [step for step in steps if self.adapter(step) in self.files]

    @property
    def needed(self) -> set[str]:
        """The names of files that it has use for."""
        progress = self.progress
        learnt = {*progress.samples[-CHECKPOINTS:], progress.step}
        seen = {*progress.samples[:1], *progress.samples[-MOST_SAMPLES:]}
        pictures = {self.picture(step, strength) for step in seen for strength in STRENGTHS}
        return {self.pictures, self.saved(progress.step), *map(self.adapter, learnt), *pictures}

    @property
    def pictures(self) -> str:
        """The name of the file of what is learnt from."""
        return f"{self.id}-pictures.zip"

    def saved(self, step: int) -> str:
        """The name of the file from which training goes on after a step."""
        return f"{self.id}-{step}.state"

    def adapter(self, step: int) -> str:
        """The name of the file of what had been learnt at a step."""
        return f"{self.id}-{step}.safetensors"

    def picture(self, step: int, strength: int) -> str:
        """The name of a picture of a sample."""
        return f"{self.id}-{step}-{strength}.png"

    def ring(self, **changes: Any) -> None:
        """Something has changed: whoever watches is woken."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.news.set()
        self.news = asyncio.Event()

    def view(self, signed: Callable[[str], str], seconds_left: float) -> dict:
        """What its owner sees; `signed` gives the address of a file. `losses` are [step, running average], `samples`
        the newest last, each with `pictures` by percent, the adapter's `file` where it is still there, and the id under
        which it is `kept`.
        """
        order, progress = self.order, self.progress
        curve = [*enumerate(smooth(progress.losses), 1)]
        return {
            "status": self.status, "id": self.id, "name": order.name, "trigger": order.config.trigger,
            "pictures": len(order.examples), "prompt": order.prompt, "seed": order.seed,
            "step": max(self.step, progress.step), "steps": order.config.steps, "place": self.place,
            "stopping": self.stopping, "seconds": round(progress.seconds, 1), "seconds_left": round(seconds_left),
            "losses": [[step, round(loss, 4)] for step, loss in curve[:: max(1, len(curve) // MOST_POINTS)]],
            "samples": [self._sample(step, signed) for step in progress.samples], "message": progress.message,
        }  # fmt: skip

    def _sample(self, step: int, signed: Callable[[str], str]) -> dict:
        names = {str(strength): self.picture(step, strength) for strength in STRENGTHS}
        adapter = self.adapter(step)
        return {"step": step, "kept": self.progress.kept.get(str(step)),
                "pictures": {percent: signed(name) for percent, name in names.items() if name in self.files},
                "file": signed(adapter) if adapter in self.files else None}  # fmt: skip
