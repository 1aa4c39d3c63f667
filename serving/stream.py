"""From a generator in a thread to the event loop, without ever holding up the loop."""

import asyncio
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from pipeline.engine import DenoiseStep
from training import TrainingStep

# Of what a run tells, that which nobody needs any more once there is something newer.
STEPS = (DenoiseStep, TrainingStep)
Item = TypeVar("Item")


@dataclass(frozen=True)
class End:
    """The source has ended: by itself, or with `error`."""

    error: BaseException | None = None


async def newest(
    start: Callable[[], Iterator[Item]],
    executor: Executor,
    pulse: float = 1.0,
    apart: Callable[[], float] = lambda: 0.0,
) -> AsyncGenerator[Item | None]:
    """Run the generator that `start` makes in one thread of `executor` and yield what it yields.

    A step that the viewer had no time for gives way to what follows it; a picture or an exception never does.
    Steps come at least `apart()` seconds one after the other: each goes through all of the web server.
    None comes first, as soon as the run is on its way: what the viewer does with it costs the run nothing. It comes
    after `pulse` seconds without news too, for gradio notices only at a yield that its viewer has gone.
    Closing this generator sets a flag and returns: the thread closes the source after the step that it is in.
    """
    loop, stop, inbox = asyncio.get_running_loop(), threading.Event(), Inbox[Item](apart)

    def work() -> None:
        end = End()
        try:
            with closing(cast(Generator[Item], start())) as source:
                while not stop.is_set() and (item := next(source, None)) is not None:
                    loop.call_soon_threadsafe(inbox.deliver, item)
        except BaseException as error:
            end = End(error)
        loop.call_soon_threadsafe(inbox.deliver, end)

    # The thread gets this context, since spaces looks for the visitor's request in it.
    worker = loop.run_in_executor(executor, contextvars.copy_context().run, work)
    try:
        yield None
        while not isinstance(item := await inbox.take(pulse), End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        worker.cancel()


class Inbox(Generic[Item]):
    """What the thread has sent and the viewer has not seen. Lives on the event loop."""

    def __init__(self, apart: Callable[[], float]):
        self._apart, self._told = apart, -math.inf
        self._waiting: deque[Item | End] = deque()
        self._news = asyncio.Event()

    def deliver(self, item: Item | End) -> None:
        """Take in what was sent; it is news unless it is a step too soon after the last one."""
        if self._waiting and isinstance(self._waiting[-1], STEPS):
            self._waiting.pop()
        self._waiting.append(item)
        if not isinstance(item, STEPS) or time.monotonic() - self._told >= self._apart():
            self._news.set()

    async def take(self, pulse: float) -> Item | End | None:
        """The next news, or after `pulse` seconds whatever there is, if only None."""
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with news.
            async with asyncio.timeout(pulse):
                await self._news.wait()
        except TimeoutError:
            if not self._waiting:
                return None
        self._told, item = time.monotonic(), self._waiting.popleft()
        if not self._waiting:
            self._news.clear()
        return item
