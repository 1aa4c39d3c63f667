"""The path of a Brownian motion that a seed says, wherever it is looked at: noise that hangs together over the steps.

A stochastic solver that looks half a step ahead must meet the same path there as at its next step. The path is the one
of torchsde's BrownianTree, which k-diffusion's DPM++ SDE solvers walk: the noise of each stretch between the two ends
is halved at its middle, by numbers that a hash of seed and place gives, until a time is met to six digits.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

Stream = Callable[[tuple[int, ...]], torch.Tensor]
_DIGITS = 6
_POOL = 24


class BrownianPath:
    """Of tensors of a shape between two times; `stream` begins the normal numbers of a seed."""

    def __init__(self, stream: Callable[[int], Stream], seed: int, shape: tuple[int, ...], start: float, end: float):
        self._ends = round(start, _DIGITS), round(end, _DIGITS)

        # The upper stretches are met by all times.
        @lru_cache(maxsize=16)
        def drawn(*place: int) -> torch.Tensor:
            sequence = np.random.SeedSequence(seed, spawn_key=place, pool_size=_POOL)
            return stream(int(sequence.generate_state(1)[0]))(shape).double()

        self._drawn = drawn
        # Where one step ends the next begins.
        self._at = lru_cache(maxsize=4)(self._walked)
        self._whole = drawn() * math.sqrt(end - start)

    def __call__(self, early: float, late: float) -> torch.Tensor:
        """How far it goes from one time to another, as noise of deviation 1, float32."""
        return ((self._at(late) - self._at(early)) / math.sqrt(abs(late - early))).float()

    def _walked(self, time: float) -> torch.Tensor:
        """Where it is at a time, from its start."""
        (start, end), goes = self._ends, self._whole
        time, here, place, depth = round(time, _DIGITS), torch.zeros_like(goes), 0, 0
        while start < time < end:
            middle = round((start + end) / 2, _DIGITS)
            length, before, after = end - start, middle - start, end - middle
            # A bridge: what is known of the whole, and what is not.
            half = before / length * goes + math.sqrt(before * after / length) * self._drawn(place, depth)
            right = time >= middle
            here, goes = (here + half, goes - half) if right else (here, half)
            start, end = (middle, end) if right else (start, middle)
            place, depth = 2 * place + right, depth + 1
        return here if time <= start else here + goes
