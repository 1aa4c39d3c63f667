"""Jobs of the page: each is done by a task of the app and only watched by the page, so a reload loses nothing."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from lora.errors import InvalidRequest, UnknownJob
from serving.history import owner_hash

# How many jobs that have ended are remembered, and for how many seconds.
MOST_ENDED, REMEMBERED = 200, 3600.0


# What is shown of an error, and what of it is to be raised where the job is watched, for it holds more than words.
Ending = tuple[str, Exception | None]


@dataclass(eq=False)
class Job:
    """One job: what its page shows now, how many pages do, and the error that it ended with, if any."""

    session: str | None
    shown: dict = field(default_factory=lambda: {"status": "sent"})
    news: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    watchers: int = 0
    ended: float | None = None
    task: asyncio.Task = field(init=False)
    grace: asyncio.TimerHandle | None = None

    def tell(self, shown: dict) -> None:
        """Show this from now on; whoever waits for news is woken."""
        self.shown = shown
        self.news.set()
        self.news = asyncio.Event()


class Jobs:
    """Jobs by the hash of their owner's secret and an id that their page made up. Lives on one event loop."""

    def __init__(
        self,
        forget: Callable[[str | None], None],
        grace: float = 20.0,
        pulse: float = 1.0,
        ending: Callable[[Exception], Ending] = lambda error: (str(error), None),
    ):
        """`forget` deletes what a session brought. A job that nobody has watched for `grace` seconds is cancelled: a
        closed page must not hold the queue. `ending` tells how an error is shown.
        """
        self._forget, self._grace, self._pulse, self._ending = forget, grace, pulse, ending
        self._jobs: dict[tuple[str, str], Job] = {}
        self._left: set[str | None] = set()

    def start(self, secret: object, identity: object, session: str | None, work: AsyncGenerator[dict]) -> None:
        """Begin a job. `work` yields what its page is to show; what it raises is its end.

        Raises InvalidRequest where the secret is none or the job's id is no new one.
        """
        owner = owner_hash(secret)
        if not isinstance(identity, str) or not re.fullmatch(r"[\w-]{16,128}", identity, re.ASCII):
            raise InvalidRequest("job", identity, "16 to 128 letters, digits, - and _")
        key = owner, identity
        if key in self._jobs:
            raise InvalidRequest("job", identity, "one that has not begun yet")
        self._prune()
        job = self._jobs[key] = Job(session)
        # With this context: spaces looks for the visitor's request in it.
        job.task = asyncio.create_task(self._run(job, work))
        # Called also where it is cancelled before it begins.
        job.task.add_done_callback(partial(self._ended, job))
        self._unwatched(job)

    async def watch(self, secret: object, identity: object) -> AsyncGenerator[dict]:
        """Yield what the page is to show, the newest only, until the job has ended; without news the same again.

        Raises UnknownJob, and what `ending` has left to raise.
        """
        job = self._find(secret, identity)
        job.watchers += 1
        if job.grace:
            job.grace.cancel()
        try:
            while True:
                news, shown = job.news, job.shown
                yield shown
                if shown is job.shown and job.ended is None:
                    await _heard(news, self._pulse)
                if shown is job.shown and job.ended is not None:
                    break
        finally:
            job.watchers -= 1
            self._unwatched(job)
        if job.error:
            raise job.error

    def cancel(self, secret: object, identity: object) -> None:
        """Stop one of the owner's jobs, waiting or running. Raises UnknownJob."""
        self._find(secret, identity).task.cancel()

    def leave(self, session: str | None) -> None:
        """The session has ended: delete what it brought, once its jobs need it no more."""
        if any(job.session == session and job.ended is None for job in self._jobs.values()):
            self._left.add(session)
        else:
            self._forget(session)

    async def _run(self, job: Job, work: AsyncGenerator[dict]) -> None:
        try:
            async with aclosing(work) as news:
                async for shown in news:
                    job.tell(shown)
        except Exception as error:
            message, job.error = self._ending(error)
            job.tell(job.shown | {"status": "failed", "message": message})

    def _ended(self, job: Job, task: asyncio.Task) -> None:
        job.ended = time.monotonic()
        job.tell(job.shown | {"status": "cancelled"} if task.cancelled() else job.shown)
        if job.session in self._left:
            self._left.discard(job.session)
            self.leave(job.session)

    def _find(self, secret: object, identity: object) -> Job:
        job = self._jobs.get((owner_hash(secret), identity if isinstance(identity, str) else ""))
        if job is None:
            raise UnknownJob("There is no such job of yours.")
        return job

    def _unwatched(self, job: Job) -> None:
        if not job.watchers and job.ended is None:
            job.grace = asyncio.get_running_loop().call_later(self._grace, job.task.cancel)

    def _prune(self) -> None:
        """Forget jobs that ended long ago, and of many the first; the history has their pictures."""
        ended = [(key, job) for key, job in self._jobs.items() if job.ended is not None]
        for i, (key, job) in enumerate(ended):
            if i < len(ended) - MOST_ENDED or time.monotonic() - (job.ended or 0.0) > REMEMBERED:
                del self._jobs[key]


async def _heard(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
