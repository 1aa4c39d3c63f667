"""Jobs that outlast their page: watched, found again, cancelled, given up, and nobody else's business (I3)."""

import asyncio
import io
import time
from contextlib import aclosing

import gradio as gr
import pytest
from PIL import Image

from lora.errors import InvalidOwner, InvalidRequest, UnknownJob
from lora.library import Library
from pipeline.engine import DenoiseStep, Finished, Generation
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from serving.queue import FairQueue
from serving.workers.local import LocalWorker
from tests.unit.test_generation import Engine
from ui.errors import ending
from ui.pages.paint.wiring import painted_before, repeated

A, B = "a" * 43, "b" * 43
ONE, TWO = "1" * 43, "2" * 43
VALUES = {"prompt": "a red apple", "seed": 7}


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


class Painter:
    """Paints `steps` steps of `seconds` each, and says how far it came."""

    def __init__(self, steps=3, seconds=0.01):
        self.steps, self.seconds, self.taken = steps, seconds, 0

    def __call__(self, request):
        for step in range(1, self.steps + 1):
            time.sleep(self.seconds)
            self.taken = step
            yield DenoiseStep(0, 1, step, self.steps, b"jpeg")
        yield Generation((png(),), {"prompt": request.prompt, "seeds": [request.seed], "seed": request.seed})


class House(Jobs):
    """Jobs that paint by a service and are kept in a history, as those of the page."""

    def __init__(self, service, history, **options):
        super().__init__(
            lambda session: service.forget(session), **{"grace": 1.0, "pulse": 0.05, "ending": ending} | options
        )
        self.service, self.history = service, history

    def paint(self, secret, identity, values, session, desk=None, runs=1):
        """A job, at a desk of its own unless one is named."""
        work = repeated(self.service, self.history, (owner_hash(secret), identity), values, session, runs)
        return self.start(secret, desk or identity, identity, session, work, values["prompt"])


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes Jobs around a painter, on one history."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    history = History(tmp_path / "data")

    def jobs(paint, **options) -> House:
        queue = FairQueue(8, 4)
        service = GenerationService(LocalWorker(Engine(), paint), Library([]), queue)
        return House(service, history, **{"sooner": queue.sooner} | options)

    yield jobs
    history.close()


async def seen(jobs, secret=A, job=ONE) -> list[dict]:
    async with aclosing(jobs.watch(secret, job)) as news:
        return [shown async for shown in news]


async def until(jobs, status, secret=A, job=ONE) -> dict:
    async with aclosing(jobs.watch(secret, job)) as news:
        async for shown in news:
            if shown["status"] == status:
                return shown
    raise AssertionError(f"never {status}: {shown}")


