"""The order of turns (L3): it is what asking everybody each time comes to, and is told without asking everybody."""

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from lora.errors import Busy
from serving.queue import BUMPED, EXACT, FairQueue, client_address, job_name

PLACES, OF_A_SESSION = 24, 6


class Plain:
    """FairQueue's rules as they are said, each time over all that wait. Its tickets are those of the other one."""

    def __init__(self, at_once):
        self.at_once, self.turns, self.now = at_once, 0, 0.0
        # As they came.
        self.lines, self.served, self.running = [], {}, {}

    def order(self):
        """Nothing is as plain as taking the turns. Of several that `min` finds alike it takes the first that came."""
        served = dict(self.served)
        lines = [SimpleNamespace(**vars(line) | {"waiting": [*line.waiting]}) for line in self.lines]
        order = []
        while waiting := [line for line in lines if line.waiting]:
            address = min((line.address for line in waiting), key=served.get)
            line = min((line for line in waiting if line.address == address), key=lambda line: line.served)
            order.append(line.waiting.pop(0))
            line.served = served[address] = self.turns + len(order)
        return order

    def line(self, session):
        """That of a session."""
        return next((line for line in self.lines if line.session == session), None)

    def admit(self, session, address, again):
        """Whether it comes in, and who has to go for it."""
        if again or len(self.running) < self.at_once:
            return True, None
        line, order = self.line(session), self.order()
        if not self.at_once or (line and len(line.waiting) >= OF_A_SESSION):
            return False, None
        if len(order) < PLACES:
            return True, None
        waiting = Counter(ticket.address for ticket in order)
        most, number = waiting.most_common(1)[0]
        if number < waiting[line.address if line else address] + 2:
            return False, None
        return True, [ticket for ticket in order if ticket.address == most][-1]

    def enter(self, ticket, address):
        """It stands behind the others of its session."""
        line = self.line(ticket.session)
        if not line:
            line = SimpleNamespace(session=ticket.session, address=address, served=self.turns - 1, waiting=[], runs=0)
            self.lines.append(line)
            self.served.setdefault(address, self.turns - 1)
        assert ticket.address == line.address
        line.waiting.append(ticket)

    def leave(self, ticket):
        """Whether it ran or not."""
        line = self.line(ticket.session)
        if self.running.pop(ticket, None) is not None:
            line.runs -= 1
        else:
            line.waiting.remove(ticket)
        if not line.waiting and not line.runs:
            self.lines.remove(line)
            if all(other.address != line.address for other in self.lines):
                del self.served[line.address]

    def start(self):
        """Those whose turn it is."""
        while len(self.running) < self.at_once and (order := self.order()):
            line = self.line(order[0].session)
            self.running[line.waiting.pop(0)] = self.now
            self.turns += 1
            line.runs += 1
            line.served = self.served[line.address] = self.turns

    def expected(self, ahead):
        """Seconds until so many tickets and those that run are done."""
        rest = sum(max(0.0, ticket.seconds - (self.now - since)) for ticket, since in self.running.items())
        away = 0 if self.at_once or not self.order() else 60
        return round(away + (rest + sum(ticket.seconds for ticket in ahead)) / max(1, self.at_once), 1)


@pytest.mark.parametrize("seed", range(24))
def test_l3_the_order_is_that_of_the_rules_said_plainly(seed):
    """Few addresses and sessions, and few turns between their comings, so that many of them are alike."""
    rng = random.Random(seed)
    plain = Plain(at_once=rng.randint(0, 3))
    queue = FairQueue(PLACES, OF_A_SESSION, clock=lambda: plain.now)
    queue.resize(plain.at_once)
    known, refused = [], 0
    for i in range(400):
        what = rng.choices(("enter", "leave", "done", "sooner", "resize", "pass"), (50, 8, 22, 6, 5, 9))[0]
        if what == "enter":
            session, address, again = rng.choice("abcdefghijkl"), rng.choice("1234"), rng.random() < 0.2
            client_address.set(address), job_name.set(str(i))
            comes, goes = plain.admit(session, address, again)
            if not comes:
                refused += 1
                with pytest.raises(Busy):
                    queue.enter(session, 1, again)
                continue
            ticket = queue.enter(session, rng.randint(1, 9), again)
            if goes:
                plain.leave(goes)
                known.remove(goes)
                assert goes.refused == BUMPED and goes.turn.is_set()
            plain.enter(ticket, address)
            known.append(ticket)
        elif what == "sooner" and plain.order():
            ticket = rng.choice(plain.order())
            queue.sooner(ticket.session, ticket.job)
            plain.line(ticket.session).waiting.sort(key=lambda other: other is not ticket)
        elif what == "resize":
            plain.at_once = rng.randint(0, 4)
            queue.resize(plain.at_once)
        elif what == "pass":
            plain.now += rng.randint(0, 3)
        elif leaving := [*plain.running] if what == "done" else plain.order():
            ticket = rng.choice(leaving)
            queue.leave(ticket), plain.leave(ticket), known.remove(ticket)
        plain.start()
        order = plain.order()
        assert {ticket for ticket in known if ticket.since is not None} == set(plain.running)
        assert [queue.place(ticket).place for ticket in order] == [*range(1, len(order) + 1)]
        assert [queue.place(t).expected_seconds for t in order] == [
            plain.expected(order[:n]) for n in range(len(order))
        ]
        assert queue.status() == {"waiting": len(order), "running": len(plain.running),
                                  "expected_seconds": plain.expected(order)}  # fmt: skip
    assert refused and plain.turns > 50


