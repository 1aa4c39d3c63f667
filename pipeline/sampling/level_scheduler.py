"""A solver in the interface of diffusers' schedulers, which the loop and diffusers' pipelines drive alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteSchedulerOutput
from torch import Tensor

from pipeline.sampling.brownian import BrownianPath
from pipeline.sampling.levels import TrainedLevels
from pipeline.sampling.noise import Added
from pipeline.sampling.solvers import Noise, Run, Seen


@dataclass(frozen=True)
class Solver:
    """A sampler, and what it needs: `order`, the model's words for a step; `brownian`, noise along one path; `eta`, how
    much noise is left open; `plus`, the prediction without guidance too.

    `skips_last`: whether A1111 leaves out its last level before 0.
    """

    run: Callable[..., Run]
    order: int = 1
    brownian: bool = False
    eta: bool = False
    plus: bool = False
    skips_last: bool = False


class Layout(NamedTuple):
    """Levels of some steps, falling, the last mostly 0; `first` is what pure noise is multiplied by to begin with,
    `last` what the end result is."""

    levels: Tensor
    first: float
    last: float = 1.0


class LevelScheduler:
    """One run of a solver; it has state, as diffusers' have.

    `timesteps` are those at which the model is asked, of which a step may have two, and need not be whole; `sigmas` the
    levels of the steps. Latents are picture + level * noise, N x C x H x W.
    """

    def __init__(
        self, solver: Solver, trained: TrainedLevels, prediction: str, layout: Callable[[int], Layout]
    ) -> None:
        """For a model that was trained on these levels and predicts "epsilon", "v_prediction" or "sample"."""
        self.solver, self.order = solver, solver.order
        self._trained, self._prediction, self._lay_out = trained, prediction, layout

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out so many steps, and begin at the first."""
        self._layout, self._device = self._lay_out(num_inference_steps), device
        self.sigmas, self.init_noise_sigma = self._layout.levels, self._layout.first
        self.set_begin_index(0)

    def set_begin_index(self, begin_index: int) -> None:
        """Begin at a later one of the first `timesteps`: what is left is laid out as if it were all, and they are told
        anew."""
        begin = min(begin_index // self.order, len(self.sigmas) - 2)
        self._levels, self._index = self.sigmas[begin:], 0
        self._running: Run | None = None
        # What a solver asks for does not depend on what it is told.
        asking = self.solver.run(self._levels, lambda high, low: 0.0)
        asked = [next(asking)[1]]
        try:
            while True:
                asked.append(asking.send(Seen(0.0, 0.0, 0.0))[1])
        except StopIteration:
            self._asked = torch.stack(asked)
        self.timesteps = self._trained.times(self._asked).to(self._device)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """Latents as the model knows them, of variance 1."""
        return sample / (self._level**2 + 1).sqrt()

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Any = None) -> Tensor:
        """Clean latents with as much noise as there is where the run stands."""
        return original_samples + noise * self._level

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | Added | None = None,
        eta: float = 0.0,
        unguided: Tensor | None = None,
        return_dict: bool = True,
    ) -> EulerDiscreteSchedulerOutput:
        """Take what the model says of `sample` at the next of `timesteps`; gives the latents of the one after it.

        `generator` and `eta` count at the first. The output can be read as a tuple, whatever `return_dict` says.
        """
        if self._running is None:
            wanted = {"eta": eta} if self.solver.eta else {}
            self._running = self.solver.run(self._levels, self._noise(generator, sample), **wanted)
            next(self._running)
        x, level, self._index = sample.float(), self._level, self._index + 1
        clean = self._clean(model_output, x, level)
        free = clean if unguided is None else self._clean(unguided, x, level)
        try:
            x, _ = self._running.send(Seen(x, clean, free))
        except StopIteration as end:
            x = end.value * self._layout.last
        return EulerDiscreteSchedulerOutput(x.to(sample.dtype), clean)

    @property
    def _level(self) -> Tensor:
        return self._asked[self._index]

    def _clean(self, output: Tensor, x: Tensor, level: Tensor) -> Tensor:
        """The clean latents of what a model says."""
        if self._prediction == "epsilon":
            return x - level * output.float()
        if self._prediction == "v_prediction":
            return x / (level**2 + 1) - level / (level**2 + 1).sqrt() * output.float()
        return output.float()

    def _noise(self, generator: torch.Generator | Added | None, sample: Tensor) -> Noise:
        """The noise for the way between two levels, as `sample` is."""
        generator = torch.default_generator if generator is None else generator
        added, shape = generator if isinstance(generator, Added) else Added.of(generator), tuple(sample.shape)
        if not self.solver.brownian:
            return lambda high, low: added.fresh(shape).to(sample.device)
        ends = [self.sigmas[self.sigmas > 0].min().item(), self.sigmas.max().item()]
        path = BrownianPath(added.begin, added.seed, shape, *ends)
        # Time goes up with the level, and the run goes down.
        return lambda high, low: -path(low.item(), high.item()).to(sample.device)
