"""Which replica a mix goes to (serving/routing.py)."""

import random
from collections import deque

import pytest

from serving.queue import FairQueue
from serving.routing import Mix
from tests.simulation.dispatching import Dispatcher, Window
from tests.simulation.rivals import RandomRouting

INK = Mix("ink", (("a", 10),))
WASH = Mix("wash", (("a", 10), ("b", 5)))
OIL = Mix("oil", (("c", 7),))


def routing(*names, **settings):
    """With these replicas."""
    made = Dispatcher(**settings)
    for name in names:
        made.come(name)
    return made


def painted(made, mix):
    """The replica that paints it while nobody else wants anything."""
    replica = made.choose(mix)
    made.done(replica)
    return replica


def test_a_mix_goes_where_it_is_on_then_where_its_adapters_are():
    made = routing("x", "y")
    x = painted(made, INK)
    y = painted(made, OIL)
    assert {x, y} == {"x", "y"}
    assert [painted(made, mix) for mix in (INK, OIL, INK)] == [x, y, x]
    assert made.figures.public() == {"hits": 3, "misses": 2, "moved": 17}
    # Of wash x has one adapter already; then ink is on nowhere, and x still has all of it.
    assert painted(made, WASH) == x and made.figures.moved == 22
    assert painted(made, INK) == x and made.figures.moved == 22


def test_a_hot_mix_spreads_and_nobody_waits_while_a_replica_idles():
    made = routing("x", "y", "z")
    assert {made.choose(INK) for _ in range(3)} == {"x", "y", "z"}
    assert made.choose(INK) is None
    for name in "xyz":
        made.done(name)
    assert {made.choose(INK) for _ in range(3)} == {"x", "y", "z"} and made.figures.hits == 3


def test_the_longest_unused_replica_gives_way_so_a_mix_loses_copies_that_it_does_not_need():
    made = routing("x", "y", "z")
    twice = {made.choose(INK), made.choose(INK)}
    for name in twice:
        made.done(name)
    rare = painted(made, OIL)
    kept = painted(made, INK)
    assert painted(made, Mix("new")) in twice - {kept}
    assert painted(made, OIL) == rare and painted(made, INK) == kept


def test_who_goes_takes_all_with_it_and_comes_back_with_nothing():
    made = routing("x", "y")
    x = painted(made, INK)
    made.go(x)
    made.go(x)
    made.done(x)
    assert painted(made, INK) != x and made.figures.misses == 2
    made.come(x)
    assert made.on(x) is None
    with pytest.raises(ValueError, match="there already"):
        made.come(x)


def test_a_replica_that_went_while_busy_is_not_idle_when_it_is_done():
    made = routing("x")
    made.go(made.choose(INK))
    made.done("x")
    assert made.choose(INK) is None and not list(made.idle)


def test_adapters_beyond_the_room_go_the_least_recently_used_first():
    made = routing("x", room=12)
    for mix in (INK, OIL, OIL, INK):
        painted(made, mix)
    assert made.figures.moved == 10 + 7 + 10


def test_the_window_lets_a_job_past_so_often_at_most():
    made = routing("x")
    window = Window(made, patience=3)
    painted(made, INK)
    window.enter("oil", OIL)
    for i in range(6):
        window.enter(f"ink {i}", INK)
    order = []
    while started := window.start():
        order.append(started[0])
        made.done(started[1])
    assert order == ["ink 0", "ink 1", "ink 2", "oil", "ink 3", "ink 4", "ink 5"]


def test_the_window_forgets_who_leaves_and_a_job_that_lost_its_replica_is_first():
    made = routing("x")
    window = Window(made, patience=9)
    for job, mix in (("one", INK), ("two", INK), ("three", OIL)):
        window.enter(job, mix)
    assert window.start() == ("one", "x") and window.start() is None
    window.leave("two")
    window.leave("two")
    made.go("x")
    made.come("x")
    window.enter("one", INK, again=True)
    assert window.start()[0] == "one"
    made.done("x")
    assert window.start()[0] == "three" and len(window) == 0


def served(made, window, sending, late=None):
    """Serve what visitors send, each with a mix of its own, with 2 replicas; the visitors in the order of their starts.

    `late` sends one picture when fifty have started. Without a window jobs start in the order of their turns.
    """
    queue, jobs = FairQueue(1000, 1000, at_once=2 + window), Window(made, patience=2 * window)
    waiting, running, order = [queue.enter(visitor, 1) for visitor in sending], deque(), []
    for name in "xy":
        made.come(name)
    while waiting or len(jobs) or running:
        for ticket in [ticket for ticket in waiting if ticket.turn.is_set()]:
            waiting.remove(ticket)
            jobs.enter(ticket, Mix(ticket.session))
        while started := jobs.start():
            running.append(started)
            order.append(started[0].session)
        if len(order) >= 50 and late:
            waiting.append(queue.enter(late, 1))
            late = None
        ticket, replica = running.popleft()
        made.done(replica)
        queue.leave(ticket)
    return order


def share(figures):
    """Of the jobs, how many found their mix on."""
    return figures.hits / (figures.hits + figures.misses)


def test_8_mixes_over_2_replicas_that_come_in_sessions():
    """Pairs of visitors paint fifty each, one after the other, and look at each before the next: all are idle then."""
    shares = []
    for made in (Dispatcher(), RandomRouting()):
        made.come("x"), made.come("y")
        for pair in ("ab", "cd", "ef", "gh"):
            for _ in range(50):
                for visitor in pair:
                    painted(made, Mix(visitor))
        shares.append(share(made.figures))
    assert shares[0] >= 0.9 > 0.6 > shares[1], shares


@pytest.mark.parametrize("mixed", [False, True])
def test_8_mixes_over_2_replicas_that_all_wait(mixed):
    """Fair turns change the mix with each job, and where one replica becomes idle at a time routing has no choice: only
    a window finds nine jobs in ten their mix, for that takes ten of a mix in a row.
    """
    sending = [visitor for _ in range(30) for visitor in "abcdefgh"]
    if mixed:
        random.Random(0).shuffle(sending)
    shares = []
    for made, window in ((Dispatcher(), 64), (Dispatcher(), 0), (RandomRouting(), 0)):
        order = served(made, window, sending)
        assert sorted(order) == sorted(sending)
        shares.append(share(made.figures))
    assert shares[0] >= 0.9 and max(shares[1:]) < 0.15, shares


def test_what_a_window_costs_a_newcomer():
    sending, ahead = [visitor for _ in range(30) for visitor in "abcdefgh"], {}
    for window in (0, 64):
        order = served(Dispatcher(), window, sending, late="late")
        ahead[window] = order.index("late") - 50
    # It stands behind one turn of each, or behind all in the window, where twice as many may overtake it.
    assert ahead[0] <= 8 and 64 <= ahead[64] <= 8 + 3 * 64, ahead
