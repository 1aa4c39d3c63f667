"""What a decision of FairQueue costs as more wait, in processor time."""

import math
import statistics
import time

from serving.queue import FairQueue, Ticket, client_address

WAITING = (100, 1000, 10_000, 100_000)
RUNNING = 1000


def costs(waiting: tuple[int, ...] = WAITING) -> str:
    """Milliseconds for each number that wait, each from an address of its own, and the exponent, in Markdown."""
    rows = [(number, *measured(number)) for number in waiting]
    lines = ["| waiting | enter ms | leave ms | place ms | status ms | turns / s |", "|---:|---:|---:|---:|---:|---:|"]
    # Of each turn one enters and one leaves.
    lines += [f"| {n:,} | {e:.3f} | {x:.3f} | {p:.3f} | {s:.3f} | {1000 / (e + x):,.0f} |" for n, e, x, p, s in rows]
    cost = [(math.log(n), math.log(e + x)) for n, e, x, *_ in rows]
    fit = statistics.linear_regression([n for n, _ in cost], [c for _, c in cost]) if len(cost) > 1 else None
    end = f", of the last two {(cost[-1][1] - cost[-2][1]) / (cost[-1][0] - cost[-2][0]):.2f}" if fit else ""
    return "\n".join([*lines, "", f"Exponent of enter and leave: {fit.slope:.2f}{end}" if fit else ""])


def measured(waiting: int, rounds: int = 300) -> tuple[float, ...]:
    """Medians in milliseconds: of one who enters, of one who is done and lets the next in, of telling the last one's
    place after a change, of the status.
    """
    queue, running = filled(waiting)
    times: list[tuple[float, ...]] = []
    for i in range(rounds):
        client_address.set(f"new {i}")
        begun = time.process_time()
        ticket = queue.enter(f"new {i}", 8.0)
        entered = time.process_time()
        queue.leave(running[i])
        left = time.process_time()
        queue.place(ticket)
        placed = time.process_time()
        queue.status()
        times.append((entered - begun, left - entered, placed - left, time.process_time() - placed))
    return tuple(1000 * statistics.median(column) for column in zip(*times))


def filled(waiting: int) -> tuple[FairQueue, list[Ticket]]:
    """A queue in which so many wait, and the tickets of those that run."""
    queue = FairQueue(2 * waiting + RUNNING, 10, at_once=RUNNING)
    tickets = []
    for i in range(RUNNING + waiting):
        client_address.set(f"visitor {i}")
        tickets.append(queue.enter(f"visitor {i}", 8.0))
    return queue, tickets[:RUNNING]
