"""The fair queue (L2, L3)."""

import asyncio

import pytest

from lora.errors import Busy
from serving.queue import Place, Turnstile, visitor


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def served(turnstile, tickets):
    """Let everything run to its end, one after the other; the order in which the tickets had their turn."""
    order = []
    while len(order) < len(tickets):
        running = next(t for t in tickets if t.turn.is_set() and t not in order)
        order.append(running)
        turnstile.leave(running)
    return order


def test_the_first_runs_at_once_and_the_others_wait():
    turnstile = Turnstile(10, 10)
    first, second = turnstile.enter("a", 2), turnstile.enter("b", 3)
    assert first.turn.is_set() and not second.turn.is_set()
    assert turnstile.status() == {"waiting": 1, "running": 1, "expected_seconds": 5.0}
    turnstile.leave(first)
    assert second.turn.is_set()
    turnstile.leave(second)
    assert turnstile.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_l3_one_who_sends_twenty_does_not_hold_up_one_who_sends_one():
    turnstile = Turnstile(100, 100)
    greedy = [turnstile.enter("greedy", 1) for _ in range(20)]
    late = turnstile.enter("late", 1)
    assert turnstile.place(late).place == 1  # behind the running job only
    order = served(turnstile, [*greedy, late])
    assert order.index(late) == 1
    assert [t for t in order if t is not late] == greedy


def test_l3_turns_go_round_and_newcomers_starve_nobody():
    turnstile = Turnstile(100, 100)
    tickets = [turnstile.enter(s, 1) for s in "aaaabbbbcc"]
    assert "".join(t.session for t in served(turnstile, tickets)) == "abcabcabab"

    turnstile = Turnstile(100, 100)
    running, patient = turnstile.enter("a", 1), turnstile.enter("a", 1)
    for i in range(5):
        new = turnstile.enter(f"new {i}", 1)
        turnstile.leave(running)
        if patient.turn.is_set():
            break
        running = new
    assert i <= 2


def test_l2_it_is_full_at_its_size_exactly_and_says_when_to_come_back():
    clock = Clock()
    turnstile = Turnstile(3, 2, clock=clock)
    running = turnstile.enter("a", 10)
    clock.now = 4
    turnstile.enter("a", 1), turnstile.enter("a", 1)
    with pytest.raises(Busy, match=r"2 of your pictures are waiting already; try again in about 6 s\."):
        turnstile.enter("a", 1)
    turnstile.enter("b", 1)
    for session in "abc":
        with pytest.raises(Busy, match="All 3 places"):
            turnstile.enter(session, 1)
    turnstile.leave(running)
    turnstile.enter("c", 1)


def test_a_place_can_be_foreseen_and_leaves_no_trace():
    turnstile = Turnstile(3, 2)
    assert turnstile.foresee("a") == Place(0, 0.0)
    running = turnstile.enter("a", 10)
    turnstile.enter("a", 4), turnstile.enter("a", 4)
    before = turnstile.status()
    # A newcomer stands before the second one of somebody who has had a turn.
    foreseen, ticket = turnstile.foresee("b"), turnstile.enter("b", 1)
    assert foreseen == turnstile.place(ticket)
    turnstile.leave(ticket)
    with pytest.raises(Busy, match="2 of your pictures"):
        turnstile.foresee("a")
    assert turnstile.status()["waiting"] == before["waiting"] == 2 and turnstile.status()["running"] == 1
    turnstile.leave(running)
    turnstile.shut()
    with pytest.raises(Busy, match="is restarting"):
        turnstile.foresee("b")


def test_place_and_seconds_count_what_is_before():
    clock = Clock()
    turnstile = Turnstile(10, 10, clock=clock)
    turnstile.enter("a", 10)
    second, third = turnstile.enter("b", 4), turnstile.enter("c", 7)
    clock.now = 3
    assert (turnstile.place(second).place, turnstile.place(second).expected_seconds) == (1, 7.0)
    assert (turnstile.place(third).place, turnstile.place(third).expected_seconds) == (2, 11.0)
    clock.now = 30  # longer than predicted: nothing negative
    assert turnstile.place(third).expected_seconds == 4.0


