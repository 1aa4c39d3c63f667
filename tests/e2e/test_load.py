"""Many at once, and some who take more than their share (matrix L1, L2, L3)."""

import asyncio
import json
import time
from contextlib import contextmanager

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from serving.settings import Settings
from tests.serving import LONG

PLACES = Settings.model_fields["queue_size"].default


def values(seed: int, steps: int = 1) -> list:
    return ["a red apple", "", [], 64, 64, steps, 5, "Euler", seed]


async def join(client: httpx.AsyncClient, function: int, session: str, seed: int, steps: int = 1) -> str:
    """Send a job of a session, as the page does; its event id."""
    body = {"data": values(seed, steps), "fn_index": function, "session_hash": session}
    answer = await client.post("/gradio_api/queue/join", json=body)
    return answer.json()["event_id"]


async def ended(client: httpx.AsyncClient, session: str, jobs: int):
    """(event id, success, output) of each job of a session, as they end."""
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                yield message["event_id"], message["success"], message["output"]
                jobs -= 1
                if not jobs:
                    return


def run(server, work):
    """Run `work(client, number of /generate)` with as many connections as it wants."""
    functions = httpx.get(f"{server.url}/config").json()["dependencies"]
    number = next(f["id"] for f in functions if f["api_name"] == "generate")

    async def main():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=180, limits=limits) as client:
            return await work(client, number)

    return asyncio.run(main())


@contextmanager
def busy(server):
    """While this lasts the model is taken."""
    job = Client(server.url, verbose=False).submit(prompt="a cat", api_name="/generate", **LONG)
    server.wait_until(running=1)
    yield job
    job.cancel()


def test_what_it_takes_and_where_it_would_stand_is_told_before(server, client):
    def told(**fields):
        pictures, details = client.predict(prompt="a red apple", **fields, dry_run=True, api_name="/generate")
        assert pictures == [] and details["status"] == "planned" and server.queue()["waiting"] == 0
        return details

    server.wait_until(running=0)
    assert told()["place"] == 0 == told()["starts_in"]
    client.predict(prompt="a red apple", steps=3, api_name="/generate")
    assert told(steps=100)["expected_seconds"] > 5 * told(steps=5)["expected_seconds"]
    with busy(server):
        assert told()["place"] == 1 and told()["starts_in"] > 0
    with pytest.raises(AppError, match="steps is 0, but must be"):
        told(steps=0)


def test_l1_fifty_at_once_each_get_their_own_picture_once(server):
    async def one(client, function, seed):
        session = f"crowd{seed}"
        event = await join(client, function, session, seed)
        return event, [end async for end in ended(client, session, 1)]

    async def crowd(client, function):
        return await asyncio.gather(*(one(client, function, seed) for seed in range(50)))

    answers = run(server, crowd)
    assert len({event for event, _ in answers}) == 50
    for seed, (event, ends) in enumerate(answers):
        ((its, success, output),) = ends
        assert its == event and success, output
        gallery, details = output["data"]
        assert (
            details["seeds"] == [seed]
            and len(gallery) == 1
            and gallery[0]["image"]["orig_name"] == f"atelier-{seed}.png"
        )
    assert server.queue() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_l2_a_full_queue_refuses_exactly_what_is_too_much(server):
    async def one(client, function, i):
        await join(client, function, f"full{i}", i)
        async for end in ended(client, f"full{i}", 1):
            return end

    async def crowd(client, function):
        with busy(server) as job:
            waiting = [asyncio.create_task(one(client, function, i)) for i in range(PLACES + 5)]
            while sum(task.done() for task in waiting) < 5:
                await asyncio.sleep(0.05)
            queue = await asyncio.to_thread(server.queue)
            job.cancel()
            return queue, await asyncio.gather(*waiting)

    queue, answers = run(server, crowd)
    refused = [output["error"] for _, success, output in answers if not success]
    assert queue["waiting"] == PLACES and len(refused) == 5
    assert all(
        words.startswith(f"All {PLACES} places in the queue are taken; try again in about ") for words in refused
    )


def test_l3_one_who_sends_many_holds_up_nobody(server):
    many = Settings.model_fields["session_queue_size"].default

    async def crowd(client, function):
        ends = []

        async def listen(session, jobs):
            async for _, success, output in ended(client, session, jobs):
                ends.append((session, success, time.monotonic(), output))

        for seed in range(20):
            await join(client, function, "greedy", seed, steps=8)
        greedy = asyncio.create_task(listen("greedy", 20))
        while not any(success for _, success, _, _ in ends):
            await asyncio.sleep(0.01)
        sent = time.monotonic()
        await join(client, function, "modest", 99, steps=8)
        await listen("modest", 1)
        await greedy
        return sent, ends

    sent, ends = run(server, crowd)
    modest = next(when for session, _, when, _ in ends if session == "modest")
    before = [when for session, success, when, _ in ends if session == "greedy" and success and sent < when < modest]
    assert len(before) <= 2, "more than the job that ran and the one after it"
    refused = [output["error"] for session, success, _, output in ends if not success]
    assert len(refused) == 20 - many - 1 and all("of your pictures are waiting already" in words for words in refused)


@pytest.mark.parametrize("sessions", [4])
def test_l3_equal_demands_get_equal_shares(server, sessions):
    async def crowd(client, function):
        order = []

        async def listen(session):
            async for _, success, _ in ended(client, session, 6):
                assert success
                order.append(session)

        # One after the other: whoever comes first must have no more of it.
        with busy(server) as job:
            for i in range(sessions):
                for seed in range(6):
                    await join(client, function, f"equal{i}", seed, steps=4)
            listeners = [asyncio.create_task(listen(f"equal{i}")) for i in range(sessions)]
            job.cancel()
            await asyncio.gather(*listeners)
        return order

    order = run(server, crowd)
    shares = [order[: len(order) // 2].count(f"equal{i}") for i in range(sessions)]
    assert sum(shares) ** 2 / (sessions * sum(share**2 for share in shares)) >= 0.9, shares
