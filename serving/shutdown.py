"""The end of the app: who is being painted for gets the picture, who waits is told, nobody else comes in."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from starlette.applications import Starlette

from serving.queue import FairQueue


class Served(Protocol):
    """What is to be closed: a gradio Blocks that was launched."""

    is_running: bool
    server: Any

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
            deadline = time.monotonic() + self._seconds
            while (busy := self._queue.status()["running"] > 0) and time.monotonic() < deadline:
                time.sleep(0.1)
        except KeyboardInterrupt:
            # Somebody sits at the terminal and does not want to wait.
            busy = True
        # What still runs is cancelled with the loop, and ends within its step.
        demo.server.force_exit = busy
        demo.close(verbose=False)

    async def _shut(self) -> None:
        self._queue.shut()
