"""The end of the app: who is being painted for gets the picture, who waits is told, nobody else comes in."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from starlette.applications import Starlette

from serving.queue import FairQueue

# What an answer may take from the end of its job until it is sent: it is kept in the history in between.
ANSWER_SECONDS = 10.0


class Served(Protocol):
    """What is to be closed: a gradio Blocks that was launched."""

    is_running: bool
    server: Any

    @property
    def answering(self) -> bool:
        """Whether somebody waits for an answer that has not gone out yet."""
        ...

    def close(self, verbose: bool = True) -> None:
        """Stop serving."""


class GracefulShutdown:
    """Knows the event loop that the queue lives on, and waits there for the job that runs."""

    def __init__(self, queue: FairQueue, seconds: float):
        self._queue = queue
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = False

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Entered on the server's loop before the first request."""
        self._loop = asyncio.get_running_loop()
        yield

    def listen(self) -> None:
        """From now on SIGTERM ends `serve` instead of the process. In the main thread, before the server is there."""

        def asked(*_: object) -> None:
            self._asked = True

        signal.signal(signal.SIGTERM, asked)

    def serve(self, demo: "Served") -> None:
        """Block until SIGTERM comes, let the running job end within the seconds that it has, and close the server."""
        busy = False
        try:
            while demo.is_running and not self._asked:
                time.sleep(0.1)
            # The server was launched before, and its lifespan with it.
            assert self._loop is not None
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            busy = not self._ends(lambda: self._queue.status()["running"] == 0, self._seconds)
            if not busy:
                self._ends(lambda: not demo.answering, ANSWER_SECONDS)
        except KeyboardInterrupt:
            # Somebody sits at the terminal and does not want to wait.
            busy = True
        # What still runs is cancelled with the loop, and ends within its step.
        demo.server.force_exit = busy
        demo.close(verbose=False)

    @staticmethod
    def _ends(over: Callable[[], bool], seconds: float) -> bool:
        """Wait until it is `over`, which is then true, or so long."""
        deadline = time.monotonic() + seconds
        while not (ended := over()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return ended

    async def _shut(self) -> None:
        self._queue.shut()
