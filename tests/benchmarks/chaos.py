"""A hundred visitors of an app before four replicas, of which one is killed every five seconds.

    python -m tests.benchmarks.chaos [--visitors 100] [--replicas 4] [--seconds 60] [--every 5]

Each asks for a picture, looks at it, asks for the next. Every one must come once, in the bytes that an app without a
cluster paints.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import torch

from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests import serving
from tests.e2e.test_load import ended, join, run
from tests.tiny import tiny_sdxl

STEPS, SEEDS = 20, 20


def undisturbed(model: Path) -> list[bytes]:
    """The picture of each seed, painted here."""
    # As the replicas have.
    torch.set_num_threads(1)
    engine = Engine(load_profile(base_model=str(model)))
    painted = []
    for seed in range(SEEDS):
        values = {"prompt": "a red apple", "width": 64, "height": 64, "steps": STEPS, "guidance_scale": 5,
                  "scheduler": "Euler", "seed": seed}  # fmt: skip
        *_, last = engine.generate(GenerationRequest.create(values, engine.limits, lambda _: None), previews=False)
        painted.append(last.images[0])
    return painted


def replicas(server: serving.Server) -> list[psutil.Process]:
    ours = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in ours if process.name().startswith("ray::ServeRepl")]


async def killer(server: serving.Server, every: float, until: float) -> int:
    """Ends one after the other, whatever it does; how many."""
    rng, killed = random.Random(0), 0
    while time.monotonic() + every < until:
        await asyncio.sleep(every)
        if there := replicas(server):
            rng.choice(there).kill()
            killed += 1
    return killed


async def visitor(client: httpx.AsyncClient, function: int, number: int, until: float, wanted: list[bytes]) -> Counter:
    """What came of all that one asked for."""
    rng, told, asked = random.Random(number), Counter(), 0
    await asyncio.sleep(rng.uniform(0, 5))
    while time.monotonic() < until:
        session, seed = f"visitor{number}x{asked}", rng.randrange(SEEDS)
        event = await join(client, function, session, seed, STEPS)
        ends = [end async for end in ended(client, session, 1)]
        asked += 1
        told["lost"] += len(ends) == 0
        told["doubled"] += max(0, len(ends) - 1)
        for its, success, output in ends:
            gallery = output["data"][0] if success and its == event else []
            told["pictures"] += len(gallery)
            words = "" if success else str(output.get("error"))
            # Who is told when to come back has lost nothing, and comes back.
            told["refused"] += "try again" in words
            told["failed"] += not gallery and "try again" not in words
            for each in gallery:
                file = (await client.get(each["image"]["url"])).content
                told["other bytes"] += file != wanted[seed]
        await asyncio.sleep(rng.uniform(1, 10))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in {"visitors": 100, "replicas": 4, "seconds": 60, "every": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-") as temporary:
        folder = Path(temporary)
        model = tiny_sdxl(folder)
        wanted = undisturbed(model)
        ray = serving.RAY | {"REPLICAS_MIN": args.replicas, "REPLICA_CPUS": 0.25, "QUEUE_SIZE": 2 * args.visitors}
        server = serving.start(folder / "log", BASE_MODEL=model, **ray)

        async def crowd(client: httpx.AsyncClient, function: int) -> tuple[Counter, int]:
            until = time.monotonic() + args.seconds
            visitors = [visitor(client, function, number, until, wanted) for number in range(args.visitors)]
            killed, *told = await asyncio.gather(killer(server, args.every, until), *visitors)
            total = sum(told, Counter())
            return total, killed

        total, killed = run(server, crowd)
        state = httpx.get(f"{server.url}/status.json").json()
        names = ("lost", "doubled", "failed", "other bytes", "refused")
        print(f"{total['pictures']} pictures for {args.visitors} visitors while {killed} replicas were killed; "
              f"{state['restarts']} jobs begun again; " + ", ".join(f"{total[name]} {name}" for name in names),
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
