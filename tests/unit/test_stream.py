"""From a generator in a thread to the event loop: the newest wins, nothing blocks, it stops in a step (F2, F3)."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import ContextVar

import pytest

from pipeline.engine import DenoiseStep, Generation
from serving.stream import newest

DONE = Generation(images=(b"png",), details={})


class Source:
    """A run that counts its steps and knows whether, and in which thread, it was closed.

    Where `steps_may` is given each step waits until it is released there, and no clock plays a part.
    """

    def __init__(self, steps=1000, seconds=0.01, cleanup=0.0, error=None, steps_may=None):
        self.steps, self.seconds, self.cleanup, self.error = steps, seconds, cleanup, error
        self.steps_may = steps_may
        self.taken, self.closed = 0, threading.Event()

    def __call__(self):
        try:
            for step in range(1, self.steps + 1):
                if self.steps_may:
                    assert self.steps_may.acquire(timeout=60)
                else:
                    time.sleep(self.seconds)
                self.taken = step
                yield DenoiseStep(0, 1, step, self.steps, None)
            time.sleep(self.seconds)
            if self.error:
                raise self.error
            yield DONE
        finally:
            time.sleep(self.cleanup)
            self.thread = threading.current_thread()
            self.closed.set()


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def collect(source, executor, pause=0.0, **options):
    async def run():
        items = []
        async for item in newest(source, executor, **options):
            # None comes first, and with an `options` pulse between.
            if item is not None or options:
                items.append(item)
            await asyncio.sleep(pause)
        return items

    return asyncio.run(run())


def test_a_quick_viewer_sees_every_step_and_the_result(executor):
    may = threading.Semaphore(1)

    async def run():
        items = []
        async for item in newest(Source(steps=5, steps_may=may), executor):
            if item:
                items.append(item)
                # Only now the next step: it has been seen in time, whatever else this machine does.
                may.release()
        return items

    *steps, last = asyncio.run(run())
    assert [s.step for s in steps] == [1, 2, 3, 4, 5] and last is DONE


def test_a_slow_viewer_sees_the_newest_and_never_misses_the_result(executor):
    *steps, last = collect(Source(steps=40, seconds=0.002), executor, pause=0.04)
    shown = [s.step for s in steps]
    assert last is DONE and shown == sorted(set(shown)) and len(shown) < 10


def test_steps_keep_their_distance_where_it_is_asked_and_the_result_does_not_wait(executor):
    began = time.monotonic()
    *steps, last = collect(Source(steps=30, seconds=0.01), executor, apart=lambda: 60.0)
    assert [s.step for s in steps if s] == [1] and last is DONE and time.monotonic() - began < 30
    crowded = iter([True] * 4 + [False] * 100)
    *steps, _ = collect(Source(steps=10, seconds=0.03), executor, apart=lambda: 60.0 if next(crowded) else 0.0)
    shown = [s.step for s in steps if s]
    assert shown[0] == 1 and shown[-1] == 10 and not {2, 3, 4} & set(shown)


def test_a_step_that_was_held_back_is_told_at_the_next_pulse(executor):
    def source():
        yield DenoiseStep(0, 1, 1, 2, None)
        time.sleep(0.05)
        yield DenoiseStep(0, 1, 2, 2, None)
        time.sleep(0.5)
        yield DONE

    items = collect(source, executor, pulse=0.1, apart=lambda: 60.0)
    assert [item.step for item in items if isinstance(item, DenoiseStep)] == [1, 2] and items[-1] is DONE


def test_an_exception_arrives_after_all_that_came_before_it(executor):
    with pytest.raises(ValueError, match="burnt"):
        collect(Source(steps=3, error=ValueError("burnt")), executor, pause=0.05)


def test_without_news_there_is_a_pulse(executor):
    items = collect(Source(steps=1, seconds=0.2), executor, pulse=0.03)
    assert items[0] is None and items.count(None) >= 4 and items[-1] is DONE


def test_f2_closing_stops_the_source_within_one_step_in_its_own_thread(executor):
    source = Source(steps_may=(may := threading.Semaphore(3)))

    async def run():
        async with aclosing(newest(source, executor)) as items:
            async for item in items:
                if item and item.step == 3:
                    break
        may.release(1000)

    asyncio.run(run())
    assert source.closed.wait(60)
    assert source.taken <= 4
    assert source.thread is not threading.main_thread()


def test_f2_cancelling_the_task_stops_the_source_within_one_step(executor):
    source = Source(steps_may=(may := threading.Semaphore(3)))

    async def run():
        seen = asyncio.Event()

        async def consume():
            async for item in newest(source, executor):
                if item and item.step == 3:
                    seen.set()

        task = asyncio.create_task(consume())
        await seen.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        may.release(1000)

    asyncio.run(run())
    assert source.closed.wait(60)
    assert source.taken <= 4


def test_f2_a_run_that_was_cancelled_before_it_began_never_begins(executor):
    first, second = Source(steps=20), Source()

    async def run():
        ahead = newest(first, executor)
        for _ in range(2):
            await anext(ahead)
        task = asyncio.ensure_future(anext(newest(second, executor)))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ahead.aclose()

    asyncio.run(run())
    assert first.closed.wait(5)
    assert second.taken == 0


def test_f3_a_slow_cleanup_is_off_the_event_loop(executor):
    source = Source(cleanup=0.5)

    async def run():
        items = newest(source, executor)
        for _ in range(2):
            await anext(items)
        before = time.perf_counter()
        await items.aclose()
        await asyncio.sleep(0.05)
        assert not source.closed.is_set()
        return time.perf_counter() - before

    assert asyncio.run(run()) < 0.4


def test_the_thread_sees_the_context_of_the_caller(executor):
    visitor = ContextVar("visitor", default=None)
    seen = []

    def source():
        seen.append(visitor.get())
        yield DONE

    visitor.set("someone")
    collect(source, executor)
    assert seen == ["someone"]
