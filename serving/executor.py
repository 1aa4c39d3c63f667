"""Blocking work for visitors, off the event loop and bounded."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lora.errors import Busy

T = TypeVar("T")


class BoundedExecutor:
    """Threads that run `at_once` calls and let as many more wait as `waiting` says."""

    def __init__(self, name: str, at_once: int, waiting: int):
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._most = at_once + waiting
        self._open = 0

    async def run(self, work: Callable[..., T], *values: object) -> T:
        """What `work(*values)` gives. Raises Busy where too many wait already."""
        if self._open >= self._most:
            raise Busy("Too many files are being looked at just now; try again in a minute.")
        self._open += 1
        job = asyncio.get_running_loop().run_in_executor(self._threads, work, *values)
        # Counted until the thread is free, also where nobody waits for it any more.
        job.add_done_callback(self._done)
        return await asyncio.shield(job)

    def _done(self, job: asyncio.Future) -> None:
        self._open -= 1
        if not job.cancelled():
            job.exception()
