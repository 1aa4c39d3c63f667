"""A cancelled or abandoned run stops within one step, and the next one finds everything as it was (F2, I2)."""

import json
import statistics
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.serving import LONG

QUICK = {"steps": 2, "seed": 3, "api_name": "/generate"}


def picture(client) -> bytes:
    return Path(client.predict(prompt="a red apple", **QUICK)[0][0]["image"]).read_bytes()


def steps_seen(job) -> int:
    return max((d["image"] * d["steps"] + d["step"] for _, d in job.outputs() if d["status"] == "painting"), default=0)


def test_f2_job_cancel_stops_within_a_step_and_leaves_nothing(server, client):
    base = picture(client)
    job = client.submit(prompt="a cat", adapters=[{"id": "ink", "weight": 2}], api_name="/generate", **LONG)
    began = time.monotonic()
    while steps_seen(job) < 5:
        assert not job.done(), job.exception()
        time.sleep(0.02)
    pace = (time.monotonic() - began) / steps_seen(job)
    job.cancel()
    server.wait_until(running=0)
    cancelled = time.monotonic()
    # One painter: the next picture begins when the cancelled one has really stopped.
    assert picture(client) == base
    left = pace * (LONG["steps"] * LONG["num_images"] - steps_seen(job))
    assert time.monotonic() - cancelled < left / 3


def test_f2_a_waiting_job_that_is_cancelled_leaves_the_queue_at_once(server, client):
    running = client.submit(prompt="a cat", api_name="/generate", **LONG)
    server.wait_until(running=1)
    response = httpx.post(f"{server.url}/gradio_api/queue/join", json=waiting_body(server, "waiter"))
    assert response.status_code == 200
    with httpx.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash=waiter", timeout=30) as stream:
        next(stream.iter_lines())
        server.wait_until(waiting=1)
    server.wait_until(waiting=0)
    assert server.queue()["running"] == 1
    running.cancel()
    server.wait_until(running=0)


def waiting_body(server, session: str) -> dict:
    functions = httpx.get(f"{server.url}/config").json()["dependencies"]
    number = next(f["id"] for f in functions if f["api_name"] == "generate")
    values = ["a cat", "", [], 64, 64, LONG["steps"], 5, "Euler", 1, LONG["num_images"]]
    return {"data": values, "fn_index": number, "session_hash": session}


@pytest.mark.parametrize("after", [1, 7])
def test_f2_a_closed_connection_stops_the_run_while_others_are_served(server, client, after):
    def answered() -> float:
        before = time.monotonic()
        httpx.get(f"{server.url}/config")
        return time.monotonic() - before

    base = picture(client)
    usual = statistics.median(answered() for _ in range(5))
    session = f"gone{after}"
    httpx.post(f"{server.url}/gradio_api/queue/join", json=waiting_body(server, session))
    waits, watching = [], threading.Event()

    def watch():
        while not watching.is_set():
            waits.append(answered())

    watcher = threading.Thread(target=watch)
    with httpx.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash={session}", timeout=30) as stream:
        lines = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        seen = 0
        while seen < after:
            seen += next(lines)["msg"] == "process_generating"
        watcher.start()
        while len(waits) < 10:
            next(lines)
    server.wait_until(running=0)
    watching.set()
    watcher.join()
    assert picture(client) == base
    # A busy machine answers late without any painting too, and one answer may meet its worst moment.
    assert statistics.median(waits) < usual + 0.2 and max(waits) < 5, "an answer waited for the painting"
