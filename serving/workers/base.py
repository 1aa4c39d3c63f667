"""What the service needs of whatever paints, in this process, in a GPU worker, or on another machine."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lora.adapter import AdapterMix
from lora.export import Exported
from pipeline.engine import DenoiseStep, Finished, Generation
from pipeline.facts import ModelFacts
from pipeline.request.request import GenerationRequest
from serving.queue import FairQueue
from training import TrainingSlice, TrainingState, TrainingStep


@dataclass(frozen=True)
class Restarted:
    """The machine that worked at a job has gone, for the `attempt`-th time; all of it begins anew on another."""

    attempt: int


class Worker(Protocol):
    """Paints, exports, trains. `places` jobs may run at once; whoever calls keeps to that. `facts` need no weights."""

    facts: ModelFacts
    # Why pictures cannot follow here what is being changed, or "".
    no_live: str

    @property
    def places(self) -> int:
        """How many jobs may run at once now."""

    def paint(
        self, request: GenerationRequest, apart: Callable[[], float]
    ) -> AsyncGenerator[DenoiseStep | Finished | Generation | Restarted | None]:
        """What happens while it paints, steps at least `apart()` seconds from each other; None is no news. After
        Restarted come all steps again, but no picture of a batch twice.

        Closing it stops the painting within a step. Raises AtelierError, and what the host of a GPU has to say.
        """

    async def export(self, mix: AdapterMix, rank: int | None, path: Path) -> Exported:
        """Write a mix as one adapter file, see lora.export. Raises AdapterError, InvalidRequest."""

    def train(
        self, work: TrainingSlice, enough: Callable[[float], bool]
    ) -> AsyncGenerator[TrainingStep | TrainingState | None]:
        """Do a slice of a training, see training.train_slice; None is no news. One in another process does not hear
        when it is `enough`. Closing it, a slice has done nothing. Raises AdapterError, InvalidRequest, ModelError, and
        what the host of a GPU has to say.
        """

    def following(self, queue: FairQueue) -> AbstractAsyncContextManager[None]:
        """For as long as a `with` block lasts the queue follows the number of places, where that changes."""

    def state(self) -> dict[str, Any]:
        """What it holds in memory, in numbers."""
