"""Jobs of the page: each is done by a task of the app and only watched by the page, so a reload loses nothing."""

import asyncio
import contextvars
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from lora.errors import InvalidRequest, UnknownJob
from serving.history import owner_hash
from serving.queue import job_name

# How many desks whose jobs have all ended are remembered, and for how many seconds.
MOST_ENDED, REMEMBERED = 200, 3600.0
# What the page says in a line of a job that it does not show.
BRIEF = ("status", "place", "expected_seconds", "message", "run", "runs")


# What is shown of an error, and what of it is to be raised where the job is watched, for it holds more than words.
Ending = tuple[str, Exception | None]


@dataclass(eq=False)
class Job:
    """One job: its name, whose session's it is, what it is called, what it has come to, and its error, if any."""

    name: str
    session: str | None
    title: str
    shown: dict = field(default_factory=lambda: {"status": "sent"})
    error: Exception | None = None
    ended: float | None = None
    task: asyncio.Task = field(init=False)

    @property
    def brief(self) -> dict:
        """The job in a line."""
        return {"job": self.name, "title": self.title, **{k: self.shown[k] for k in BRIEF if k in self.shown}}


@dataclass(eq=False)
class Desk:
    """The jobs of one page, in the order in which they were begun, and what was finished last. Pages watch it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    last: dict | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    grace: asyncio.TimerHandle | None = None

    @property
    def live(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for job in self.jobs.values() if job.ended is None]

    def tell(self, job: Job, shown: dict) -> None:
        """This is what the job has come to; whoever waits for news is woken. What it has finished is its `last`."""
        finished = shown if shown["status"] == "done" else shown.get("last")
        self.last = finished or self.last
        job.shown = {name: value for name, value in shown.items() if name != "last"}
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    def view(self) -> dict:
        """What a page is to show: the job in front, `others` in a line each, and what was finished `last`."""
        live = self.live
        begun = [job for job in live if job.shown["status"] not in ("sent", "waiting")]
        front = next(iter([*begun, *live]), None) or max(self.jobs.values(), key=lambda job: job.ended or 0.0)
        waiting = sorted((job for job in live if job is not front), key=lambda job: job.shown.get("place", 0))
        failed = [job for job in self.jobs.values() if job.shown["status"] == "failed" and job is not front]
        others = [job.brief for job in waiting + failed]
        return front.shown | {"job": front.name, "others": others} | ({"last": self.last} if self.last else {})


class Jobs:
    """Jobs by the hash of their owner's secret, their page's desk and an id, both made up there. Lives on one loop."""

    def __init__(
        self,
        forget: Callable[[str | None], None],
        grace: float = 20.0,
        pulse: float = 1.0,
        ending: Callable[[Exception], Ending] = lambda error: (str(error), None),
        sooner: Callable[[str | None, str], None] = lambda session, job: None,
    ):
        """`forget` deletes what a session brought. Jobs that nobody has watched for `grace` seconds are cancelled: a
        closed page must not hold the queue. `ending` tells how an error is shown. `sooner` puts a job of a session
        before its others.
        """
        self._forget, self._grace, self._pulse, self._ending, self._sooner = forget, grace, pulse, ending, sooner
        self._desks: dict[tuple[str, str], Desk] = {}
        self._left: set[str | None] = set()
        # What was cancelled before it began: requests may overtake each other.
        self._unbegun: deque[tuple[str, object, object]] = deque(maxlen=MOST_ENDED)

    def start(
        self,
        secret: object,
        desk: object,
        identity: object,
        session: str | None,
        work: AsyncGenerator[dict],
        title: str = "",
    ) -> bool:
        """Begin a job. `work` yields what its page is to show; what it raises is its end.

        Whether somebody watches the desk already. Raises InvalidRequest where the secret is none, the desk's id cannot
        be one or the job's is no new one.
        """
        owner = owner_hash(secret)
        for field_name, value in (("desk", desk), ("job", identity)):
            if not is_name(value):
                raise InvalidRequest(field_name, value, "16 to 128 letters, digits, - and _")
        place = self._desks.get((owner, str(desk))) or Desk()
        if identity in place.jobs:
            raise InvalidRequest("job", identity, "one that has not begun yet")
        self._prune()
        self._desks[owner, str(desk)] = place
        # What failed stays told while others run.
        keep = place.live
        place.jobs = {j.name: j for j in place.jobs.values() if keep and (j in keep or j.shown["status"] == "failed")}
        job = place.jobs[str(identity)] = Job(str(identity), session, title)
        # A context like this one: spaces looks for the visitor's request in it, and the queue for the job.
        context = contextvars.copy_context()
        context.run(job_name.set, job.name)
        job.task = asyncio.create_task(self._run(place, job, work), context=context)
        # Called also where it is cancelled before it begins.
        job.task.add_done_callback(partial(self._ended, place, job))
        if (owner, desk, identity) in self._unbegun:
            self.cancel(secret, desk, identity)
        place.ring()
        self._unwatched(place)
        return place.watchers > 0

    async def watch(self, secret: object, desk: object) -> AsyncGenerator[dict]:
        """Yield what the page is to show, the newest only, until all jobs have ended; without news the same again.

        Raises UnknownJob, and what `ending` has left to raise.
        """
        place = self._find(secret, desk)
        place.watchers += 1
        if place.grace:
            place.grace.cancel()
        try:
            while True:
                news, over = place.news, not place.live
                yield place.view()
                if over and not place.live:
                    break
                await heard(news, self._pulse)
        finally:
            place.watchers -= 1
            self._unwatched(place)
        for job in place.jobs.values():
            if error := job.error:
                job.error = None
                raise error

    def cancel(self, secret: object, desk: object, identity: object) -> None:
        """Stop a job, waiting or running; what it has finished stays. One that has failed is forgotten.

        Its page is told at once, though a step may take the engine a while. Raises UnknownJob, and cancels the job if
        it begins afterwards.
        """
        try:
            place = self._find(secret, desk)
            job = self._job(place, identity)
        except UnknownJob:
            # What could not begin is not kept, however long it is.
            if is_name(desk) and is_name(identity):
                self._unbegun.append((owner_hash(secret), desk, identity))
            raise
        if job.ended is None:
            job.task.cancel()
            self._end(place, job, {**job.shown, "status": "cancelled"})
        elif len(place.jobs) > 1:
            del place.jobs[job.name]
            place.ring()

    def sooner(self, secret: object, desk: object, identity: object) -> None:
        """Let a job that waits come before the others of its session. Raises UnknownJob."""
        job = self._job(self._find(secret, desk), identity)
        self._sooner(job.session, job.name)

    def leave(self, session: str | None) -> None:
        """The session has ended: delete what it brought, once its jobs need it no more."""
        jobs = (job for desk in self._desks.values() for job in desk.jobs.values())
        if any(job.session == session and not job.task.done() for job in jobs):
            self._left.add(session)
        else:
            self._forget(session)

    async def _run(self, desk: Desk, job: Job, work: AsyncGenerator[dict]) -> None:
        try:
            async with aclosing(work) as news:
                async for shown in news:
                    if job.ended is None:
                        desk.tell(job, shown)
        except Exception as error:
            message, raised = self._ending(error)
            if job.ended is None:
                job.error = raised
                desk.tell(job, job.shown | {"status": "failed", "message": message})

    def _ended(self, desk: Desk, job: Job, task: asyncio.Task) -> None:
        self._end(desk, job, job.shown | {"status": "cancelled"} if task.cancelled() else job.shown)
        if job.session in self._left:
            self._left.discard(job.session)
            self.leave(job.session)

    def _end(self, desk: Desk, job: Job, shown: dict) -> None:
        if job.ended is None:
            job.ended = time.monotonic()
            desk.tell(job, shown)

    def _find(self, secret: object, desk: object) -> Desk:
        place = self._desks.get((owner_hash(secret), desk if isinstance(desk, str) else ""))
        if place is None:
            raise UnknownJob("There is no such job of yours.")
        return place

    def _job(self, desk: Desk, identity: object) -> Job:
        job = desk.jobs.get(identity) if isinstance(identity, str) else None
        if job is None:
            raise UnknownJob("There is no such job of yours.")
        return job

    def _unwatched(self, desk: Desk) -> None:
        if desk.grace:
            desk.grace.cancel()
        if not desk.watchers and desk.live:
            desk.grace = asyncio.get_running_loop().call_later(self._grace, self._give_up, desk)

    def _give_up(self, desk: Desk) -> None:
        for job in desk.live:
            job.task.cancel()

    def _prune(self) -> None:
        """Forget desks whose jobs ended long ago, and of many the first; the history has their pictures."""
        idle = [(key, desk) for key, desk in self._desks.items() if not (desk.live or desk.watchers)]
        for i, (key, desk) in enumerate(idle):
            ended = max((job.ended or 0.0 for job in desk.jobs.values()), default=0.0)
            if i < len(idle) - MOST_ENDED or time.monotonic() - ended > REMEMBERED:
                del self._desks[key]


def is_name(value: object) -> bool:
    """Whether a page can have made it up as the id of a desk or a job."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]{16,128}", value, re.ASCII) is not None


async def heard(news: asyncio.Event, seconds: float) -> None:
    """Wait until there are news, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
