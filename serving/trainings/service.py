"""Trainings of visitors: jobs of the queue in slices, so that whoever waits for a picture waits for one slice at most.

What a slice has come to is on the disk before the next one begins: a training survives whatever ends its page, the
connection or the app. What it has learnt is seen by samples, which are pictures like any other, painted in between.
"""

import asyncio
import json
import sqlite3
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe

from lora.errors import AtelierError, Busy, InvalidRequest, StylesError, TrainingError, UnknownTraining, shown
from lora.library import describe
from pipeline.request.checks import whole
from serving.generation import GenerationService
from serving.jobs import heard
from serving.queue import client_address
from serving.styles import Styles
from serving.trainings.job import STRENGTHS, Progress, Training, TrainingLimits
from serving.trainings.order import TrainingOrder, handed
from serving.trainings.run import TrainingRuns, in_words
from serving.trainings.store import LIVE, TrainingStore, log
from training import prolonged
from training.presets import PRESET, TrainingScope

RESTARTED = "The app was restarted; nothing is lost. Press Go on."
# What is raised by reading what another version has written.
OUTDATED = (TypeError, ValueError, LookupError, OSError, zipfile.BadZipFile, AtelierError)


class Trainings:
    """The trainings of all owners, who are known by the hash of their secret; one of each. Lives on one event loop."""

    def __init__(
        self,
        service: GenerationService,
        styles: Styles,
        folder: Path,
        limits: TrainingLimits | None = None,
        words: Callable[[Exception], str] = str,
    ):
        """Open or make the folder. `words` tells an error. Raises TrainingError where nothing can be written there."""
        self._service, self._styles, self._words = service, styles, words
        self.limits = limits or TrainingLimits()
        try:
            self._store = TrainingStore(folder)
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or "its database cannot be opened"
            raise TrainingError(f"DATA_DIR is {shown(str(folder), 200)}, but nothing can be trained: {why}.") from error
        self._runs = TrainingRuns(service, self._store, self.limits.slice_seconds)
        self._beginning: set[str] = set()
        self._all: dict[str, Training] = {}
        for row in self._store.all():
            try:
                training = self._read(row)
            except OUTDATED:
                log.warning("a training of another version of the app is deleted")
                self._store.remove(row["owner"])
            else:
                self._all[training.owner] = training

    @property
    def notice(self) -> str:
        """What happened to the trainings, if something did."""
        return self._store.notice

    @asynccontextmanager
    async def running(self, app: object = None) -> AsyncIterator[None]:
        """A part of the app's lifespan, at the start of which those that were not at their end go on."""
        for training in [*self._all.values()]:
            if not training.order.keep:
                await self.cancel(training.owner)
            elif training.state == LIVE and self.limits.resumes:
                self._start(training)
            elif training.state == LIVE:
                training.state = training.status = "stopped"
                training.progress.message = RESTARTED
        try:
            yield
        finally:
            tasks = [each.task for each in self._all.values() if each.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def plan(self, values: Mapping, files: Sequence[tuple[str, bytes]]) -> dict:
        """What a training would take: how many `pictures` and `steps`, `expected_seconds` where nobody else waits, and
        whether that was `measured` here. Raises AtelierError.
        """
        wanted = await asyncio.to_thread(handed, values, files, self._service.facts, self.limits.steps)
        told = self.forecast(values.get("preset", PRESET), values.get("options", {}), wanted.prompt)
        return {"status": "planned", "pictures": len(wanted.pictures), **told}

    def forecast(self, preset: object, options: object, prompt: str = "") -> dict:
        """How many `steps` a training has, and its `expected_seconds` as in `plan`. Raises InvalidRequest."""
        facts = self._service.facts
        config = TrainingScope(facts.small, facts.side, self.limits.steps).config(preset, options)
        seconds = self._runs.seconds(TrainingOrder(config, prompt or facts.profile.examples[0], config.seed, ()))
        return {"steps": config.steps, "expected_seconds": round(seconds), "measured": self._runs.measured}

    async def begin(
        self,
        owner: str,
        values: Mapping,
        files: Sequence[tuple[str, bytes]],
        session: str | None = None,
        page: bool = False,
        keep: bool = True,
    ) -> Training:
        """Begin a training of an owner, in place of the last one that has ended; what it comes to is kept among the
        owner's styles, if `keep`. Raises AtelierError.
        """
        with self._service.request_log.entry("train_style", session, page):
            with self._admitted(owner):
                wanted = await asyncio.to_thread(handed, values, files, self._service.facts, self.limits.steps)
                order = await wanted.order(self._service.decoder, keep)
                training = Training(token_urlsafe(16), owner, order, address=client_address.get())
                training.files = {training.pictures}
                await self._forget_oldest(owner)
                with in_words():
                    await asyncio.to_thread(self._add, training)
                self._all[owner] = training
                self._start(training)
            return training

    def find(self, owner: str) -> Training:
        """An owner's training. Raises UnknownTraining."""
        if owner not in self._all:
            raise UnknownTraining("You have no training here.")
        return self._all[owner]

    async def watch(self, owner: str) -> AsyncGenerator[dict]:
        """What there is to see of an owner's training, the newest only, until it rests; without news the same again."""
        while training := self._all.get(owner):
            news, over = training.news, not training.running
            yield self.view(training)
            if over and not training.running:
                return
            await heard(news, 1.0)
        yield {"status": "empty"}

    def view(self, training: Training) -> dict:
        """A training as its owner sees it, see Training.view."""
        done = max(training.step, training.progress.step)
        left = self._runs.seconds(training.order, done, len(training.progress.samples))
        return training.view(lambda name: self._signed(training, name), left)

    def stop(self, owner: str) -> None:
        """Let a training rest after the step that it is in; what it has learnt is kept. Raises UnknownTraining."""
        self.find(owner).ring(stopping=True)

    async def go_on(self, owner: str, steps: object = 0) -> None:
        """Let a training that rests go on to its end, or where it is there for `steps` more.

        Raises UnknownTraining, InvalidRequest, Busy.
        """
        training = self.find(owner)
        if training.running:
            return
        with self._admitted(owner):
            if training.done:
                done = training.progress.step
                more = whole("steps", steps, 1, max(1, self.limits.steps - done))
                state = await asyncio.to_thread(self._runs.read, training.saved(done))
                training.order = training.order.longer(done + more)
                await self._runs.save(training, {training.saved(done): await asyncio.to_thread(prolonged, state, more)})
            training.progress.message = ""
            training.address = client_address.get()
            self._start(training)

    async def cancel(self, owner: str) -> None:
        """End a training and delete all of it. Raises UnknownTraining."""
        training = self.find(owner)
        del self._all[owner]
        if training.task:
            training.task.cancel()
        with in_words():
            await asyncio.to_thread(self._store.remove, owner)
        training.ring()

    async def keep(self, owner: str, step: object = 0) -> str:
        """Keep what had been learnt at a step, 0 for the last one, among the owner's styles; its id there.

        Raises UnknownTraining, InvalidRequest, StyleNotKept.
        """
        training = self.find(owner)
        wanted = whole("step", step, 0, self.limits.steps)
        async with training.changing:
            there = training.checkpoints
            at = wanted or (there or [0])[-1]
            if at not in there:
                words = ", ".join(map(str, there)) or "none yet"
                raise InvalidRequest("step", at, f"one of which there is what had been learnt: {words}")
            identity = await asyncio.to_thread(self._keep, training, at)
        await self._runs.save(training, {}, lambda progress: progress.kept.update({str(at): identity}))
        training.ring()
        return identity

    def file(self, training: Training, step: int) -> Path:
        """What had been learnt at a step."""
        return self._runs.path(training.adapter(step))

    def path(self, name: str, key: str) -> tuple[Path, str]:
        """The file of a signed address, and what the style is called. Raises UnknownTraining."""
        training = next((each for each in self._all.values() if name.startswith(f"{each.id}-")), None)
        public = name.endswith((".png", ".safetensors")) and training is not None and name in training.files
        if not (training and public and self._store.proves(key, training.owner, name)):
            raise UnknownTraining("There is no such training.")
        return self._runs.path(name), training.order.name

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    def _signed(self, training: Training, name: str) -> str:
        return f"/training/{name}?key={self._store.signature(training.owner, name)}"

    @contextmanager
    def _admitted(self, owner: str) -> Iterator[None]:
        """For as long as one is begun. Raises Busy where an owner, an address or all together have too many."""
        self._admit(owner)
        self._beginning.add(owner)
        try:
            yield
        finally:
            self._beginning.discard(owner)

    def _admit(self, owner: str) -> None:
        live = [each for each in self._all.values() if each.running]
        if owner in self._beginning or any(each.owner == owner for each in live):
            raise Busy("You have a training that runs, and one is taken at a time; stop or cancel it.")
        total, address = self.limits.total, client_address.get()
        if len(live) + len(self._beginning) >= total:
            raise Busy(f"All {total} places for trainings are taken; try again in a few minutes.")
        share = max(1, total // 4)
        if address and sum(each.address == address for each in live) >= share:
            raise Busy(f"{share} trainings are running from your address, as many as one has; wait for one of them.")

    async def _forget_oldest(self, owner: str) -> None:
        """Make room for one more: who has rested longest gives way."""
        others = [each for each in self._all.values() if each.owner != owner]
        resting = [each for each in others if not each.running]
        for each in resting[: max(0, len(others) + 1 - self.limits.total)]:
            del self._all[each.owner]
            await asyncio.to_thread(self._store.remove, each.owner)

    def _start(self, training: Training) -> None:
        training.state, training.stopping, training.error = LIVE, False, None
        # Of a slice that came to nothing nothing is shown.
        training.step = 0
        # The last one in the order in which they came to rest.
        self._all[training.owner] = self._all.pop(training.owner)
        training.task = asyncio.create_task(self._run(training))
        training.ring(status="waiting")

    async def _run(self, training: Training) -> None:
        client_address.set(training.address or training.owner)
        with self._service.request_log.entry("training", None) as entry:
            try:
                await self._runs.advance(training)
                if training.progress.step and training.order.keep:
                    await self._kept_last(training)
            except Exception as error:
                training.error = error
                if isinstance(error, Busy) and self._service.queue.closing:
                    # It goes on after the restart.
                    entry.outcome = "cancelled"
                    return
                entry.outcome = training.state = "failed"
                training.progress.message = self._words(error)
            entry.facts |= {"steps": training.progress.step, "pictures": len(training.order.examples)}
        with suppress(TrainingError):
            await self._runs.save(training, {})
        training.ring(status=training.state, place=0)

    async def _kept_last(self, training: Training) -> None:
        """Keep what has been learnt; where that cannot be, say why: it can be kept later, and downloaded."""
        try:
            await self.keep(training.owner)
        except StylesError as error:
            training.progress.message = str(error)

    def _keep(self, training: Training, step: int) -> str:
        adapter = describe(self.file(training, step), "trained")
        name = training.order.name if training.done else f"{training.order.name}, {step} steps"
        kept = self._styles.keep(training.owner, replace(adapter, name=name))
        preview = training.picture(step, STRENGTHS[-1])
        if preview in training.files:
            self._styles.picture(training.owner, kept.adapter.id, self._runs.read(preview))
        return kept.adapter.id

    def _add(self, training: Training) -> None:
        order = training.order
        self._store.add(training.id, training.owner, order.details(), order.pictures())

    def _read(self, row: sqlite3.Row) -> Training:
        order = TrainingOrder.kept(row["details"], self._runs.read(f"{row['id']}-pictures.zip"))
        progress, files = Progress(**json.loads(row["progress"])), {*json.loads(row["files"])}
        training = Training(row["id"], row["owner"], order, row["state"], progress, files, status=row["state"])
        if progress.step:
            self._runs.observe(order.config, progress.step, progress.seconds)
        return training
