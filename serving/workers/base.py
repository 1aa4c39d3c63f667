"""What the service needs of whatever paints, in this process, in a GPU worker, or on another machine."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Protocol

from lora.adapter import AdapterMix
from lora.export import Exported
from pipeline.engine import DenoiseStep, Finished, Generation
from pipeline.facts import ModelFacts
from pipeline.request.request import GenerationRequest
from training import TrainingSlice, TrainingState, TrainingStep


class Worker(Protocol):
    """Paints, exports, trains. `places` jobs may run at once; whoever calls keeps to that. `facts` need no weights."""

    facts: ModelFacts
    places: int

    def paint(
        self, request: GenerationRequest, apart: Callable[[], float]
    ) -> AsyncGenerator[DenoiseStep | Finished | Generation | None]:
        """What happens while it paints, steps at least `apart()` seconds from each other; None is no news.

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

    def state(self) -> dict[str, Any]:
        """What it holds in memory, in numbers."""
