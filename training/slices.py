"""Training in slices, so that others paint in between: what a slice has come to crosses to the next one as bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from pipeline.families import Components
from training.config import TrainingConfig
from training.dataset import Example
from training.export import TrainedAdapter
from training.loop import TrainingStep, opened


@dataclass(frozen=True)
class TrainingSlice:
    """What is to be done: train for about `seconds`, at least one step, and at most until step `until` is done.

    `state` is the `data` of the slice before, None for the first. Pickles: it crosses into GPU workers.
    """

    examples: tuple[Example, ...] = field(repr=False)
    config: TrainingConfig
    state: bytes | None = field(repr=False)
    seconds: float
    until: int


@dataclass(frozen=True)
class TrainingState:
    """Where a slice has stopped: `losses` one for each step done, `data` for the next slice, and the `adapter` that
    has been learnt by then.

    The bytes hold weights and optimizer (12 bytes for each number that is learnt), latents and text states.
    """

    losses: tuple[float, ...]
    data: bytes = field(repr=False)
    adapter: TrainedAdapter = field(repr=False)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


def train_slice(
    components: Components, work: TrainingSlice, enough: Callable[[float], bool] = lambda seconds: False
) -> Iterator[TrainingStep | TrainingState]:
    """Do a slice of a training: yields a TrainingStep after each step, and last the TrainingState.

    However it is cut, training comes to the same bits. When the last item is there, and when the generator is closed,
    the base has no adapter layers and the bits that it had; closed before its end, a slice has done nothing. No step is
    begun that would not be done in time if it took as long as the longest so far, what a caller does between two items
    included, nor after `enough` of the seconds so far. Raises as `train` does, and InvalidRequest for a state that is
    damaged or of another run.
    """
    start, longest, over = monotonic(), 0.0, False
    with opened(components, work.examples, work.config, work.state) as run:
        while not (over or run.done or len(run.losses) >= work.until):
            before = monotonic()
            yield run.advance()
            now = monotonic()
            longest = max(longest, now - before)
            over = now - start + longest > work.seconds or enough(now - start)
        last = TrainingState(tuple(run.losses), run.saved(), run.adapter())
    yield last