def crowd(addresses, most, seed=0):
    """A queue with one that runs and jobs that wait, of sessions of one address each; those in the order of turns."""
    rng = random.Random(seed)
    queue = FairQueue(10**6, 10**6)
    sending = [str(i) for i in range(addresses) for _ in range(min(most, int(rng.paretovariate(1.1))))]
    rng.shuffle(sending)
    for sender in sending:
        client_address.set(sender)
        queue.enter(f"{sender}.{rng.randint(0, 2)}", rng.randint(1, 15))
    return queue, list(queue._order)


def test_far_behind_the_next_job_of_each_address_knows_its_place_exactly_and_others_almost():
    queue, order = crowd(400, most=40)
    places = [queue.place(ticket).place for ticket in order]
    seconds = [queue.place(ticket).expected_seconds for ticket in order]
    assert len(order) > 1000 and places[:EXACT] == [*range(1, EXACT + 1)]
    seen = set()
    for i, ticket in enumerate(order):
        assert ticket.address in seen or places[i] == i + 1
        seen.add(ticket.address)
        assert i < EXACT or EXACT < places[i] <= len(order)
        # Told and true seconds alike; the running one's are before all.
        before = order[0:i]
        true = seconds[0] + sum(other.seconds for other in before)
        assert seconds[i] == pytest.approx(true, rel=0.15) and places[i] == pytest.approx(i + 1, rel=0.15)


def steps(action):
    """How many lines of Python it runs through; it is the same each time, as no time is."""
    lines, before = [], sys.gettrace()

    def trace(frame, event, arg):
        lines.append(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return len(lines)


def test_what_is_decided_among_many_takes_no_more_steps_than_among_few():
    def decisions(addresses):
        queue, order = crowd(addresses, most=9)
        queue.places = queue.waiting
        client_address.set("new")
        return {
            "place": steps(lambda: queue.place(order[-1])),
            "place of one who is near": steps(lambda: queue.place(order[9])),
            "status": steps(queue.status),
            "turn": steps(lambda: queue.leave(next(iter(queue._running)))),
            "leave": steps(lambda: queue.leave(order[len(order) // 2])),
            "enter": steps(lambda: queue.enter("new 1", 1)),
            "enter again": steps(lambda: queue.enter("new 1", 1)),
            "enter where it is full": steps(lambda: queue.enter("new 2", 1)),
            "resize": steps(lambda: queue.resize(3)),
        }

    few, many = decisions(100), decisions(3000)
    assert all(0 < many[name] < 1.5 * few[name] for name in few), (few, many)


def test_more_at_once_start_those_who_are_next_and_fewer_stop_nobody():
    queue = FairQueue(10, 10)
    tickets = [queue.enter(session, 4) for session in "abcde"]
    queue.resize(3)
    assert [ticket.turn.is_set() for ticket in tickets] == [True, True, True, False, False]
    queue.resize(1)
    assert queue.status() == {"waiting": 2, "running": 3, "expected_seconds": pytest.approx(20, abs=0.2)}
    for ticket in tickets[:2]:
        queue.leave(ticket)
        assert not tickets[3].turn.is_set()
    queue.leave(tickets[2])
    assert tickets[3].turn.is_set() and not tickets[4].turn.is_set()


def test_while_no_machine_is_there_those_who_wait_stay_and_others_hear_when_to_come():
    async def run():
        now = 0.0
        queue = FairQueue(10, 10, clock=lambda: now)
        painting, waiting = queue.enter("a", 8), queue.enter("b", 4)
        queue.resize(0, back_in=29.5)
        for ask in (lambda: queue.enter("c", 1), lambda: queue.estimate("c")):
            with pytest.raises(Busy, match=r"^No machine is there to paint just now; try again in about 30 s\.$"):
                ask()
        part = queue.enter("grid", 2, again=True)
        now = 3.0
        queue.leave(painting)
        assert not waiting.turn.is_set() and queue.status()["running"] == 0
        # As if one machine came when it should.
        assert (queue.place(part).place, queue.place(part).expected_seconds) == (2, 33.5)
        assert queue.status()["expected_seconds"] == 35.5
        told = []
        async for place in queue.wait(waiting):
            told.append(json.dumps(asdict(place)))
            queue.resize(1)
        assert told == ['{"place": 1, "expected_seconds": 29.5}'] and waiting.since == 3.0
        queue.leave(waiting), queue.leave(part)
        queue.resize(0)
        assert queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}
        queue.shut()
        with pytest.raises(Busy, match="is restarting"):
            queue.enter("c", 1)

    asyncio.run(asyncio.wait_for(run(), 5))


def test_nobody_starts_when_machines_come_to_a_queue_that_is_shut():
    queue = FairQueue(10, 10)
    queue.enter("a", 1)
    waiting = queue.enter("b", 1)
    queue.shut()
    queue.resize(5)
    assert waiting.since is None and queue.status()["running"] == 1
