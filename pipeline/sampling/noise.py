"""Where noise comes from: torch's generator on the CPU, or a GPU's as `philox` counts it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from pipeline.sampling.brownian import Stream
from pipeline.sampling.philox import Philox


def cpu(seed: int) -> Stream:
    """Normal numbers of torch's generator, float32."""
    return partial(torch.randn, generator=torch.Generator().manual_seed(seed))


# By what a request calls them, and so does AUTOMATIC1111.
SOURCES: dict[str, Callable[[int], Stream]] = {"cpu": cpu, "nv": Philox}


@dataclass(frozen=True)
class Added:
    """The noise that a sampler adds: `fresh` at each step, or along the Brownian path of `seed` in streams of its own,
    which `begin` begins."""

    fresh: Stream
    begin: Callable[[int], Stream]
    seed: int

    @classmethod
    def of(cls, generator: torch.Generator) -> "Added":
        """From where it stands."""
        return cls(partial(torch.randn, generator=generator), cpu, generator.initial_seed())
