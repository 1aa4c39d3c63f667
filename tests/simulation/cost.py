"""What a decision of FairQueue costs as more wait, in processor time."""

import math
import statistics
import time

from serving.queue import FairQueue, Ticket, client_address

WAITING = (100, 1000, 10_000, 100_000)
RUNNING = 1000


class Filling(FairQueue):
    """Can be filled without deciding anything, for which a hundred thousand decisions would take an hour."""

    filling = True

    def _advance(self) -> None:
        if not self.filling:
            super()._advance()


def costs(waiting: tuple[int, ...] = WAITING) -> str:
    """Milliseconds for each number that wait, each from an address of its own, and the exponent, in Markdown."""
    rows = [(number, *measured(number)) for number in waiting]
    lines = ["| waiting | enter ms | leave ms | place ms | turns / s |", "|---:|---:|---:|---:|---:|"]
    # Of each turn one enters and one leaves.
    lines += [f"| {n:,} | {e:.3f} | {x:.3f} | {p:.3f} | {1000 / (e + x):,.0f} |" for n, e, x, p in rows]
    cost = [(math.log(n), math.log(e + x)) for n, e, x, _ in rows]
    fit = statistics.linear_regression([n for n, _ in cost], [c for _, c in cost]) if len(cost) > 1 else None
    end = f", of the last two {(cost[-1][1] - cost[-2][1]) / (cost[-1][0] - cost[-2][0]):.2f}" if fit else ""
    return "\n".join([*lines, "", f"Exponent of enter and leave: {fit.slope:.2f}{end}" if fit else ""])


def measured(waiting: int, rounds: int = 5) -> tuple[float, float, float]:
    """Medians in milliseconds: of one who enters, of one who is done and lets the next in, of telling a place."""
    queue, running = filled(waiting)
    enter, leave, place = [], [], []
    for i in range(rounds):
        client_address.set(f"new {i}")
        begun = time.process_time()
        ticket = queue.enter(f"new {i}", 8.0)
        enter.append(time.process_time() - begun)
        begun = time.process_time()
        queue.place(ticket)
        place.append(time.process_time() - begun)
        begun = time.process_time()
        queue.leave(running[i])
        leave.append(time.process_time() - begun)
    enters, leaves, places = (1000 * statistics.median(times) for times in (enter, leave, place))
    return enters, leaves, places


def filled(waiting: int) -> tuple[FairQueue, list[Ticket]]:
    """A queue in which so many wait, and the tickets of those that run."""
    queue = Filling(2 * waiting + 10, 10, at_once=RUNNING)
    tickets = []
    for i in range(RUNNING + waiting):
        client_address.set(f"visitor {i}")
        tickets.append(queue.enter(f"visitor {i}", 8.0))
    queue.filling = False
    queue._advance()
    return queue, [ticket for ticket in tickets if ticket.turn.is_set()]
