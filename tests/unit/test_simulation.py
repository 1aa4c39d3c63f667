"""The simulation of many GPUs (tests/simulation): nothing is lost, nothing is doubled, the same again."""

import pytest

from tests.simulation.cost import costs
from tests.simulation.simulation import Simulation
from tests.simulation.table import WAYS, jain, table
from tests.simulation.workload import jobs


@pytest.mark.parametrize("name, queue, routing, windowed", WAYS, ids=[way[0] for way in WAYS])
def test_each_job_is_done_once_though_replicas_die(name, queue, routing, windowed):
    sent = jobs(6, 300, 0.6, seed=1)
    simulation = Simulation(queue, routing(), 6, 3 if windowed else 0, life=300, seed=1)
    outcome = simulation.run(sent)
    assert outcome.again > 2 and set(outcome.done) == set(sent) and set(outcome.runs.values()) == {1}
    assert all(outcome.done[job] >= job.sent + job.seconds - 1e-6 for job in sent)
    assert outcome.painting < outcome.busy < outcome.there


def test_the_same_seed_has_the_same_table_and_another_has_not():
    first, again, other = (table(5, 300, 0.7, 2, seed) for seed in (0, 0, 1))
    assert first == again != other and all(row.endswith("| 0 |") for row in first.splitlines()[2:])


def test_fair_turns_spare_whoever_sends_little():
    rows = [row.split(" | ") for row in table(10, 600, 0.8, 2, 0).splitlines()]
    light = {row[0].strip("| "): float(row[4]) for row in rows[2:]}
    assert light["fair, affinity, window"] < light["first in first out, random"] / 2


def test_the_costs_have_a_row_for_each_number_that_wait():
    assert costs((10, 100)).count("\n") == 5 and jain([2, 2, 2]) == 1
