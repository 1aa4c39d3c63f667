"""The end of the app waits for the answers, not only for the job they come from."""

import asyncio
import threading
import time

import pytest

from serving.queue import FairQueue
from serving.shutdown import GracefulShutdown


class Demo:
    """What is to be closed: asked `asks` times whether it still answers, it does."""

    is_running = True

    def __init__(self, asks: int):
        self.asks, self.server, self.closed = asks, self, False
        self.force_exit: bool | None = None

    @property
    def answering(self) -> bool:
        self.asks -= 1
        return self.asks > 0

    def close(self, verbose: bool = True) -> None:
        self.closed = True


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def closed(loop, demo: Demo, running: int, seconds: float) -> float:
    """Shut the app down with so many jobs that never end; the seconds it took."""
    queue = FairQueue(8, 4)
    for _ in range(running):
        queue.enter("session", 60.0)
    shutdown = GracefulShutdown(queue, seconds)
    asyncio.run_coroutine_threadsafe(shutdown.lifespan(None).__aenter__(), loop).result(5)
    shutdown._asked = True
    before = time.monotonic()
    shutdown.serve(demo)
    assert demo.closed
    return time.monotonic() - before


def test_nothing_is_closed_while_an_answer_is_on_its_way(loop):
    demo = Demo(asks=4)
    closed(loop, demo, running=0, seconds=5)
    assert demo.asks == 0 and demo.force_exit is False


def test_a_job_that_takes_too_long_is_not_waited_for_twice(loop):
    demo = Demo(asks=1000)
    assert closed(loop, demo, running=1, seconds=0.3) < 2
    assert demo.asks == 1000 and demo.force_exit is True
