"""An engine in this process, in threads of its own."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from lora.adapter import AdapterMix
from lora.errors import AtelierError, Unforeseen
from lora.export import Exported
from pipeline.engine import DenoiseStep, Engine, Finished, Generation
from pipeline.request.request import GenerationRequest
from serving.queue import FairQueue
from serving.stream import newest
from training import TrainingSlice, TrainingState, TrainingStep, train_slice

Enough = Callable[[float], bool]
# What a worker's functions give: errors are data, which every process can hand on.
Painted = Iterator[DenoiseStep | Finished | Generation | AtelierError]
Trained = Iterator[TrainingStep | TrainingState | AtelierError]
Paint = Callable[[GenerationRequest], Painted]
Train = Callable[[TrainingSlice, Enough], Trained]
Export = Callable[[AdapterMix, int | None, Path], Exported | AtelierError]
log = logging.getLogger(__name__)


class LocalWorker:
    """See base.Worker. `paint`, `export` and `train` are those of the engine, or stand around them."""

    places = 1
    no_live = ""

    def __init__(
        self, engine: Engine, paint: Paint | None = None, export: Export | None = None, train: Train | None = None
    ):
        self.facts = engine.facts
        self._engine = engine
        self._paint = paint or engine.generate
        self._export = export or engine.export
        self._train = train or partial(trained, engine)
        # As many threads as may paint at once: a job that was cancelled ends its step before the next one starts.
        self._threads = ThreadPoolExecutor(self.places, thread_name_prefix="painter")

    async def paint(
        self, request: GenerationRequest, apart: Callable[[], float]
    ) -> AsyncGenerator[DenoiseStep | Finished | Generation | None]:
        """See base.Worker."""
        async with aclosing(newest(lambda: self._paint(request), self._threads, apart=apart)) as news:
            async for item in news:
                if isinstance(item, AtelierError):
                    raise item
                yield item

    async def train(self, work: TrainingSlice, enough: Enough) -> AsyncGenerator[TrainingStep | TrainingState | None]:
        """See base.Worker."""
        async with aclosing(newest(lambda: self._train(work, enough), self._threads)) as news:
            async for item in news:
                if isinstance(item, AtelierError):
                    raise item
                yield item

    async def export(self, mix: AdapterMix, rank: int | None, path: Path) -> Exported:
        """See base.Worker."""
        work = partial(copy_context().run, self._export, mix, rank, path)
        exported = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        if isinstance(exported, AtelierError):
            raise exported
        return exported

    @asynccontextmanager
    async def following(self, queue: FairQueue) -> AsyncIterator[None]:
        """See base.Worker; the number stays."""
        yield

    def state(self) -> dict[str, Any]:
        """See base.Worker."""
        return self._engine.state()


def trained(engine: Engine, work: TrainingSlice, enough: Enough = lambda seconds: False) -> Trained:
    """A slice of a training on the engine's base, which nobody else has meanwhile."""
    with engine.lent() as components:
        yield from train_slice(components, work, enough)


def as_data(error: Exception) -> AtelierError:
    """An error that any process can hand on."""
    if isinstance(error, AtelierError):
        return error
    log.exception("an unforeseen error", exc_info=error)
    return Unforeseen(error)
