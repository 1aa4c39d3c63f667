"""The samplers by themselves, on pictures whose every pixel is normal: what they come to is known in closed form."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from pipeline.sampling import levels, solvers
from pipeline.sampling.brownian import BrownianPath
from pipeline.sampling.noise import cpu
from pipeline.sampling.solvers import Seen
from tests import tiny

TRAINED = levels.TrainedLevels(tiny.NOISE)


def run(solver, row, x, spread, noise=None):
    """Down a row of levels with a model that knows pictures of this deviation."""
    running = solver(row, noise)
    _, level = next(running)
    while True:
        clean = x * spread**2 / (spread**2 + level**2)
        try:
            x, level = running.send(Seen(x, clean, clean))
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("solver", "order"),
    [(solvers.euler, 1), (solvers.heun, 2), (solvers.restart, 2), (solvers.dpm2, 2), (solvers.lms, 2),
     (solvers.ipndm, 2), (solvers.dpmpp_2m, 2), (solvers.res_multistep, 2), (solvers.euler_cfg_pp, 1),
     (solvers.dpmpp_2m_cfg_pp, 2), (partial(solvers.ancestral, eta=0.0), 1)],
)  # fmt: skip
def test_twice_the_steps_are_as_much_nearer_as_the_order_says(solver, order):
    # The two of more than second order are held back by their first steps; Restart goes its own way from 20 on.
    start, end, off = 5.0, 0.5, []
    for steps in (5, 10, 19) if solver is solvers.restart else (20, 40, 80):
        found = run(solver, torch.linspace(start, end, steps + 1).double(), torch.tensor(start).double(), 2.0)
        off.append(abs(float(found) / (start * ((4 + end**2) / (4 + start**2)) ** 0.5) - 1))
    assert off[1] < off[0] / (0.85 * 2**order) and off[2] < off[1] / (0.85 * 1.9**order)


@pytest.mark.parametrize("spread", [1.0, 0.3])
@pytest.mark.parametrize(
    ("solver", "brownian"),
    [(solvers.ancestral, False), (partial(solvers.ancestral, eta=0.5), False), (solvers.lcm, False),
     (partial(solvers.dpm2, eta=1.0), False), (solvers.dpmpp_2s_ancestral, False), (solvers.restart, False),
     (partial(solvers.euler_cfg_pp, eta=1.0), False), (solvers.dpmpp_sde, True), (solvers.dpmpp_2m_sde, True),
     (partial(solvers.dpmpp_2m_sde, heun=True), True), (solvers.dpmpp_3m_sde, True)],
)  # fmt: skip
def test_as_much_noise_is_added_as_is_taken_away(solver, brownian, spread):
    shape, row = (1, 4, 64, 64), levels.karras(60, TRAINED)
    fresh, path = cpu(1), BrownianPath(cpu, 2, shape, *TRAINED.ends)
    noise = (lambda high, low: -path(float(low), float(high))) if brownian else lambda high, low: fresh(shape)
    found = run(solver, row, cpu(0)(shape) * (row[0] ** 2 + spread**2).sqrt(), spread, noise)
    if solver is solvers.lcm:
        # It is for models whose every prediction is a picture; the mean of many is none.
        assert found.std() < spread and torch.isfinite(found).all()
    else:
        assert float(found.std()) == pytest.approx(spread, rel=0.08) and abs(found.mean()) < 0.05


@pytest.mark.parametrize("steps", [1, 5, 19, 20, 35, 36, 60, 150])
def test_restart_has_the_steps_that_are_asked_for(steps):
    pairs = solvers.restart_pairs(levels.karras(steps, TRAINED))
    assert len(pairs) == steps and pairs[-1][1] == 0
    up = [low for (_, low), (high, _) in pairwise(pairs) if high > low]
    assert len(up) == (0 if steps < 20 else 1 if steps < 36 else 2)