def test_a_waiting_job_hears_its_place_until_its_turn():
    async def run():
        turnstile = Turnstile(10, 10)
        first, second = turnstile.enter("a", 1), turnstile.enter("b", 1)
        places = []

        async def wait():
            async for place in turnstile.wait(second, pulse=0.01):
                places.append(place.place)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.05)
        turnstile.leave(first)
        await asyncio.wait_for(task, 1)
        return places

    places = asyncio.run(run())
    assert len(places) >= 2 and set(places) == {1}


def test_whoever_leaves_while_waiting_is_gone_at_once_and_leaving_twice_is_harmless():
    turnstile = Turnstile(10, 10)
    first, second, third = (turnstile.enter(s, 1) for s in "abc")
    turnstile.leave(second)
    turnstile.leave(second)
    assert turnstile.status()["waiting"] == 1 and turnstile.place(third).place == 1
    turnstile.leave(first)
    assert third.turn.is_set() and not second.turn.is_set()


def test_several_may_run_at_once():
    turnstile = Turnstile(10, 10, at_once=2)
    tickets = [turnstile.enter(s, 4) for s in "abc"]
    assert [t.turn.is_set() for t in tickets] == [True, True, False]
    assert turnstile.place(tickets[2]).expected_seconds == 4.0


def test_f4_when_it_is_shut_those_who_wait_are_told_and_the_running_one_goes_on():
    async def run():
        turnstile = Turnstile(10, 10)
        first, second = turnstile.enter("a", 1), turnstile.enter("b", 1)

        async def wait():
            async for _ in turnstile.wait(second):
                turnstile.shut()

        with pytest.raises(Busy, match="is restarting"):
            await asyncio.wait_for(wait(), 5)
        turnstile.leave(second)
        with pytest.raises(Busy, match="is restarting"):
            turnstile.enter("c", 1, again=True)
        assert turnstile.status()["running"] == 1
        turnstile.leave(first)
        assert turnstile.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}

    asyncio.run(run())


def test_whoever_is_far_behind_hears_of_it_less_often():
    async def run():
        turnstile = Turnstile(100, 100)
        tickets = [turnstile.enter(str(i), 1) for i in range(41)]
        heard = dict.fromkeys((1, 40), 0)

        async def wait(i):
            async for _ in turnstile.wait(tickets[i], pulse=0.02):
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
    turnstile, order = Turnstile(2, 2), []
    part = turnstile.enter("grid", 1)
    others = [turnstile.enter(session, 1) for session in "ab"]
    for _ in range(4):
        running = next(t for t in (part, *others) if t.turn.is_set() and t not in order)
        order.append(running)
        turnstile.leave(running)
        if running is part:
            part = turnstile.enter("grid", 1, again=True)
    assert "".join(t.session[0] for t in order) == "gabg"


def enter(turnstile, address, session, seconds=1):
    """A job from an address."""
    visitor.set(address)
    return turnstile.enter(session, seconds)


def test_many_sessions_of_one_address_have_the_turns_of_one():
    turnstile = Turnstile(100, 100)
    flood = [enter(turnstile, "flood", f"made up {i}") for i in range(20)]
    one, other = enter(turnstile, "a", "x"), enter(turnstile, "b", "y")
    assert [turnstile.place(ticket).place for ticket in (one, other)] == [1, 2]
    order = served(turnstile, [*flood, one, other])
    assert order.index(one) == 1 and order.index(other) == 2
    assert turnstile._served == turnstile._lines == {}


def test_where_a_flood_has_all_places_it_gives_one_up_and_hears_of_it():
    async def run():
        turnstile = Turnstile(4, 4)
        flood = [enter(turnstile, "flood", f"made up {i}") for i in range(5)]
        with pytest.raises(Busy, match="All 4 places"):
            enter(turnstile, "flood", "one more")
        one = enter(turnstile, "a", "x")
        with pytest.raises(Busy, match="the last of many jobs from your address"):
            [place async for place in turnstile.wait(flood[-1])]
        assert turnstile.place(one).place == 1 and turnstile.status()["waiting"] == 4
        two = enter(turnstile, "b", "y")
        # Nobody has two more than another now.
        with pytest.raises(Busy, match="All 4 places"):
            enter(turnstile, "a", "z")
        turnstile.leave(flood[-1])
        order = served(turnstile, [*(ticket for ticket in flood if not ticket.refused), one, two])
        assert order[1:3] == [one, two] and len(order) == 5

    asyncio.run(run())
