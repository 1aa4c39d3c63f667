"""Engines on other machines, behind one handle of Ray Serve."""

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from lora.adapter import Adapter, AdapterMix
from lora.errors import AtelierError, PaintingFailed, UnreadableAdapter
from lora.export import Exported
from lora.files import config_beside
from pipeline.engine import DenoiseStep, Finished, Generation
from pipeline.facts import ModelFacts
from pipeline.request.request import GenerationRequest
from serving.cluster import Cluster
from serving.queue import FairQueue
from serving.routing import ROOM, Mix, give_way
from serving.stream import End, Inbox
from serving.workers.base import Restarted
from serving.workers.replica import Begun, Job
from training import TrainingSlice, TrainingState, TrainingStep

# How often a job is begun before it is given up.
ATTEMPTS = 3
# What is raised where a process or its machine is gone, however it went.
DEATHS = (LocalRayletDiedError, NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError)
GIVEN_UP = f"{ATTEMPTS} machines have gone, one after the other, while they worked at this; try something smaller."


class RayWorker:
    """See base.Worker. A job whose replica goes is begun anew on another: Restarted, and all from the start, but for
    what has been told of it already. The same comes out.
    """

    no_live = ""

    def __init__(self, cluster: Cluster, facts: ModelFacts):
        self.facts = facts
        self._cluster = cluster
        self._sent = SentFiles(ROOM)
        self._figures: Counter[str] = Counter(mix_hits=0, mix_misses=0, moved_bytes=0, restarts=0)

    @property
    def places(self) -> int:
        """As many as there are replicas now; see Cluster.running."""
        return self._cluster.replicas

    async def paint(
        self, request: GenerationRequest, apart: Callable[[], float]
    ) -> AsyncGenerator[DenoiseStep | Finished | Generation | Restarted | None]:
        """See base.Worker. How far apart steps are is settled when it begins."""
        finished = -1
        adapters = [*(use.adapter for use in request.mix[0]), *request.embeddings]
        async with aclosing(self._run("paint", request.mix[0], adapters, request, apart())) as items:
            async for item in items:
                if isinstance(item, Finished):
                    if item.image <= finished:
                        continue
                    finished = item.image
                yield item

    async def export(self, mix: AdapterMix, rank: int | None, path: Path) -> Exported:
        """See base.Worker."""
        file = b""
        async with aclosing(self._run("export", mix, [use.adapter for use in mix], mix, rank)) as items:
            async for item in items:
                if isinstance(item, bytes):
                    file = item
                elif isinstance(item, Exported):
                    await asyncio.to_thread(path.write_bytes, file)
                    return replace(item, path=path)
        raise AssertionError("An export ends in what it is.")

    async def train(
        self, work: TrainingSlice, enough: Callable[[float], bool]
    ) -> AsyncGenerator[TrainingStep | TrainingState | None]:
        """See base.Worker."""
        async with aclosing(self._run("train", (), (), work)) as items:
            async for item in items:
                if not isinstance(item, Restarted):
                    yield item

    def following(self, queue: FairQueue) -> AbstractAsyncContextManager[None]:
        """See base.Worker."""
        return self._cluster.following(queue)

    def state(self) -> dict[str, Any]:
        """See base.Worker: what all replicas have done since this process began."""
        return {"replicas": self._cluster.replicas, **self._figures}

    async def _run(self, method: str, mix: AdapterMix, adapters: Iterable[Adapter], *values: Any) -> AsyncGenerator:
        """What a replica yields, errors raised, from the start again where it goes."""
        digest = hashlib.sha256(repr([_meant(use) for use in mix]).encode()).hexdigest()
        known = {adapter.sha256: adapter for adapter in adapters}
        needed = Mix(digest, tuple((name, adapter.size) for name, adapter in known.items()))
        for attempt in range(1, ATTEMPTS + 1):
            files = await self._sent.references(known)
            job = Job(needed, files, self._cluster.waiting)
            try:
                async with aclosing(streamed(self._cluster.handle, method, job, *values)) as items:
                    async for item in items:
                        if isinstance(item, AtelierError):
                            raise item
                        if isinstance(item, Begun):
                            self._figures["mix_hits" if item.on else "mix_misses"] += 1
                            self._figures["moved_bytes"] += item.moved
                            item = None
                        yield item
                return
            except DEATHS as error:
                if attempt == ATTEMPTS:
                    raise PaintingFailed(GIVEN_UP) from error
                self._figures["restarts"] += 1
                yield Restarted(attempt)


class SentFiles:
    """Adapter files in Ray's object store, by their hashes; the least recently used ones go above `room` bytes."""

    def __init__(self, room: int):
        self._room = room
        self._there: dict[str, Any] = {}
        self._sizes: OrderedDict[str, int] = OrderedDict()

    async def references(self, adapters: dict[str, Adapter]) -> dict[str, Any]:
        """Of the files of adapters, by their hashes. Raises UnreadableAdapter."""
        # Kept here: while one is read, another call may let others go.
        references = {}
        for name, adapter in adapters.items():
            if name not in self._there:
                self._there[name] = await asyncio.to_thread(_put, adapter)
            references[name] = self._there[name]
            self._sizes[name] = adapter.size
            self._sizes.move_to_end(name)
        for name in give_way(self._sizes, self._room, len(adapters)):
            del self._there[name]
        return references


def _put(adapter: Adapter) -> Any:
    paths = [adapter.path, config_beside(adapter.path)]
    try:
        return ray.put({path.name: path.read_bytes() for path in paths if path})
    except OSError as error:
        raise UnreadableAdapter("The file is missing or no plain file; upload it again.") from error


def _meant(use: Any) -> tuple:
    return use.adapter.sha256, use.weights, use.blocks, use.start, use.end


async def streamed(handle: Any, method: str, *values: Any) -> AsyncGenerator[Any]:
    """What a streaming method of a replica yields, steps that nobody took given up for newer ones; None each second
    without news. Closing it cancels the call.
    """
    inbox: Inbox[Any] = Inbox(lambda: 0.0)

    async def receive() -> None:
        end = End()
        try:
            async for item in response:
                inbox.deliver(item)
        except Exception as error:
            end = End(error)
        inbox.deliver(end)

    response = handle.options(stream=True, method_name=method).remote(*values)
    receiving = asyncio.create_task(receive())
    try:
        while not isinstance(item := await inbox.take(1.0), End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        receiving.cancel()
        response.cancel()
