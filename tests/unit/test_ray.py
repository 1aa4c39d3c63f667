"""Engines as replicas of a real Ray Serve, on this machine: the same bytes as in this process, whatever goes."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import psutil
import pytest
import torch
from safetensors import safe_open

from lora.errors import Busy, PaintingFailed, UnreadableAdapter
from lora.files import sha256
from pipeline.engine import DenoiseStep, Engine, Finished, Generation
from pipeline.facts import ModelFacts
from pipeline.profiles import load, load_profile
from pipeline.request.request import GenerationRequest
from serving.queue import FairQueue
from serving.settings import Settings
from serving.workers.base import Restarted
from serving.workers.local import LocalWorker
from tests.adapters import library_with
from tests.unit.test_training import EXAMPLES, FAST
from training import TrainingConfig, TrainingSlice, TrainingState, TrainingStep

pytest.importorskip("ray")
REPLICAS = 2


@pytest.fixture(scope="module")
def profile(tiny_sdxl):
    return load_profile(base_model=str(tiny_sdxl))


@pytest.fixture(scope="module")
def library(profile, tmp_path_factory):
    return library_with(load(profile), tmp_path_factory.mktemp("adapters"), "ink", "gloss")


@pytest.fixture(scope="module")
def local(profile):
    return LocalWorker(Engine(profile))


@pytest.fixture(scope="module")
def settings():
    return Settings(ray_address="local", replicas_min=REPLICAS, replica_cpus=0.5, threads=1)


@pytest.fixture(scope="module")
def cluster(profile, settings):
    import ray
    from ray import serve

    from serving.cluster import connect, deployed

    connect(settings)
    made = deployed(settings, profile)
    yield made
    # Else its router goes on in a thread of this process, and complains that nobody is there.
    made.handle.shutdown()
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def worker(cluster, profile):
    from serving.cluster import running
    from serving.workers.ray import RayWorker

    wait(lambda: running() == REPLICAS)
    return RayWorker(cluster, ModelFacts.of(profile))


def wait(true, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes() -> list[psutil.Process]:
    """Those of the replicas."""
    ours = psutil.Process().children(recursive=True)
    return [process for process in ours if process.name().startswith("ray::ServeRepl")]


def kill_busy() -> None:
    """End the replica that works, as kill -9 does."""
    all_of_them = processes()
    before = [process.cpu_times().user for process in all_of_them]
    time.sleep(0.4)
    spent = [process.cpu_times().user - then for process, then in zip(all_of_them, before)]
    all_of_them[spent.index(max(spent))].kill()


@pytest.fixture
def request_for(profile, library):
    def make(*styles: str, **values) -> GenerationRequest:
        mix = [{"id": style, "weight": 0.8} for style in styles]
        usual = {"prompt": "red apple", "steps": 3, "seed": 5, "adapters": mix}
        return GenerationRequest.create(usual | values, profile.limits, library.find)

    return make


def painted(worker, request) -> list:
    """All that is news."""

    async def paint():
        async with aclosing(worker.paint(request, lambda: 0.0)) as news:
            return [item async for item in news if item is not None]

    return asyncio.run(paint())


def test_pictures_are_the_same_bytes_as_in_this_process(worker, local, request_for):
    for styles in ((), ("ink",), ("ink", "gloss"), ()):
        request = request_for(*styles, num_images=2)
        here, there = painted(local, request), painted(worker, request)
        assert there[-1].images == here[-1].images and len(here[-1].images) == 2
        assert [item.png for item in there if isinstance(item, Finished)] == [here[-1].images[0]]
        steps = [(item.image, item.step) for item in there if isinstance(item, DenoiseStep)]
        assert steps and steps == sorted(steps) and all(i.preview for i in there if isinstance(i, DenoiseStep))


def test_a_file_is_moved_once_to_each_replica_that_needs_it_and_a_mix_goes_where_it_is_on(worker, request_for):
    request = request_for("gloss", negative_prompt="blurry")
    size = request.adapters[0].adapter.size
    for _ in range(6):
        painted(worker, request)
    told = worker.state()
    assert told["replicas"] == REPLICAS and told["mix_hits"] >= 5 and told["mix_hits"] + told["mix_misses"] == 6
    assert told["moved_bytes"] in (0, size) and told["restarts"] == 0


def test_what_is_wrong_with_a_file_is_said_in_its_words_and_the_replica_goes_on(worker, local, request_for, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no adapter")
    request = request_for("ink")
    use = request.adapters[0]
    bad = replace(use, adapter=replace(use.adapter, path=broken, sha256="1" * 64))
    with pytest.raises(UnreadableAdapter, match="broken"):
        painted(worker, replace(request, adapters=(bad,)))
    gone = replace(use, adapter=replace(use.adapter, path=tmp_path / "gone.safetensors", sha256="2" * 64))
    with pytest.raises(UnreadableAdapter, match="missing"):
        painted(worker, replace(request, adapters=(gone,)))
    assert painted(worker, request)[-1].images == painted(local, request)[-1].images


def test_cancelled_it_stops_within_a_step_and_the_base_is_the_base(worker, local, request_for):
    base = painted(local, request_for())[-1].images

    async def cancelled():
        async with aclosing(worker.paint(request_for("ink", steps=150, num_images=4), lambda: 0.0)) as news:
            async for item in news:
                if isinstance(item, DenoiseStep) and item.step >= 2:
                    break
        began = time.monotonic()
        async with aclosing(worker.paint(request_for(), lambda: 0.0)) as news:
            *_, last = [item async for item in news if item is not None]
        return last.images, time.monotonic() - began

    for _ in range(4):
        images, _ = asyncio.run(cancelled())
        assert images == base
    # Both replicas had long jobs that were cancelled: neither has any use for a processor now.
    before = sum(process.cpu_times().user for process in processes())
    time.sleep(1.0)
    assert sum(process.cpu_times().user for process in processes()) - before < 0.5


def test_slices_and_exports_are_the_same_bytes(worker, local, request_for, tmp_path):
    config = TrainingConfig(**FAST | {"steps": 4})

    async def learnt(by, state=None):
        work = TrainingSlice(tuple(EXAMPLES), config, state, 60.0, 2 if state is None else 4)
        async with aclosing(by.train(work, lambda seconds: False)) as news:
            items = [item async for item in news if item is not None]
        assert all(isinstance(item, TrainingStep) for item in items[:-1]) and isinstance(items[-1], TrainingState)
        return items[-1]

    async def twice(by):
        return await learnt(by, (await learnt(by)).data)

    here, there = asyncio.run(twice(local)), asyncio.run(twice(worker))
    assert here.losses == there.losses and here.adapter.data() == there.adapter.data()

    mix = request_for("ink", "gloss").adapters
    facts = [asyncio.run(by.export(mix, 2, tmp_path / name)) for by, name in ((local, "a"), (worker, "b"))]
    # Safetensors writes metadata in any order.
    files = [safe_open(tmp_path / name, "pt") for name in "ab"]
    tensors = [{name: file.get_tensor(name) for name in file.keys()} for file in files]  # noqa: SIM118
    assert files[0].metadata() == files[1].metadata() and tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert facts[1] == replace(facts[0], path=tmp_path / "b", sha256=sha256(tmp_path / "b"))


def test_a_replica_that_goes_is_followed_and_its_job_comes_to_the_same(worker, local, cluster, request_for):
    request = request_for("ink", steps=60, num_images=2, hires_scale=2.0, hires_steps=60)
    wanted = painted(local, request)[-1].images

    async def paint():
        queue, items, sizes = FairQueue(8, 8, REPLICAS), [], set()
        async with cluster.following(queue), aclosing(worker.paint(request, lambda: 0.0)) as news:
            async for item in news:
                sizes.add(queue.at_once)
                items += [item] if item is not None else []
                if isinstance(item, Finished) and not worker.state()["restarts"]:
                    await asyncio.to_thread(kill_busy)
            # One is there still while another one comes.
            while queue.at_once < REPLICAS or sizes == {REPLICAS}:
                await asyncio.sleep(0.05)
                sizes.add(queue.at_once)
        return items, sizes

    items, sizes = asyncio.run(asyncio.wait_for(paint(), 240))
    assert [type(item) for item in items].count(Restarted) == 1 and sizes == {REPLICAS - 1, REPLICAS}
    assert items[-1].images == wanted and [i.image for i in items if isinstance(i, Finished)] == [0]
    again = items[[type(item) for item in items].index(Restarted) + 1 :]
    assert next(i for i in again if isinstance(i, DenoiseStep)).image == 0


def test_where_all_are_gone_whoever_waits_is_told_and_others_are_refused_with_a_time(worker, cluster, request_for):
    async def gone():
        queue = FairQueue(8, 8, REPLICAS)
        async with cluster.following(queue):
            running = [queue.enter("a", 1.0) for _ in range(REPLICAS)]
            waits = queue.enter("b", 1.0)
            assert not queue.stalled
            for process in processes():
                process.kill()
            while queue.at_once:
                await asyncio.sleep(0.05)
            assert queue.stalled == {"stalled": True} and queue.place(waits).expected_seconds > 1
            with pytest.raises(Busy, match=r"No machine is there .* try again in about \d+ s"):
                queue.enter("c", 1.0)
            # The first that comes paints for who waited.
            for ticket in running:
                queue.leave(ticket)
            assert {place.place async for place in queue.wait(waits)} == {1} and not queue.stalled

    asyncio.run(asyncio.wait_for(gone(), 240))


def test_a_front_that_begins_anew_finds_the_replicas_that_are_there(worker, profile, settings, local, request_for):
    from serving.cluster import deployed
    from serving.workers.ray import RayWorker

    before = sorted(process.pid for process in processes())
    again = RayWorker(deployed(settings, profile), worker.facts)
    assert painted(again, request_for())[-1].images == painted(local, request_for())[-1].images
    again._cluster.handle.shutdown()
    assert sorted(process.pid for process in processes()) == before


def test_after_three_it_is_given_up_in_a_sentence(profile, request_for, monkeypatch):
    from ray.exceptions import ActorDiedError

    from serving.cluster import Cluster
    from serving.workers import ray

    async def dies(handle, method, *values):
        yield DenoiseStep(0, 1, 1, 3, None)
        raise ActorDiedError

    monkeypatch.setattr(ray, "streamed", dies)
    worker, items = ray.RayWorker(Cluster(None, 1, 1.0), ModelFacts.of(profile)), []

    async def paint():
        async for item in worker.paint(request_for(), lambda: 0.0):
            items.append(item)

    with pytest.raises(PaintingFailed, match="3 machines have gone"):
        asyncio.run(paint())
    step = DenoiseStep(0, 1, 1, 3, None)
    assert items == [step, Restarted(1), step, Restarted(2), step] and worker.state()["restarts"] == 2


def test_generations_are_not_shared(worker, request_for):
    """Two at once, each on a replica of its own."""
    requests = [request_for(seed=seed, steps=20) for seed in (1, 2)]

    async def both():
        async def one(request):
            async with aclosing(worker.paint(request, lambda: 0.0)) as news:
                *_, last = [item async for item in news if item is not None]
            assert isinstance(last, Generation)
            return last.details["seeds"]

        return await asyncio.gather(*map(one, requests))

    assert asyncio.run(both()) == [[1], [2]]
