"""What a cluster comes to, on this machine: pictures of the embedded model by replicas of one thread each.

    python -m tests.benchmarks.cluster [--pairs 9] [--only cost scale mixes random cancel]

cost     a picture through one replica against the same in this process, in turns
scale    pictures of two replicas against those of one
mixes    8 mixes over 2 replicas, in sessions: how many find theirs on
random   the same by random routing
cancel   20 long jobs cancelled: until the replica paints the next one, and whether that is the base's picture
"""

import argparse
import asyncio
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from multiprocessing import get_context

import ray
import torch
from ray import serve

from pipeline.engine import DenoiseStep, Engine
from pipeline.loading import open_library
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from serving.cluster import AFFINITY, APP, connect, deployed
from serving.settings import Settings
from serving.workers.local import LocalWorker
from serving.workers.ray import RayWorker

RANDOM = "tests.benchmarks.random_router.RandomRouter"
ENGINE = Engine(load_profile("embedded"))
LIBRARY = open_library(ENGINE.facts)


def request(styles: tuple[str, ...] = (), **values) -> GenerationRequest:
    mix = [{"id": style, "weight": 0.8} for style in styles]
    return GenerationRequest.create({"prompt": "a red apple", "seed": 1, "adapters": mix} | values,
                                    ENGINE.limits, LIBRARY.find)  # fmt: skip


async def picture(worker, wanted: GenerationRequest) -> bytes:
    async with aclosing(worker.paint(wanted, lambda: 0.0)) as news:
        *_, last = [item async for item in news if item is not None]
    return last.images[0]


@contextmanager
def cluster(replicas: int, router: str = AFFINITY):
    """Replicas that are gone afterwards."""
    settings = Settings(ray_address="local", replicas_min=replicas, replica_cpus=0.5, threads=1)
    if not ray.is_initialized():
        connect(settings)
    try:
        yield RayWorker(deployed(settings, ENGINE.profile, router), ENGINE.facts)
    finally:
        serve.delete(APP)


def cost(pairs: int) -> str:
    """By the clock, medians of pairs."""
    local, seconds = LocalWorker(ENGINE), ([], [])

    async def rounds(there):
        for seed in range(-2, pairs):
            wanted, files = request(seed=seed + 2), []
            for side, worker in zip(seconds, (local, there)):
                began = time.perf_counter()
                files.append(await picture(worker, wanted))
                side.append(time.perf_counter() - began)
            assert files[0] == files[1]

    with cluster(1) as there:
        asyncio.run(rounds(there))
    here, far = (side[2:] for side in seconds)
    ratio = statistics.median(b / a for a, b in zip(here, far))
    return (
        f"cost    {statistics.median(here):.3f} s here, {statistics.median(far):.3f} s through a replica: {ratio:.3f}"
    )


def alone(seed: int) -> None:
    """A picture in a process without a cluster."""
    torch.set_num_threads(1)
    deque(ENGINE.generate(request(seed=seed)), maxlen=0)


def scale(pairs: int) -> str:
    """As many at once as there are replicas; pictures a second, beside as many processes that only paint."""
    count, rates, bounds = 2 * pairs, [], []

    async def burst(worker, at_once: int) -> float:
        await asyncio.gather(*(picture(worker, request(seed=i)) for i in range(at_once)))
        seeds, began = iter(range(count)), time.perf_counter()

        async def one_after_the_other():
            for seed in seeds:
                await picture(worker, request(seed=seed))

        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return count / (time.perf_counter() - began)

    for number in (1, 2):
        with ProcessPoolExecutor(number, get_context("spawn")) as pool:
            deque(pool.map(alone, range(4 * number)), maxlen=0)
            began = time.perf_counter()
            deque(pool.map(alone, range(count)), maxlen=0)
            bounds.append(count / (time.perf_counter() - began))
        with cluster(number) as worker:
            rates.append(asyncio.run(burst(worker, number)))
    return (f"scale   {rates[0]:.3f} a second by one, {rates[1]:.3f} by two: {rates[1] / rates[0]:.2f}; processes "
            f"that only paint {bounds[0]:.3f} and {bounds[1]:.3f}: {bounds[1] / bounds[0]:.2f}")  # fmt: skip


def mixes(pairs: int, router: str = AFFINITY) -> str:
    """Visitors of 24 pictures each with one of 8 mixes, two at a time, who look at a picture before the next."""
    names = [adapter.id for adapter in LIBRARY.all()]
    sessions = list(itertools.islice(itertools.combinations(names, 2), 8))
    random.Random(0).shuffle(sessions)

    async def visitor(worker, waiting, rng):
        for styles in waiting:
            for seed in range(24):
                await picture(worker, request(styles, seed=seed, steps=2))
                await asyncio.sleep(rng.uniform(0.3, 1.0))

    async def two(worker):
        waiting = iter(sessions)
        await asyncio.gather(*(visitor(worker, waiting, random.Random(i)) for i in range(2)))

    with cluster(2, router) as worker:
        asyncio.run(two(worker))
        state = worker.state()
    share = state["mix_hits"] / (state["mix_hits"] + state["mix_misses"])
    name = "random routing" if router == RANDOM else "affinity"
    return f"mixes   {share:.1%} find theirs on by {name}, {state['moved_bytes'] / 2**20:.1f} MB moved"


def cancel(pairs: int) -> str:
    """From closing a long job in its second step until the next one's first step is there."""
    step, waits = 0.0, []

    async def closed(worker):
        nonlocal step
        base, began = await picture(worker, request(steps=4)), time.perf_counter()
        await picture(worker, request(steps=100))
        step = (time.perf_counter() - began) / 100
        for _ in range(20):
            async with aclosing(worker.paint(request(("ink",), steps=100), lambda: 0.0)) as news:
                async for item in news:
                    if isinstance(item, DenoiseStep) and item.step >= 2:
                        break
            began = time.perf_counter()
            async with aclosing(worker.paint(request(steps=4), lambda: 0.0)) as news:
                async for item in news:
                    if isinstance(item, DenoiseStep) and item.step == 1:
                        waits.append(time.perf_counter() - began)
                assert item.images[0] == base

    with cluster(1) as worker:
        asyncio.run(closed(worker))
    return (f"cancel  20 of 20; the next one's first step after {statistics.median(waits):.3f} s, at most "
            f"{max(waits):.3f} s, where a step takes {step:.3f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    ways = {"cost": cost, "scale": scale, "mixes": mixes, "random": partial(mixes, router=RANDOM), "cancel": cancel}
    parser.add_argument("--only", nargs="*", choices=ways, default=[*ways])
    args = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    torch.set_num_threads(1)
    if len(args.only) == 1:
        return print(ways[args.only[0]](args.pairs), flush=True)
    # Each in a process of its own: a router that Ray has made once stays for that deployment's name.
    for name in args.only:
        command = [sys.executable, "-m", "tests.benchmarks.cluster", "--pairs", str(args.pairs), "--only", name]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