async def empty(jobs) -> None:
    """Wait until nobody waits or runs."""
    deadline = time.monotonic() + 5
    while jobs.service.queue.status()["running"] or jobs.service.queue.status()["waiting"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_page_that_comes_back_sees_how_far_it_is_and_then_the_picture(make):
    async def story():
        jobs = make(Painter(steps=40))
        jobs.paint(A, ONE, VALUES, "session")
        first = await until(jobs, "painting")
        await asyncio.sleep(0.1)
        again = await seen(jobs)
        assert again[0]["status"] == "painting" and again[0]["step"] > first["step"]
        assert again[0]["preview"].startswith("data:image/jpeg")
        done = again[-1]
        assert done["status"] == "done" and done["seeds"] == [7] and done["kept"]
        assert jobs.history.find(owner_hash(A), done["kept"]).details["prompt"] == "a red apple"
        assert done["last"]["images"] == done["images"]
        # Whoever comes late sees the result at once, and so does who comes after the next start of the app.
        assert await seen(jobs) == [done]
        with pytest.raises(UnknownJob):
            await seen(make(Painter()))
        later = await painted_before(jobs.history, A, ONE)
        assert later["status"] == "done" and later["images"][0]["url"].startswith("kept/")

    asyncio.run(story())


def test_a_job_that_nobody_watches_is_given_up_running_or_waiting(make):
    async def story():
        painter = Painter(steps=1000)
        jobs = make(painter)
        jobs.paint(A, ONE, VALUES, "s1")
        jobs.paint(A, TWO, VALUES, "s2")
        await until(jobs, "painting")
        assert jobs.service.queue.status() == jobs.service.queue.status() | {"waiting": 1, "running": 1}
        began = time.monotonic()
        await empty(jobs)
        assert 0.5 < time.monotonic() - began < 4 and painter.taken < 500
        # The queue is empty a moment before the task has ended.
        assert (await seen(jobs))[-1]["status"] == "cancelled"

    asyncio.run(story())


def test_a_reload_within_the_grace_keeps_it_alive_and_a_second_page_too(make):
    async def story():
        jobs = make(Painter(steps=60))
        jobs.paint(A, ONE, VALUES, "session")
        other = asyncio.create_task(seen(jobs))
        for _ in range(3):
            await until(jobs, "painting")
            await asyncio.sleep(0.1)
        assert (await other)[-1]["status"] == "done"

    asyncio.run(story())


def test_cancel_stops_it_within_a_step_and_tells_whoever_watches(make):
    async def story():
        painter = Painter(steps=1000)
        jobs = make(painter)
        jobs.paint(A, ONE, VALUES, "session")
        await until(jobs, "painting")
        watching = asyncio.create_task(seen(jobs))
        await asyncio.sleep(0.1)
        taken = painter.taken
        jobs.cancel(A, ONE, ONE)
        *_, before, last = await watching
        # Of the steps only the newest is told, so one may be missing between the two.
        assert before["status"] == "painting" and before["step"] <= last["step"] <= before["step"] + 2
        assert last == before | {"status": "cancelled", "step": last["step"]}
        await asyncio.sleep(0.1)
        assert painter.taken <= taken + 2
        # Also before the loop has come to it.
        jobs.paint(A, TWO, VALUES, "session")
        jobs.cancel(A, TWO, TWO)
        assert (await seen(jobs, job=TWO))[-1] == {"status": "cancelled", "job": TWO, "others": []}
        await empty(jobs)

    asyncio.run(story())


def test_i3_another_owner_neither_sees_nor_stops_it(make):
    async def story():
        jobs = make(Painter(steps=30))
        jobs.paint(A, ONE, VALUES, "session")
        for secret, error in ((B, UnknownJob), ("", InvalidOwner), (None, InvalidOwner), (owner_hash(A), UnknownJob)):
            with pytest.raises(error):
                await seen(jobs, secret)
            with pytest.raises(error):
                jobs.cancel(secret, ONE, ONE)
            with pytest.raises(error):
                jobs.sooner(secret, ONE, ONE)
        # The same id is another job for another owner.
        jobs.paint(B, ONE, VALUES | {"seed": 8}, "session", desk=TWO)
        ours, theirs = await asyncio.gather(seen(jobs), seen(jobs, B, TWO))
        assert ours[-1]["seeds"] == [7] and theirs[-1]["seeds"] == [8]
        for ask in (seen(make(Painter()), B, ONE), painted_before(jobs.history, B, TWO)):
            with pytest.raises(UnknownJob):
                await ask

    asyncio.run(story())


@pytest.mark.parametrize("identity", [None, "", 7, "x", "a/" * 20, ["1" * 43]])
def test_an_id_is_one_that_cannot_be_guessed_and_has_not_been_used(make, identity):
    async def story():
        jobs = make(Painter())
        with pytest.raises(InvalidRequest, match=r"job is .*, but must be"):
            jobs.paint(A, identity, VALUES, "session", desk=ONE)
        with pytest.raises(InvalidRequest, match=r"desk is .*, but must be"):
            jobs.start(A, identity, ONE, "session", painted_before(None, A, ONE))
        jobs.paint(A, ONE, VALUES, "session")
        with pytest.raises(InvalidRequest, match="has not begun yet"):
            jobs.paint(A, ONE, VALUES, "session")
        await seen(jobs)

    asyncio.run(story())


def test_errors_are_shown_in_words_and_those_of_gradio_reach_who_watches(make):
    def quota(request):
        raise gr.Error("You have <a>exceeded</a> it", title="ZeroGPU quota exceeded")
        yield

    async def story():
        jobs = make(Painter())
        jobs.paint(A, ONE, VALUES | {"steps": 0}, "session")
        failed = (await seen(jobs))[-1]
        assert failed["status"] == "failed" and failed["message"].startswith("steps is 0, but must be")
        jobs = make(quota)
        jobs.paint(A, ONE, VALUES, "session")
        shown = []
        with pytest.raises(gr.Error, match="exceeded"):
            async for each in jobs.watch(A, ONE):
                shown.append(each)
        assert shown[-1] == shown[-1] | {"status": "failed", "message": "ZeroGPU quota exceeded."}

    asyncio.run(story())


def test_what_a_session_brought_goes_when_its_jobs_need_it_no_more(make, monkeypatch):
    async def story():
        jobs, forgotten = make(Painter(steps=20)), []
        monkeypatch.setattr(jobs.service, "forget", forgotten.append)
        jobs.paint(A, ONE, VALUES, "session")
        jobs.leave("session")
        jobs.leave("other")
        await until(jobs, "painting")
        assert forgotten == ["other"]
        await seen(jobs)
        assert forgotten == ["other", "session"]

    asyncio.run(story())


def test_r2_without_room_the_picture_is_shown_and_the_page_says_so(make, monkeypatch):
    def no_room(*values, **options):
        raise OSError(28, "No space left on device")

    async def story():
        jobs = make(Painter())
        monkeypatch.setattr("serving.picture_store.put", no_room)
        monkeypatch.setattr("ui.web.files.save_bytes_to_cache", no_room)
        jobs.paint(A, ONE, VALUES, "session")
        done = (await seen(jobs))[-1]
        assert done["status"] == "done" and done["kept"] == "" and "was not kept" in done["notice"]
        assert done["images"][0]["url"].startswith("data:image/png;base64,")

    asyncio.run(story())


def test_r3_a_thousand_previews_leave_no_file(make, tmp_path):
    async def story():
        jobs = make(Painter(steps=1000, seconds=0.0005))
        jobs.paint(A, ONE, VALUES, "session")
        shown = await seen(jobs)
        assert sum(each["status"] == "painting" for each in shown) > 100
        files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert len(files) == 1, "the picture and nothing else"

    asyncio.run(story())


def test_jobs_that_ended_long_ago_are_forgotten(make, monkeypatch):
    async def story():
        monkeypatch.setattr("serving.jobs.MOST_ENDED", 2)
        jobs = make(Painter(steps=1, seconds=0))
        for i in range(5):
            jobs.paint(A, str(i) * 43, VALUES, "session")
            await seen(jobs, job=str(i) * 43)
        assert len(jobs._desks) == 3
        with pytest.raises(UnknownJob):
            await seen(jobs, job="0" * 43)
        assert (await painted_before(jobs.history, A, "0" * 43))["images"][0]["url"].startswith("kept/")

    asyncio.run(story())


def title(view: dict) -> list[str]:
    return [other["title"] for other in view["others"]]


async def at(jobs, done) -> dict:
    """What the desk ONE is told when `done` says so of it."""
    async with aclosing(jobs.watch(A, ONE)) as news:
        async for shown in news:
            if done(shown):
                return shown
    raise AssertionError(f"never: {shown}")


def test_several_jobs_of_a_page_are_told_together_put_in_order_and_stopped_one_by_one(make):
    async def story():
        jobs = make(Painter(steps=40))
        names = ["apple", "pear", "plum", "nut"]
        for i, name in enumerate(names):
            assert not jobs.paint(A, str(i) * 43, VALUES | {"prompt": name}, "session", desk=ONE)
        view = await at(
            jobs, lambda v: v["status"] == "painting" and len(v["others"]) == 3 and "place" in v["others"][2]
        )
        assert view["job"] == "0" * 43 and title(view) == names[1:]
        assert [other["place"] for other in view["others"]] == [1, 2, 3] and view["others"][0]["expected_seconds"] > 0
        jobs.sooner(A, ONE, "3" * 43)
        assert title(await at(jobs, lambda v: title(v) == ["nut", "pear", "plum"])) == ["nut", "pear", "plum"]
        jobs.cancel(A, ONE, "1" * 43)
        # At once, though the task has not ended yet.
        assert title(jobs._desks[owner_hash(A), ONE].view()) == ["nut", "plum"]
        order = []
        async with aclosing(jobs.watch(A, ONE)) as news:
            async for shown in news:
                if shown["status"] == "painting" and shown["job"] not in order:
                    order.append(shown["job"])
        assert order == ["0" * 43, "3" * 43, "2" * 43] and shown["status"] == "done" and shown["prompt"] == "plum"
        kept = [jobs.history.of_job(owner_hash(A), job).details["prompt"] for job in order]
        assert kept == ["apple", "nut", "plum"]

    asyncio.run(story())


def test_one_that_fails_is_told_beside_the_others_until_it_is_put_away(make):
    async def story():
        jobs = make(Painter(steps=100))
        jobs.paint(A, TWO, VALUES, "session", desk=ONE)
        jobs.paint(A, "3" * 43, VALUES | {"steps": 0}, "session", desk=ONE)
        view = await at(jobs, lambda v: v["others"] and v["others"][0]["status"] == "failed")
        assert view["status"] != "failed" and view["others"][0]["message"].startswith("steps is 0")
        jobs.cancel(A, ONE, "3" * 43)
        assert (await at(jobs, lambda v: not v["others"]))["job"] == TWO
        jobs.cancel(A, ONE, TWO)
        await empty(jobs)

    asyncio.run(story())


def test_who_joins_those_that_are_watched_is_told_so_and_a_cancel_may_come_first(make):
    async def story():
        jobs = make(Painter(steps=30))
        with pytest.raises(UnknownJob):
            jobs.cancel(A, ONE, "4" * 43)
        # What can be no job is not remembered: a stranger says how long it is.
        with pytest.raises(UnknownJob):
            jobs.cancel(A, ONE, "x" * 1_000_000)
        assert len(jobs._unbegun) == 1
        jobs.paint(A, TWO, VALUES, "session", desk=ONE)
        watching = asyncio.create_task(seen(jobs))
        await asyncio.sleep(0.05)
        assert jobs.paint(A, "3" * 43, VALUES | {"prompt": "pear"}, "session", desk=ONE)
        jobs.paint(A, "4" * 43, VALUES | {"prompt": "never"}, "session", desk=ONE)
        last = (await watching)[-1]
        assert last["status"] == "done" and last["prompt"] == "pear"
        assert len(jobs.history.all(owner_hash(A))) == 2

    asyncio.run(story())


def test_a_click_can_paint_many_times_each_with_other_seeds_and_stopping_keeps_them(make):
    async def story():
        jobs = make(Painter(steps=3))
        jobs.paint(A, ONE, VALUES | {"num_images": 1}, "session", runs=3)
        shown = await seen(jobs)
        assert {(each["run"], each["runs"]) for each in shown if "run" in each} == {(1, 3), (2, 3), (3, 3)}
        assert shown[-1]["seeds"] == [9] and all(each["last"]["seeds"] == [7] for each in shown if each.get("run") == 2)
        assert [kept.details["seed"] for kept in jobs.history.all(owner_hash(A))] == [9, 8, 7]
        # Until it is stopped.
        jobs.paint(A, TWO, VALUES | {"num_images": 1, "seed": -1}, "session", runs=0)
        view = await until_run(jobs, 3)
        jobs.cancel(A, TWO, TWO)
        last = (await seen(jobs, job=TWO))[-1]
        assert last["status"] == "cancelled" and last["last"]["images"] and view["runs"] == 0
        assert len(jobs.history.all(owner_hash(A))) >= 5
        jobs.paint(A, "3" * 43, VALUES, "session", runs=-1)
        assert "runs is -1" in (await seen(jobs, job="3" * 43))[-1]["message"]

    async def until_run(jobs, run):
        async with aclosing(jobs.watch(A, TWO)) as news:
            async for shown in news:
                if shown.get("run") == run:
                    return shown

    asyncio.run(story())


def test_what_is_finished_of_a_batch_stays_when_it_is_cancelled(make):
    def batch(request):
        details = {"prompt": request.prompt, "seed": 7}
        for image in range(4):
            for step in range(1, 6):
                time.sleep(0.02)
                yield DenoiseStep(image, 4, step, 5, b"jpeg")
            if image < 3:
                yield Finished(image, png(), details | {"seeds": [7, 8, 9, 10][: image + 1]})
        yield Generation((png(),) * 4, details | {"seeds": [7, 8, 9, 10]})

    async def story():
        jobs = make(batch)
        jobs.paint(A, ONE, VALUES | {"num_images": 4}, "session")
        view = await at(jobs, lambda v: len(v.get("finished", [])) == 2)
        jobs.cancel(A, ONE, ONE)
        last = (await seen(jobs))[-1]
        assert last["status"] == "cancelled" and last["finished"] == view["finished"]
        assert last["last"]["seeds"] == [7, 8] and len(last["last"]["images"]) == 2
        (kept,) = jobs.history.all(owner_hash(A))
        assert kept.id == last["last"]["kept"] and len(kept.files) == 2 and kept.details["seeds"] == [7, 8]
        await empty(jobs)

    asyncio.run(story())
