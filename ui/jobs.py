"""Jobs of the page: each is painted by a task of the app and only watched by the page, so a reload loses nothing."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import gradio as gr

from lora.errors import HistoryError, InvalidRequest, UnknownJob, UnknownPicture
from ui.errors import in_words
from ui.files import shown_files
from ui.history import History, owner_hash
from ui.studio import Studio, Update

# How many jobs that have ended are remembered, and for how many seconds.
MOST_ENDED, REMEMBERED = 200, 3600.0


@dataclass(eq=False)
class Job:
    """One job: what its page shows now, how many pages do, and the error that it ended with, if any."""

    session: str
    shown: dict = field(default_factory=lambda: {"status": "sent"})
    news: asyncio.Event = field(default_factory=asyncio.Event)
    error: gr.Error | None = None
    watchers: int = 0
    ended: float | None = None
    task: asyncio.Task | None = None
    grace: asyncio.TimerHandle | None = None

    def tell(self, shown: dict) -> None:
        """Show this from now on; whoever waits for news is woken."""
        self.shown = shown
        self.news.set()
        self.news = asyncio.Event()


class Jobs:
    """Jobs by the hash of their owner's secret and an id that their page made up. Lives on one event loop."""

    def __init__(self, studio: Studio, history: History, grace: float = 20.0, pulse: float = 1.0):
        """A job that nobody has watched for `grace` seconds is cancelled: a closed page must not hold the queue."""
        self.studio, self.history = studio, history
        self._grace, self._pulse = grace, pulse
        self._jobs: dict[tuple[str, str], Job] = {}
        self._left: set[str] = set()

    def start(self, secret: object, identity: object, values: Mapping[str, object], session: str) -> None:
        """Begin a job. Raises InvalidRequest where the secret is none or the job's id is no new one."""
        owner = owner_hash(secret)
        if not isinstance(identity, str) or not re.fullmatch(r"[\w-]{16,128}", identity, re.ASCII):
            raise InvalidRequest("job", identity, "16 to 128 letters, digits, - and _")
        key = owner, identity
        if key in self._jobs:
            raise InvalidRequest("job", identity, "one that has not begun yet")
        self._prune()
        job = self._jobs[key] = Job(session)
        # With this context: spaces looks for the visitor's request in it.
        job.task = asyncio.create_task(self._run(job, key, values))
        # Called also where it is cancelled before it begins.
        job.task.add_done_callback(partial(self._ended, job))
        self._unwatched(job)

    async def watch(self, secret: object, identity: object) -> AsyncIterator[dict]:
        """Yield what the page is to show, the newest only, until the job has ended; without news the same again.

        One of before the last start of the app is looked up in the history. Raises UnknownJob, and gradio's own
        errors, those of `spaces`, which hold more than words.
        """
        owner, job = owner_hash(secret), self._find(secret, identity)
        if job is None:
            yield await self._of_history(owner, identity)
            return
        job.watchers += 1
        if job.grace:
            job.grace.cancel()
        try:
            while True:
                news, shown = job.news, job.shown
                yield shown
                if shown is job.shown and job.ended is not None:
                    break
                if shown is job.shown:
                    await _heard(news, self._pulse)
        finally:
            job.watchers -= 1
            self._unwatched(job)
        if job.error:
            raise job.error

    def cancel(self, secret: object, identity: object) -> None:
        """Stop one of the owner's jobs, waiting or running. Raises UnknownJob."""
        job = self._find(secret, identity)
        if job is None:
            raise UnknownJob("There is no such job of yours.")
        job.task.cancel()

    def leave(self, session: str) -> None:
        """The session has ended: delete what it brought, once its jobs need it no more."""
        if any(job.session == session and job.ended is None for job in self._jobs.values()):
            self._left.add(session)
        else:
            self.studio.forget(session)

    async def _run(self, job: Job, key: tuple[str, str], values: Mapping[str, object]) -> dict:
        """Paint, and give what is to be shown at the end."""
        try:
            with in_words():
                async with aclosing(self.studio.generate(values, job.session, page=True)) as updates:
                    async for update in updates:
                        if not update.images:
                            job.tell(update.details)
                kept = await kept_details(self.history, *key, update)
                files = await shown_files(update.images, update.details.get("seeds", []))
                return update.details | kept | {"images": files}
        except gr.Error as error:
            ours = error.title == "Error"
            job.error = None if ours else error
            return {"status": "failed", "message": error.message if ours else f"{error.title}."}

    def _ended(self, job: Job, task: asyncio.Task) -> None:
        job.ended = time.monotonic()
        job.tell({"status": "cancelled"} if task.cancelled() else task.result())
        if job.session in self._left:
            self._left.discard(job.session)
            self.leave(job.session)

    def _find(self, secret: object, identity: object) -> Job | None:
        return self._jobs.get((owner_hash(secret), identity if isinstance(identity, str) else ""))

    def _unwatched(self, job: Job) -> None:
        if not job.watchers and job.ended is None:
            job.grace = asyncio.get_running_loop().call_later(self._grace, job.task.cancel)

    async def _of_history(self, owner: str, identity: object) -> dict:
        try:
            kept = await asyncio.to_thread(self.history.of_job, owner, str(identity))
        except UnknownPicture:
            raise UnknownJob("There is no such job of yours.") from None
        public = self.history.public(kept)
        seeds = [picture["seed"] for picture in public["pictures"]]
        images = [{"url": picture["url"].removeprefix("/")} for picture in public["pictures"]]
        return kept.details | {"kept": kept.id, "images": images, "seeds": seeds}

    def _prune(self) -> None:
        """Forget jobs that ended long ago, and of many the first; the history has their pictures."""
        ended = [(key, job) for key, job in self._jobs.items() if job.ended is not None]
        for i, (key, job) in enumerate(ended):
            if i < len(ended) - MOST_ENDED or time.monotonic() - job.ended > REMEMBERED:
                del self._jobs[key]


async def kept_details(history: History, owner: str, job: str, update: Update) -> dict:
    """Keep the pictures of an update: `kept`, the id of the set, or why they were not kept as `notice`."""
    try:
        kept = await asyncio.to_thread(history.keep, owner, job, update.images, update.details)
    except HistoryError as error:
        return {"kept": "", "notice": str(error)}
    return {"kept": kept.id}


async def _heard(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
