"""Benchmark 8: pictures a second that a hundred clients get from the app, against the engine alone in a loop."""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

from pipeline.engine import Engine
from pipeline.request.request import GenerationRequest
from tests.benchmarks.ratios import Ratio

ROOT = Path(__file__).resolve().parents[2]
CLIENTS, WARM = 100, 10
# What visitors get who change nothing, with as many pictures of the engine alone; and as few steps as anyone takes.
STEPS = {25: 8, 4: 25}
PROMPT = "a red apple"


def crowd(engine: Engine, pairs: int) -> list[Ratio]:
    """By the clock, and by the processor time of the process, which a busy neighbour does not lengthen.

    Rounds of both, one after the other, when both are warm. Every client must get the picture of its own seed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PORT": str(port), "PROFILE": "embedded", "THREADS": "1",
                   "QUEUE_SIZE": str(2 * CLIENTS)}  # fmt: skip
    app = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        while "open at" not in (line := app.stdout.readline()):
            if not line:
                raise RuntimeError("the app ended before it was open")
        url, ratios = f"http://127.0.0.1:{port}", []
        for steps, alone in STEPS.items():
            _through(app.pid, url, steps, WARM), _alone(engine, steps, 1)
            rounds = [(_through(app.pid, url, steps, CLIENTS), _alone(engine, steps, alone)) for _ in range(pairs)]
            ratios += _ratios(steps, rounds)
        return ratios
    finally:
        app.send_signal(signal.SIGTERM)
        app.wait(60)


def _ratios(steps: int, rounds: list[tuple[tuple[float, float], tuple[float, float]]]) -> list[Ratio]:
    made = []
    for i, what in enumerate(("pictures a second", "processor time")):
        values = tuple(theirs[i] / ours[i] for ours, theirs in rounds)
        medians = tuple(statistics.median(side[i] for side in sides) for sides in zip(*rounds))
        made.append(Ratio(8, f"{CLIENTS} clients / engine alone, {steps} steps: {what}", 0.98, values, medians))
    return made


def _through(process: int, url: str, steps: int, clients: int) -> tuple[float, float]:
    """Seconds, and seconds of the app's processor, that a picture of the crowd takes."""
    before, start = _processor(process), time.perf_counter()
    asyncio.run(_clients(url, steps, clients))
    return (time.perf_counter() - start) / clients, (_processor(process) - before) / clients


async def _clients(url: str, steps: int, count: int) -> None:
    # None is kept open: the server closes those that are idle, also while a slow machine is about to use one.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=f"{url}/gradio_api/call", timeout=1800, limits=limits) as client:
        await asyncio.gather(*(_one(client, steps, seed) for seed in range(count)))


async def _one(client: httpx.AsyncClient, steps: int, seed: int) -> None:
    values = [PROMPT, "", [], 256, 256, steps, 5, "Euler", seed]
    event = (await client.post("generate", json={"data": values})).json()["event_id"]
    last = ""
    async with client.stream("GET", f"generate/{event}") as stream:
        async for line in stream.aiter_lines():
            last = line if line.startswith("data: ") else last
    assert json.loads(last.removeprefix("data: "))[1]["seeds"] == [seed], last[:300]


def _alone(engine: Engine, steps: int, count: int) -> tuple[float, float]:
    """The same of a loop over the engine, with the previews that the crowd gets."""
    before, start = time.process_time(), time.perf_counter()
    for seed in range(count):
        values = {"prompt": PROMPT, "width": 256, "height": 256, "steps": steps, "guidance_scale": 5,
                  "scheduler": "Euler", "seed": seed}  # fmt: skip
        *_, generation = engine.generate(GenerationRequest.create(values, engine.limits, None))
        assert generation.images
    return (time.perf_counter() - start) / count, (time.process_time() - before) / count


def _processor(process: int) -> float:
    """Seconds that a process has computed (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
