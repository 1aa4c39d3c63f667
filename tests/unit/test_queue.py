"""The fair queue (L2, L3)."""

import asyncio

import pytest

from lora.errors import Busy
from serving.queue import FairQueue, Position, client_address


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def served(queue, tickets):
    """Let everything run to its end, one after the other; the order in which the tickets had their turn."""
    order = []
    while len(order) < len(tickets):
        running = next(t for t in tickets if t.turn.is_set() and t not in order)
        order.append(running)
        queue.leave(running)
    return order


def test_the_first_runs_at_once_and_the_others_wait():
    queue = FairQueue(10, 10)
    first, second = queue.enter("a", 2), queue.enter("b", 3)
    assert first.turn.is_set() and not second.turn.is_set()
    assert queue.status() == {"waiting": 1, "running": 1, "expected_seconds": 5.0}
    queue.leave(first)
    assert second.turn.is_set()
    queue.leave(second)
    assert queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_l3_one_who_sends_twenty_does_not_hold_up_one_who_sends_one():
    queue = FairQueue(100, 100)
    greedy = [queue.enter("greedy", 1) for _ in range(20)]
    late = queue.enter("late", 1)
    assert queue.place(late).place == 1  # behind the running job only
    order = served(queue, [*greedy, late])
    assert order.index(late) == 1
    assert [t for t in order if t is not late] == greedy


def test_l3_turns_go_round_and_newcomers_starve_nobody():
    queue = FairQueue(100, 100)
    tickets = [queue.enter(s, 1) for s in "aaaabbbbcc"]
    assert "".join(t.session for t in served(queue, tickets)) == "abcabcabab"

    queue = FairQueue(100, 100)
    running, patient = queue.enter("a", 1), queue.enter("a", 1)
    for i in range(5):
        new = queue.enter(f"new {i}", 1)
        queue.leave(running)
        if patient.turn.is_set():
            break
        running = new
    assert i <= 2


def test_l2_it_is_full_at_its_size_exactly_and_says_when_to_come_back():
    clock = Clock()
    queue = FairQueue(3, 2, clock=clock)
    running = queue.enter("a", 10)
    clock.now = 4
    queue.enter("a", 1), queue.enter("a", 1)
    with pytest.raises(Busy, match=r"2 of your pictures are waiting already; try again in about 6 s\."):
        queue.enter("a", 1)
    queue.enter("b", 1)
    for session in "abc":
        with pytest.raises(Busy, match="All 3 places"):
            queue.enter(session, 1)
    queue.leave(running)
    queue.enter("c", 1)


def test_a_place_can_be_foreseen_and_leaves_no_trace():
    queue = FairQueue(3, 2)
    assert queue.estimate("a") == Position(0, 0.0)
    running = queue.enter("a", 10)
    queue.enter("a", 4), queue.enter("a", 4)
    before = queue.status()
    # A newcomer stands before the second one of somebody who has had a turn.
    foreseen, ticket = queue.estimate("b"), queue.enter("b", 1)
    assert foreseen == queue.place(ticket)
    queue.leave(ticket)
    with pytest.raises(Busy, match="2 of your pictures"):
        queue.estimate("a")
    assert queue.status()["waiting"] == before["waiting"] == 2 and queue.status()["running"] == 1
    queue.leave(running)
    queue.shut()
    with pytest.raises(Busy, match="is restarting"):
        queue.estimate("b")


def test_place_and_seconds_count_what_is_before():
    clock = Clock()
    queue = FairQueue(10, 10, clock=clock)
    queue.enter("a", 10)
    second, third = queue.enter("b", 4), queue.enter("c", 7)
    clock.now = 3
    assert (queue.place(second).place, queue.place(second).expected_seconds) == (1, 7.0)
    assert (queue.place(third).place, queue.place(third).expected_seconds) == (2, 11.0)
    clock.now = 30  # longer than predicted: nothing negative
    assert queue.place(third).expected_seconds == 4.0


def test_a_waiting_job_hears_its_place_until_its_turn():
    async def run():
        queue = FairQueue(10, 10)
        first, second = queue.enter("a", 1), queue.enter("b", 1)
        places = []

        async def wait():
            async for place in queue.wait(second, pulse=0.01):
                places.append(place.place)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.05)
        queue.leave(first)
        await asyncio.wait_for(task, 1)
        return places

    places = asyncio.run(run())
    assert len(places) >= 2 and set(places) == {1}


def test_whoever_leaves_while_waiting_is_gone_at_once_and_leaving_twice_is_harmless():
    queue = FairQueue(10, 10)
    first, second, third = (queue.enter(s, 1) for s in "abc")
    queue.leave(second)
    queue.leave(second)
    assert queue.status()["waiting"] == 1 and queue.place(third).place == 1
    queue.leave(first)
    assert third.turn.is_set() and not second.turn.is_set()


def test_several_may_run_at_once():
    queue = FairQueue(10, 10, at_once=2)
    tickets = [queue.enter(s, 4) for s in "abc"]
    assert [t.turn.is_set() for t in tickets] == [True, True, False]
    assert queue.place(tickets[2]).expected_seconds == 4.0


def test_f4_when_it_is_shut_those_who_wait_are_told_and_the_running_one_goes_on():
    async def run():
        queue = FairQueue(10, 10)
        first, second = queue.enter("a", 1), queue.enter("b", 1)

        async def wait():
            async for _ in queue.wait(second):
                queue.shut()

        with pytest.raises(Busy, match="is restarting"):
            await asyncio.wait_for(wait(), 5)
        queue.leave(second)
        with pytest.raises(Busy, match="is restarting"):
            queue.enter("c", 1, again=True)
        assert queue.status()["running"] == 1
        queue.leave(first)
        assert queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}

    asyncio.run(run())


