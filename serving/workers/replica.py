"""What runs on a machine of a cluster: one engine, and the adapter files that it was sent."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch

from lora.adapter import Adapter, AdapterMix, AdapterUse
from lora.errors import UnknownAdapter
from lora.scratch import scratch_folder
from pipeline.engine import Engine
from pipeline.profiles import ModelProfile
from pipeline.request.request import GenerationRequest
from pipeline.upscaling.upscalers import Upscalers
from serving.routing import ROOM, Mix, give_way
from serving.workers.local import LocalWorker, as_data
from training import TrainingSlice


@dataclass(frozen=True)
class Job:
    """What every call brings: the `mix` that it needs on, by which it is routed, the object references of the adapters'
    `files` by their hashes, and how many others were `waiting` when it began.
    """

    mix: Mix
    files: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0


@dataclass(frozen=True)
class Begun:
    """The first thing that a call yields: whether its mix was `on`, and how many bytes of adapters were `moved`."""

    on: bool
    moved: int


class Replica:
    """An engine as Ray Serve has it: one call at a time, each yields Begun, what a LocalWorker yields, errors as data.

    Closing a call stops it within a step: the steps are in a thread of their own, which looks for that between them.
    """

    def __init__(self, profile: ModelProfile, upscalers: Path | None, threads: int, made: str = ""):
        if threads:
            torch.set_num_threads(threads)
        engine = Engine(profile, Upscalers(upscalers))
        self._worker, self._files = LocalWorker(engine), AdapterFiles(ROOM)
        self._made, self._on, self._waiting = made, "", 0
        # What is slow once is done before the first visitor is there.
        deque(engine.generate(GenerationRequest.create({"prompt": "a", "steps": 2}, engine.limits, _none)), maxlen=0)

    def made_of(self, job: Job) -> str:
        """The fingerprint of what it is made of, see serving.cluster."""
        return self._made

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For `serving.cluster.by_queue`."""
        return {"waiting": float(self._waiting)}

    async def paint(self, job: Job, request: GenerationRequest, apart: float) -> AsyncGenerator[Any]:
        """See Worker.paint."""

        def paint() -> AsyncGenerator[Any]:
            mix = tuple(map(self._local, request.adapters))
            known = tuple(map(self._files.local, request.embeddings))
            return self._worker.paint(replace(request, adapters=mix, embeddings=known), lambda: apart)

        async with aclosing(self._told(job, paint)) as items:
            async for item in items:
                yield item

    async def train(self, job: Job, work: TrainingSlice) -> AsyncGenerator[Any]:
        """See Worker.train."""
        async with aclosing(self._told(job, lambda: self._worker.train(work, lambda seconds: False))) as items:
            async for item in items:
                yield item

    async def export(self, job: Job, mix: AdapterMix, rank: int | None) -> AsyncGenerator[Any]:
        """See Worker.export; the file is yielded, and then what it is."""

        async def export() -> AsyncGenerator[Any]:
            with TemporaryDirectory(prefix="atelier-") as folder:
                path = Path(folder) / "mix.safetensors"
                exported = await self._worker.export(tuple(map(self._local, mix)), rank, path)
                yield await asyncio.to_thread(path.read_bytes)
                yield exported

        async with aclosing(self._told(job, export)) as items:
            async for item in items:
                yield item

    async def _told(self, job: Job, work: Callable[[], AsyncGenerator[Any]]) -> AsyncGenerator[Any]:
        """Begun, and what `work` yields but None, which is no news."""
        on, self._on, self._waiting = self._on == job.mix.digest, job.mix.digest, job.waiting
        try:
            yield Begun(on, await asyncio.to_thread(self._files.fetch, job))
            async with aclosing(work()) as items:
                async for item in items:
                    if item is not None:
                        yield item
        except Exception as error:
            yield as_data(error)

    def _local(self, use: AdapterUse) -> AdapterUse:
        return replace(use, adapter=self._files.local(use.adapter))


class AdapterFiles:
    """The files that were sent, by their hashes; the least recently used ones go above `room` bytes."""

    def __init__(self, room: int):
        self._room, self._folder = room, scratch_folder("sent")
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def fetch(self, job: Job) -> int:
        """Fetch what a job needs and is not there; how many bytes that is."""
        lacking = [name for name in job.files if name not in self._sizes]
        for name in lacking:
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            for file, data in (parts := ray.get(job.files[name])).items():
                (folder / file).write_bytes(data)
            self._sizes[name] = sum(map(len, parts.values()))
        for name in job.files:
            self._sizes.move_to_end(name)
        moved = sum(self._sizes[name] for name in lacking)
        for name in give_way(self._sizes, self._room, len(job.files)):
            rmtree(self._folder / name)
        return moved

    def local(self, adapter: Adapter) -> Adapter:
        """An adapter whose file was fetched, as it is here."""
        return replace(adapter, path=self._folder / adapter.sha256 / adapter.path.name)


def _none(identity: str) -> Adapter:
    raise UnknownAdapter("There is no adapter yet.")
