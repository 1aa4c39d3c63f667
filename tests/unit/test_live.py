"""Live pictures: the newest wish of a visitor runs, within a step of the older one, and behind everybody else."""

import asyncio
import threading
import time

import pytest

from lora.errors import Busy, InvalidRequest, UnknownPicture
from lora.library import Library
from pipeline.engine import DenoiseStep, Generation
from serving.generation import GenerationService
from serving.live import LiveWishes, until
from serving.queue import FairQueue
from serving.workers.local import LocalWorker
from serving.workers.zerogpu import ZeroGpuWorker
from tests.unit.test_generation import Engine

KEY, OTHER = "k" * 16, "other-live-key-16"
STEP = 0.05


class Painter:
    """Paints four steps of `STEP` seconds each; what it began and the steps that it did."""

    def __init__(self):
        self.steps: list[str] = []
        self.at_work = threading.Lock()

    def __call__(self, request):
        with self.at_work:
            for step in range(1, 5):
                time.sleep(STEP)
                self.steps.append(request.prompt)
                yield DenoiseStep(0, 1, step, 4, None)
            yield Generation((request.prompt.encode(),), {"seed": 1, "seeds": [1], "timings": {"total": 1.0}})


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def service(painter):
    return GenerationService(LocalWorker(Engine(), painter), Library([]), FairQueue(4, 2))


async def said(service, prompt, key=KEY, session="someone"):
    return [update async for update in service.live({"prompt": prompt}, key, session)]


def statuses(updates):
    return [update.details["status"] for update in updates]


def test_a_live_picture_is_one_like_any_other(service):
    async def both():
        plain = [update async for update in service.generate({"prompt": "a"}, "someone")]
        return plain, await said(service, "a")

    plain, live = asyncio.run(both())
    assert plain[-1] == live[-1] and statuses(live)[-1] == "done"
    assert service.live_wishes.last(KEY) == live[-1]
    assert service.request_log.outcomes["done"] == 2


@pytest.mark.parametrize(("key", "session"), [(KEY, "another"), (OTHER, "someone"), (OTHER, "another")])
def test_a_newer_wish_ends_the_older_one_within_a_step(service, painter, key, session):
    async def wish():
        older = asyncio.create_task(said(service, "older"))
        await asyncio.sleep(1.5 * STEP)
        began = time.monotonic()
        newer = asyncio.create_task(said(service, "newer", key, session))
        first = await older
        return first, time.monotonic() - began, await newer

    older, seconds, newer = asyncio.run(wish())
    related = (key, session) != (OTHER, "another")
    assert statuses(older)[-1] == ("superseded" if related else "done")
    assert newer[-1].images == (b"newer",)
    if related:
        assert seconds < STEP and painter.steps.count("older") <= 2
        assert service.request_log.outcomes["superseded"] == 1
    assert service.queue.status()["running"] == 0


def test_of_many_wishes_only_the_last_one_comes_to_something(service):
    async def type_fast():
        wishes = []
        for i in range(8):
            wishes.append(asyncio.create_task(said(service, f"{i}")))
            await asyncio.sleep(STEP / 3)
        return await asyncio.gather(*wishes)

    ends = [statuses(updates)[-1] for updates in asyncio.run(type_fast())]
    assert ends == ["superseded"] * 7 + ["done"]
    assert service.live_wishes.last(KEY).images == (b"7",)


def test_it_rests_while_others_have_jobs_and_says_so(service, painter):
    async def beside():
        live = asyncio.create_task(said(service, "live"))
        await asyncio.sleep(1.5 * STEP)
        others = [asyncio.create_task(_painted(service, f"other {i}", f"visitor {i}")) for i in range(2)]
        return await live, await asyncio.gather(*others)

    live, _ = asyncio.run(beside())
    order = [painter.steps[0], *(b for a, b in zip(painter.steps, painter.steps[1:]) if a != b)]
    assert order == ["live", "other 0", "other 1", "live"]
    assert "resting" in statuses(live) and statuses(live)[-1] == "done"
    assert next(u.details["place"] for u in live if u.details["status"] == "resting") == 2


async def _painted(service, prompt, session):
    return [update async for update in service.generate({"prompt": prompt}, session)]


def test_closing_it_gives_everything_back(service, painter):
    async def leave():
        stream = service.live({"prompt": "a"}, KEY, "someone")
        await anext(stream)
        await stream.aclose()
        assert service.queue.status()["running"] == 0 and not service.live_wishes._running
        resting = service.queue.enter("b", 1)
        other = service.live({"prompt": "b"}, KEY, "someone")
        assert (await anext(other)).details["status"] == "resting"
        await other.aclose()
        service.queue.leave(resting)
        assert service.queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}

    asyncio.run(leave())


@pytest.mark.parametrize("key", ["short", "", None, 7, "a b" * 8, "k" * 129])
def test_a_key_is_one_or_refused(service, key):
    with pytest.raises(InvalidRequest, match=r"live_key is .* must be 16 to 128 letters"):
        asyncio.run(said(service, "a", key))


def test_where_a_gpu_is_lent_for_each_picture_it_says_why_nothing_is_live(service):
    assert not service.worker.no_live
    service.worker = ZeroGpuWorker(Engine())
    with pytest.raises(InvalidRequest, match=r"live_key is .*, but must be empty here: a GPU is lent here for each"):
        asyncio.run(said(service, "a"))


def test_what_is_wrong_is_said_before_anything_runs(service, painter):
    with pytest.raises(InvalidRequest, match="steps is 0"):
        asyncio.run(said_with(service, {"prompt": "a", "steps": 0}))
    service.queue.shut()
    with pytest.raises(Busy):
        asyncio.run(said(service, "a"))
    assert not painter.steps and not service.live_wishes._running


async def said_with(service, values):
    return [update async for update in service.live(values, KEY, None)]


def test_the_last_pictures_of_some_keys_are_remembered():
    wishes = LiveWishes(most=2)
    for key in "abca":
        wishes.keep(key * 16, key)
    assert wishes.last("a" * 16) == "a" and wishes.last("c" * 16) == "c"
    for key in ("b" * 16, None, ["a"]):
        with pytest.raises(UnknownPicture, match="not there any more"):
            wishes.last(key)


def test_until_hands_on_what_comes_and_errors_too():
    async def numbers(error=None):
        for number in range(3):
            await asyncio.sleep(0)
            yield number
        if error:
            raise error

    async def collect(source, over):
        return [item async for item in until(over, source)]

    async def check():
        assert await collect(numbers(), asyncio.Event()) == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await collect(numbers(ValueError("broken")), asyncio.Event())
        over = asyncio.Event()
        over.set()
        assert await collect(numbers(), over) == []

    asyncio.run(check())