def test_whoever_is_far_behind_hears_of_it_less_often():
    async def run():
        queue = FairQueue(100, 100)
        tickets = [queue.enter(str(i), 1) for i in range(41)]
        heard = dict.fromkeys((1, 40), 0)

        async def wait(i):
            async for _ in queue.wait(tickets[i], pulse=0.02):
                heard[i] += 1

        tasks = [asyncio.create_task(wait(i)) for i in heard]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return heard

    heard = asyncio.run(run())
    assert 1 <= heard[40] <= 4 < heard[1]


def test_l3_a_job_of_many_parts_stands_behind_the_others_each_time_and_is_not_refused():
    queue, order = FairQueue(2, 2), []
    part = queue.enter("grid", 1)
    others = [queue.enter(session, 1) for session in "ab"]
    for _ in range(4):
        running = next(t for t in (part, *others) if t.turn.is_set() and t not in order)
        order.append(running)
        queue.leave(running)
        if running is part:
            part = queue.enter("grid", 1, again=True)
    assert "".join(t.session[0] for t in order) == "gabg"


def enter(queue, address, session, seconds=1):
    """A job from an address."""
    client_address.set(address)
    return queue.enter(session, seconds)


def test_many_sessions_of_one_address_have_the_turns_of_one():
    queue = FairQueue(100, 100)
    flood = [enter(queue, "flood", f"made up {i}") for i in range(20)]
    one, other = enter(queue, "a", "x"), enter(queue, "b", "y")
    assert [queue.place(ticket).place for ticket in (one, other)] == [1, 2]
    order = served(queue, [*flood, one, other])
    assert order.index(one) == 1 and order.index(other) == 2
    assert queue._served == queue._lines == {}


def test_where_a_flood_has_all_places_it_gives_one_up_and_hears_of_it():
    async def run():
        queue = FairQueue(4, 4)
        flood = [enter(queue, "flood", f"made up {i}") for i in range(5)]
        with pytest.raises(Busy, match="All 4 places"):
            enter(queue, "flood", "one more")
        one = enter(queue, "a", "x")
        with pytest.raises(Busy, match="the last of many jobs from your address"):
            [place async for place in queue.wait(flood[-1])]
        assert queue.place(one).place == 1 and queue.status()["waiting"] == 4
        two = enter(queue, "b", "y")
        # Nobody has two more than another now.
        with pytest.raises(Busy, match="All 4 places"):
            enter(queue, "a", "z")
        queue.leave(flood[-1])
        order = served(queue, [*(ticket for ticket in flood if not ticket.refused), one, two])
        assert order[1:3] == [one, two] and len(order) == 5

    asyncio.run(run())


def test_a_question_takes_no_place_from_anybody():
    queue = FairQueue(4, 10)
    flood = [enter(queue, "1.1.1.1", f"flood {i}") for i in range(5)]
    client_address.set("2.2.2.2")
    assert queue.estimate("late").place == 1
    assert queue.waiting == 4 and not any(ticket.refused for ticket in flood)


def test_a_session_that_goes_on_from_another_address_keeps_its_line():
    queue = FairQueue(10, 10)
    tickets = [enter(queue, address, "one") for address in ("1.1.1.1", "2.2.2.2", "1.1.1.1")]
    assert {ticket.address for ticket in tickets} == {"1.1.1.1"}
    assert served(queue, tickets) == tickets and not queue._served


def test_what_comes_last_rests_while_anybody_else_has_a_job():
    queue = FairQueue(3, 2)
    running, live = queue.enter("a", 4), queue.enter("b", 1, last=True)
    late, also = queue.enter("c", 2), queue.enter("d", 1, last=True)
    assert queue.waiting == 1 and queue.status()["waiting"] == 1
    assert [queue.place(ticket).place for ticket in (late, live, also)] == [1, 2, 3]
    assert queue.place(also).expected_seconds == 7
    assert served(queue, [running, late, live, also]) == [running, late, live, also]
    assert queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_what_comes_last_takes_no_place_and_has_a_bound_of_its_own():
    queue = FairQueue(3, 2)
    running = queue.enter("a", 1)
    client_address.set("one")
    resting = [queue.enter("b", 1, last=True) for _ in range(2)]
    with pytest.raises(Busy, match="live at once; try again in about"):
        queue.enter("other", 1, last=True)
    client_address.set("two")
    resting.append(queue.enter("c", 1, last=True))
    client_address.set("three")
    with pytest.raises(Busy, match="live at once"):
        queue.enter("d", 1, last=True)
    waiting = [queue.enter(session, 1) for session in "xyz"]
    with pytest.raises(Busy, match="All 3 places"):
        queue.enter("w", 1)
    # Whoever leaves before the turn comes is not waited for.
    queue.leave(resting[0])
    queue.leave(resting[0])
    assert served(queue, [running, *waiting, *resting[1:]]) == [running, *waiting, *resting[1:]]
    client_address.set("")


def test_what_comes_last_hears_that_the_queue_is_shut():
    queue = FairQueue(3, 2)
    queue.enter("a", 1)
    live = queue.enter("b", 1, last=True)

    async def wait():
        queue.shut()
        async for _ in queue.wait(live):
            pass

    with pytest.raises(Busy, match="restarting"):
        asyncio.run(wait())
    with pytest.raises(Busy, match="restarting"):
        queue.enter("b", 1, last=True)
