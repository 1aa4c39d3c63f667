"""The one way through: raw values -> GenerationRequest -> queue -> worker -> progress and pictures."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lora.adapter import warnings
from lora.errors import InvalidRequest, StylesError, Untold
from lora.formats import MAX_RANK
from lora.library import Library
from pipeline.engine import DenoiseStep, Finished, Generation
from pipeline.metadata import infotext
from pipeline.metadata.marks import packet
from pipeline.metadata.restore import restore
from pipeline.request import checks
from pipeline.request.checks import text, whole
from pipeline.request.compare import Grid, grid
from pipeline.request.mix import adapter_ids, adapter_mix, trigger_words, unknown_tags
from pipeline.request.picture import MAX_BYTES, UNREAD
from pipeline.request.request import PICTURES, GenerationRequest
from pipeline.request.tiers import tiers
from pipeline.sampling.decode import encode_png
from pipeline.sheet import sheet
from pipeline.text.variants import Wildcards
from serving.executor import BoundedExecutor
from serving.live import LiveWishes, until
from serving.picture_decoder import PictureDecoder
from serving.queue import FairQueue, Ticket
from serving.received import Uploads, check_size, uploaded
from serving.request_log import Entry, RequestLog
from serving.sealing import Seal
from serving.styles import Styles
from serving.workers.base import Restarted, Worker

if TYPE_CHECKING:
    from pipeline.metadata.credentials import Credentials

# What an export is taken to last, for those who wait behind it.
EXPORT_SECONDS = 5.0
# Seconds between two previews while others wait.
CROWDED = 0.2


@dataclass(frozen=True)
class Update:
    """What a caller is told: `details["status"]` is waiting, painting or done; done comes once, with the PNG files.

    `finished` is a picture of a batch that is done while others are painted; it is told once, `images` has it again.
    `grid` is what a comparison is planned to be.
    """

    details: dict
    images: tuple[bytes, ...] = ()
    finished: Finished | None = None
    grid: Grid | None = None


class GenerationService:
    """Engine, styles and queue as the page and the endpoints use them."""

    def __init__(
        self,
        worker: Worker,
        library: Library,
        queue: FairQueue,
        wildcards: Wildcards | None = None,
        request_log: RequestLog | None = None,
        credentials: "Credentials | None" = None,
        styles: Styles | None = None,
    ):
        self.worker = worker
        self.facts = worker.facts
        self.library = library
        self.queue = queue
        self.wildcards = wildcards or {}
        self.request_log = request_log or RequestLog()
        # Apart, so that a Hub that hangs keeps nobody from uploading. A file is in memory while it is read.
        self._readers, self._fetchers = BoundedExecutor("reader", 2, 16), BoundedExecutor("fetcher", 4, 16)
        self.decoder = PictureDecoder(judging=credentials is not None)
        self.credentials = credentials
        self.styles = styles
        self.live_wishes: LiveWishes[Update] = LiveWishes()

    @asynccontextmanager
    async def following(self, app: object = None) -> AsyncIterator[None]:
        """A part of the app's lifespan, in which as many jobs run at once as the worker has places."""
        async with self.worker.following(self.queue):
            yield

    @property
    def profile(self):
        """The profile of the model behind all this."""
        return self.facts.profile

    @property
    def default_adapters(self) -> list[dict]:
        """The styles that are on unless the visitor says otherwise, as a request names them."""
        known = {adapter.id for adapter in self.library.all()}
        return [{"id": i, "weight": w} for i, w in self.profile.adapters if i in known]

    async def generate(
        self, values: Mapping, session: str | None, page: bool = False, again: bool = False
    ) -> AsyncGenerator[Update]:
        """Check the values, wait for a turn, paint. Raises AtelierError; closing it stops the painting.

        `again`: one of many that one click asked for, see FairQueue.enter.
        """
        with self.request_log.entry("generate", session, page) as entry:
            request = self._request(await self._decoded(values, session), session)
            self.request_log.asked(entry, request, self._shared())
            ticket = self.queue.enter(session, self.facts.expected_seconds(request), again)
            seal = Seal(self.credentials, values.get("image"))
            async with aclosing(self._painted(request, ticket, entry, seal)) as updates:
                async for update in updates:
                    if update.images:
                        entry.done()
                    yield update

    async def live(
        self, values: Mapping, key: object, session: str | None, page: bool = False
    ) -> AsyncGenerator[Update]:
        """Paint as `generate` does, but behind all others, and only until a newer wish of that key or session comes:
        resting with its place, painting, and done or superseded. Raises AtelierError; closing it stops the painting.

        What is done is remembered for `live_wishes.last(key)`.
        """
        if why := self.worker.no_live:
            raise InvalidRequest("live_key", key, f"empty here: {why}")
        with self.live_wishes.wish(key, session) as overtaken, self.request_log.entry("live", session, page) as entry:
            request = self._request(await self._decoded(values, session), session)
            self.request_log.asked(entry, request, self._shared())
            seal = Seal(self.credentials, values.get("image"))
            while not overtaken.is_set():
                ticket = self.queue.enter(session, self.facts.expected_seconds(request), last=True)
                async with aclosing(until(overtaken, self._painted(request, ticket, entry, seal))) as updates:
                    async for update in updates:
                        if update.details["status"] == "waiting":
                            yield Update(update.details | {"status": "resting"})
                        elif update.images:
                            self.live_wishes.keep(key, update)
                            yield update
                            return
                        elif self.queue.waiting:
                            # Somebody has come: to them the engine goes, and all of this begins anew behind them.
                            break
                        else:
                            yield update
            entry.outcome = "superseded"
            yield Update({"status": "superseded"})

    def estimate(self, values: Mapping, session: str | None) -> dict:
        """What a request comes to before it is sent: seconds, place in the queue. Raises AtelierError.

        A picture is not opened: it costs what any other does.
        """
        request = self._request(_unread(values), session)
        seconds = round(self.facts.expected_seconds(request), 1)
        return {"status": "planned", "expected_seconds": seconds, **self.turn(session)}

    def turn(self, session: str | None) -> dict:
        """`place` in the queue of a request that came now, 0 where it would begin at once, and in how many seconds.

        Raises AtelierError.
        """
        ahead = self.queue.estimate(session)
        return {"place": ahead.place, "starts_in": ahead.expected_seconds}

    async def plan(self, values: Mapping, axes: Mapping, session: str | None) -> dict:
        """What a comparison comes to before it is sent: cells, seconds, axes, place. Raises AtelierError."""
        return self._planned(await self._grid(_unread(values), axes, session)) | self.turn(session)

    async def compare(
        self, values: Mapping, axes: Mapping, session: str | None, page: bool = False
    ) -> AsyncGenerator[Update]:
        """Paint the cells of a comparison, each as if it came alone: planned, waiting, painting, "cell" with its file.

        Each has a ticket of its own, so whoever waits has a turn between two of them. At last the sheet. Raises
        AtelierError; closing it stops the painting.
        """
        with self.request_log.entry("compare", session, page) as entry:
            wanted = await self._grid(await self._decoded(values, session), axes, session)
            self.request_log.asked(entry, wanted.cells[0].request, self._shared(), len(wanted.cells))
            yield Update(self._planned(wanted), grid=wanted)
            begun = values.get("image")
            files: list[bytes] = []
            details: list[dict] = []
            for number, cell in enumerate(wanted.cells):
                where = {"cell": number, "cells": len(wanted.cells)}
                ticket = self.queue.enter(session, self.facts.expected_seconds(cell.request), again=number > 0)
                seal = Seal(self.credentials, begun)
                async with aclosing(self._painted(cell.request, ticket, entry, seal)) as updates:
                    async for update in updates:
                        said = {k: v for k, v in update.details.items() if k not in ("image", "images")}
                        if update.images:
                            files += update.images
                            said |= {"status": "cell", "column": cell.column, "row": cell.row, "page": cell.page}
                            details.append(said)
                        yield Update(said | where, update.images)
            drawn = await asyncio.to_thread(sheet_file, wanted, files, details)
            drawn = await Seal(self.credentials, begun).file(drawn, details[0])
            entry.done()
            yield Update({"status": "done", **wanted.public, "cells": details}, (drawn,))

    def _request(self, values: Mapping, session: str | None) -> GenerationRequest:
        return GenerationRequest.create(
            values, self.facts.limits, self._finder(session), self.wildcards, self.library.embeddings(session)
        )

    async def _decoded(self, values: Mapping, session: str | None) -> Mapping:
        """The values, with picture files decoded to the size that they ask for, once all else is judged."""
        files = [field for field in PICTURES if isinstance(values.get(field.name), bytes)]
        if not files:
            return values
        size = self._request(_unread(values), session).inner_size
        return {**values, **{field.name: await self.decoder.picture(values[field.name], *size, field.name, field.mode)
                             for field in files}}  # fmt: skip

    async def _grid(self, values: Mapping, axes: Mapping, session: str | None) -> Grid:
        """Checked in a thread: it is up to 64 requests."""
        finder = self._finder(session)
        known = self.library.embeddings(session)
        return await asyncio.to_thread(grid, values, axes, self.facts.limits, finder, self.wildcards, known)

    def _planned(self, wanted: Grid) -> dict:
        last = wanted.cells[0].request.passes[-1]
        seconds = sum(self.facts.expected_seconds(cell.request) for cell in wanted.cells)
        return {"status": "planned", **wanted.public, "cells": len(wanted.cells), "expected_seconds": round(seconds, 1),
                "width": last.width, "height": last.height}  # fmt: skip

    async def _painted(
        self, request: GenerationRequest, ticket: Ticket, entry: Entry, seal: Seal
    ) -> AsyncGenerator[Update]:
        """Wait for the turn of a ticket, paint, and give it back."""
        stage = "waited"
        try:
            async for place in self.queue.wait(ticket):
                yield Update({"status": "waiting", **asdict(place), **self.queue.stalled})
            entry.lap(stage)
            stage = "painted"
            # What gives way to others hears of them at each step.
            apart = (lambda: 0.0) if ticket.last else self._apart
            async with aclosing(self.worker.paint(request, apart)) as news:
                begun = {"status": "painting", "image": 0, "images": request.num_images, "step": 0,
                         "steps": request.total_steps, "preview": None}  # fmt: skip
                update, again = Update(begun), {}
                async for item in news:
                    if isinstance(item, Finished):
                        yield replace(update, finished=await seal.finished(item))
                        continue
                    if isinstance(item, Restarted):
                        again = {"restarts": item.attempt}
                        update = Update(begun | again)
                    elif isinstance(item, Generation):
                        # The engine is free: whoever is next need not wait until this one's files are written.
                        self.queue.leave(ticket)
                        entry.lap(stage)
                        stage = "sent"
                        self.facts.observe(request, item.details)
                        update = told(await seal.generation(item))
                        update.details["warnings"] = [*warnings(request.mix[0]), *seal.lost(request)]
                    elif item:
                        update = told(item)
                        update.details.update(again)
                    # Without news the same again: gradio notices at a yield that nobody listens any more.
                    yield update
        finally:
            self.queue.leave(ticket)
            entry.lap(stage)

    def tokenize(self, prompt: object, adapters: object = (), session: str | None = "") -> dict:
        """How a prompt is read, which trigger words of the adapters of these ids it has, and what it names as an
        adapter though there is none. Raises AtelierError.
        """
        prompt, find = text("prompt", prompt), self._finder(session)
        on = adapter_ids(adapters, find)
        words = {"triggers": trigger_words(prompt, on), "unknown": unknown_tags(prompt, find)}
        taught = [word for adapter in (*on, *self.library.embeddings(session)) for word in adapter.words]
        return self.facts.tokenize(prompt, self.wildcards, tuple(taught)) | words

    def tiers(self, session: str | None = "") -> list[dict]:
        """The speed tiers of this model, few-step ones among them for the adapters that the session can use."""
        return tiers(self.facts.limits, self.library.all(session), self.profile.base, self.library.file_bytes)

    def schedule(self, scheduler: object, steps: object) -> dict:
        """The noise levels of a preset, for drawing. Raises AtelierError."""
        preset = checks.scheduler(scheduler, self.facts.limits)
        return {"sigmas": self.facts.sigmas(preset, checks.steps("steps", steps, preset, self.facts.limits))}

    async def inspect(
        self, file: object, repo_id: object, session: str | None, uploads: Uploads, page: bool = False
    ) -> dict:
        """Judge an uploaded file or one of the Hub; one that fits gets an id for that session. Raises AtelierError."""
        with self.request_log.entry("inspect_adapter", session, page):
            if file is not None and repo_id not in ("", None):
                raise InvalidRequest("repo_id", repo_id, "empty where a file is given")
            if file is None and repo_id in ("", None):
                raise InvalidRequest("file", None, "an uploaded file where repo_id is empty")
            if file is None:
                received = await self._fetchers.run(self.library.fetch, repo_id, session)
            else:
                path, name = uploaded("file", file, uploads)
                try:
                    received = await self._readers.run(self.library.receive, path, name, session)
                finally:
                    # The library has its own copy; this one would lie there for an hour.
                    uploads.forget(path)
            return received.public()

    async def read_picture(self, file: object, session: str | None, uploads: Uploads, page: bool = False) -> dict:
        """What an uploaded picture says of how it was made, as `restored`, and `marks`, in words what else it says:
        who made it, and with what right. Raises AtelierError.
        """
        with self.request_log.entry("read_picture", session, page):
            path, _ = uploaded("file", file, uploads)
            check_size("file", path, MAX_BYTES)
            data = await asyncio.to_thread(path.read_bytes)
            marks = await self.decoder.marks(data)
            try:
                said = await self.decoder.metadata(data)
            except Untold as error:
                raise Untold(error.field, marks) from None
            return self.restored(said, session) | {"marks": marks}

    def restored(self, said: str, session: str | None) -> dict:
        """`values` for a request out of a picture's text, and `notes` in words on what could not be restored."""
        values, notes = restore(said, self.facts.limits, self.library.all(session), self.profile.name)
        return {"values": values, "notes": notes}

    async def search(self, words: object, session: str | None = "", page: bool = False) -> list[dict]:
        """Adapters on the Hub for this model's family. Raises AtelierError."""
        with self.request_log.entry("search_adapters", session, page):
            found = self._fetchers.run(self.library.search, text("words", words), self.profile.family.name)
            return await found

    async def export(
        self, adapters: object, rank: object, session: str | None, page: bool = False
    ) -> AsyncGenerator[tuple[Path | None, dict]]:
        """Wait for a turn and write a mix as one file: (None, place) while waiting, then (file, details).

        The file is deleted when the next is asked for. Raises AtelierError.
        """
        with self.request_log.entry("export_adapters", session, page) as entry:
            mix = adapter_mix(adapters, self._finder(session))
            cut = whole("rank", rank, 0, MAX_RANK, note=" (0: exact)") or None
            ticket = self.queue.enter(session, EXPORT_SECONDS)
            try:
                async for place in self.queue.wait(ticket):
                    yield None, {"status": "waiting", **asdict(place)}
                with TemporaryDirectory(prefix="atelier-") as folder:
                    path = Path(folder) / "atelier-mix.safetensors"
                    exported = await self.worker.export(mix, cut, path)
                    self.queue.leave(ticket)
                    entry.done()
                    yield path, {"status": "done", **exported.public(), "warnings": warnings(mix)}
            finally:
                self.queue.leave(ticket)

    async def lend(self, owner: str, session: str | None) -> None:
        """Let a session use what an owner keeps, by the owner's hash. Where that cannot be read it paints without."""
        if self.styles and session:
            with suppress(StylesError):
                await asyncio.to_thread(self._lend, self.styles, owner, session)

    def _lend(self, styles: Styles, owner: str, session: str) -> None:
        self.library.lend(session, [kept.adapter for kept in styles.all(owner)])

    def state(self) -> dict:
        """The app in numbers, none of them about one visitor."""
        queue = self.queue.status() | {"places": self.queue.places}
        return {"profile": self.profile.name, "queue": queue, "requests": dict(self.request_log.outcomes),
                "adapters": self.library.count(), **self.worker.state(),
                "step_seconds": self.facts.step_seconds}  # fmt: skip

    def forget(self, session: str | None) -> None:
        """The session has ended: delete what it brought."""
        if session:
            self.library.forget(session)

    def _apart(self) -> float:
        """Seconds between two previews: while others wait they must not slow down the engine."""
        return CROWDED if self.queue.status()["waiting"] else 0.0

    def _shared(self) -> set[str]:
        return {adapter.id for adapter in self.library.all()}

    def _finder(self, session: str | None):
        return partial(self.library.find, session=session)


def _unread(values: Mapping) -> Mapping:
    """The values, with a stand-in for each picture file."""
    return {**values, **{f.name: UNREAD for f in PICTURES if isinstance(values.get(f.name), bytes)}}


def told(item: DenoiseStep | Generation) -> Update:
    """A step or the result in the words of the API."""
    if isinstance(item, Generation):
        return Update({"status": "done", **item.details}, item.images)
    preview = item.preview and "data:image/jpeg;base64," + base64.b64encode(item.preview).decode()
    return Update(
        {"status": "painting", "image": item.image, "images": item.images, "step": item.step, "steps": item.steps,
         "preview": preview}
    )  # fmt: skip


def sheet_file(wanted: Grid, files: list[bytes], details: list[dict]) -> bytes:
    """The sheet of the cells that are painted as a PNG file that says how it was made, as its cells do."""
    first = wanted.cells[0].request
    cells = [*files, *[None] * (len(wanted.cells) - len(files))]
    told = infotext.write(details[0], more=wanted.infotext) if first.metadata else ""
    return encode_png(sheet(wanted, cells), told, packet(first.begun_with))
