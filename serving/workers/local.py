"""An engine in this process, in threads of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from lora.adapter import AdapterMix
from lora.errors import AtelierError
from lora.export import Exported
from pipeline.engine import DenoiseStep, Engine, Finished, Generation
from pipeline.request.request import GenerationRequest
from serving.stream import Item, newest

# What a worker's function gives: errors are data, which every process can hand on.
Paint = Callable[[GenerationRequest], Generator[Item]]
Export = Callable[[AdapterMix, int | None, Path], Exported | AtelierError]


class LocalWorker:
    """See base.Worker. `paint` and `export` are the engine's own, or stand around them."""

    places = 1

    def __init__(self, engine: Engine, paint: Paint | None = None, export: Export | None = None):
        self.facts = engine.facts
        self._engine = engine
        self._paint = paint or engine.generate
        self._export = export or engine.export
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

    async def export(self, mix: AdapterMix, rank: int | None, path: Path) -> Exported:
        """See base.Worker."""
        work = partial(copy_context().run, self._export, mix, rank, path)
        exported = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        if isinstance(exported, AtelierError):
            raise exported
        return exported

    def state(self) -> dict[str, Any]:
        """See base.Worker."""
        return self._engine.state()
