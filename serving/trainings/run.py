"""What is done for a training, from one turn in the queue to the next: slices, and samples between them."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import cast

from lora.adapter import Adapter
from lora.errors import TrainingError
from lora.library import describe
from pipeline.engine import Generation
from pipeline.request.request import GenerationRequest
from serving.disk import full
from serving.generation import GenerationService
from serving.trainings.job import STRENGTHS, Progress, Training
from serving.trainings.order import TrainingOrder
from serving.trainings.store import TrainingStore, log
from training import TrainingConfig, TrainingSlice, TrainingState, TrainingStep

# A slice ends sooner than it might where somebody waits.
SHARED_SECONDS = 5.0


class TrainingRuns:
    """Lets trainings learn. `slice_seconds` is the longest that anybody waits for one."""

    def __init__(self, service: GenerationService, store: TrainingStore, slice_seconds: float):
        self._service, self._store, self._slice_seconds = service, store, slice_seconds
        # Seconds that a picture takes to be learnt from once, as measured last.
        self._picture_seconds: float | None = None

    @property
    def measured(self) -> bool:
        """Whether it is known how long training takes here."""
        return self._picture_seconds is not None

    async def advance(self, training: Training) -> None:
        """Let it learn until it is done or is to stop, with a sample wherever one is due. Raises AtelierError."""
        progress = training.progress
        while True:
            due = training.stopping or progress.step in training.due
            if due and progress.step not in progress.samples:
                await self._sample(training, progress.step)
            if training.done or training.stopping:
                break
            await self._slice(training)
        training.state = "done" if training.done else "stopped"

    def seconds(self, order: TrainingOrder, done: int = 0, samples: int = 0) -> float:
        """How many seconds an order takes from a step on, after so many samples, where nobody else waits."""
        config, facts = order.config, self._service.facts
        # Learning from a picture is taken for half a guided step forth, and twice that back.
        guess = 1.5 * (facts.step_seconds or facts.profile.step_seconds)
        rest = max(0, config.steps - done)
        wanted = 1 + len(STRENGTHS) * -(-config.steps // order.every)
        pictures = max(0, wanted - len(STRENGTHS) * samples) if rest else 0
        each = facts.expected_seconds(self._request(order, None, 100))
        return rest * self._work(config) * (self._picture_seconds or guess) + pictures * each

    def observe(self, config: TrainingConfig, steps: int, seconds: float) -> None:
        """Learn how long training takes from steps that took so many seconds."""
        now, before = seconds / max(1, steps) / self._work(config), self._picture_seconds
        self._picture_seconds = now if before is None else 0.7 * before + 0.3 * now

    async def save(
        self, training: Training, fresh: Mapping[str, bytes], change: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """Change how far it is and write it down, with `fresh` files; of those that it had, what is needed no more is
        deleted. Raises TrainingError.
        """
        async with training.changing:
            change(training.progress)
            await self._write(training, fresh)

    async def _write(self, training: Training, fresh: Mapping[str, bytes]) -> None:
        kept = {name for name in {*training.files, *fresh} if name in training.needed}
        values = training.id, training.state, training.order.details(), asdict(training.progress), fresh, kept
        with in_words():
            # To its end also where the training is cancelled meanwhile.
            await asyncio.shield(asyncio.to_thread(self._store.update, *values))
        training.files = kept

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self._store.files / name

    def read(self, name: str) -> bytes:
        """A file. Raises TrainingError."""
        with in_words():
            return self.path(name).read_bytes()

    def _work(self, config: TrainingConfig) -> float:
        """A step's size in pictures of the model's own size."""
        side = self._service.facts.side
        return config.batch_size * config.accumulation * ((config.resolution or side) / side) ** 2

    @asynccontextmanager
    async def _turn(self, training: Training, seconds: float, status: str) -> AsyncIterator[bool]:
        """Wait for a turn, and have it for as long as a `with` block lasts; whether it came before it was to stop."""
        queue = self._service.queue
        ticket = queue.enter(f"training-{training.id}", seconds, again=True)
        try:
            async with aclosing(queue.wait(ticket)) as places:
                async for place in places:
                    training.ring(status="waiting", place=place.place)
                    if training.stopping and status == "training":
                        break
            if mine := ticket.turn.is_set():
                training.ring(status=status, place=0)
            yield mine
        finally:
            queue.leave(ticket)

    async def _slice(self, training: Training) -> None:
        """Learn for as long as a slice lasts."""
        queue, order, seconds, done = self._service.queue, training.order, self._slice_seconds, training.progress.step
        name = training.saved(done)
        state = await asyncio.to_thread(self.read, name) if name in training.files else None
        until = min(step for step in training.due if step > done)

        def enough(passed: float) -> bool:
            crowded = passed >= min(SHARED_SECONDS, seconds) and queue.waiting > 0
            return training.stopping or queue.closing or crowded

        last: TrainingStep | TrainingState | None = None
        async with self._turn(training, seconds, "training") as mine:
            if not mine:
                return
            began, work = time.monotonic(), TrainingSlice(order.examples, order.config, state, seconds, until)
            async with aclosing(self._service.worker.train(work, enough)) as news:
                async for last in news:
                    if isinstance(last, TrainingStep):
                        training.ring(step=last.step)
        # What a slice ends in.
        assert isinstance(last, TrainingState)
        self.observe(order.config, last.step - done, time.monotonic() - began)
        now = {"losses": [*last.losses], "seconds": last.adapter.seconds}
        fresh = {training.saved(last.step): last.data, training.adapter(last.step): last.adapter.data()}
        await self.save(training, fresh, lambda progress: vars(progress).update(now))

    async def _sample(self, training: Training, step: int) -> None:
        """Paint what the prompt comes to at a step, at each strength; at step 0 it is the base's own picture."""
        fresh, style = {}, None
        if step:
            style = await asyncio.to_thread(describe, self.path(training.adapter(step)), "trained")
        for strength in STRENGTHS if style else STRENGTHS[-1:]:
            png = await self._painted(training, self._request(training.order, style, strength))
            fresh[training.picture(step, strength)] = png
        await self.save(training, fresh, lambda progress: progress.samples.append(step))
        training.ring()

    async def _painted(self, training: Training, request: GenerationRequest) -> bytes:
        worker, facts, item = self._service.worker, self._service.facts, None
        turn = self._turn(training, facts.expected_seconds(request), "sampling")
        async with turn, aclosing(worker.paint(request, lambda: 1.0)) as news:
            async for each in news:
                item = each
        # What painting ends in.
        assert isinstance(item, Generation)
        facts.observe(request, item.details)
        return item.images[0]

    def _request(self, order: TrainingOrder, style: Adapter | None, strength: int) -> GenerationRequest:
        worn = [{"id": style.id, "weight": strength / 100}] if style else []
        values = {"prompt": order.prompt, "seed": order.seed, "adapters": worn,
                  "negative_prompt": self._service.profile.negative_prompt}  # fmt: skip
        return GenerationRequest.create(values, self._service.facts.limits, lambda _: cast(Adapter, style))


@contextmanager
def in_words() -> Iterator[None]:
    """Raises TrainingError for what goes wrong with files and rows."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        log.warning("a training could not be kept or read: %s", error)
        why = "there is no room left for it here" if full(error) else "try again later"
        raise TrainingError(f"The training cannot be kept or read just now: {why}.") from error
