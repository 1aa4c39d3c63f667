"""Training in slices, so that others paint in between: what a slice has come to crosses to the next one as bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from PIL import Image

from pipeline.families import Components
from training.config import TrainingConfig
from training.dataset import Example
from training.export import TrainedAdapter
from training.loop import TrainingStep, opened


@dataclass(frozen=True)
class TrainingState:
    """Where a slice has stopped: `losses` one for each step done, `data` for the next slice.

    The bytes hold weights and optimizer (12 bytes for each number that is learnt), latents and text states.
    """

    losses: tuple[float, ...]
    data: bytes = field(repr=False)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


def train_slice(
    components: Components,
    examples: Sequence[Example],
    config: TrainingConfig,
    state: bytes | None,
    seconds: float,
    paint: Callable[[], Image.Image] | None = None,
) -> Iterator[TrainingStep | TrainingState | TrainedAdapter]:
    """Train for about `seconds`, at least one step: yields as `train` does, and last a TrainingState, or the
    TrainedAdapter when all steps are done.

    `state` is the `data` of the slice before, None for the first. However it is cut, training comes to the same bits.
    When the last item is there, and when the generator is closed, the base has no adapter layers and the bits that it
    had; closed before its end, a slice has done nothing. No step is begun that would not be done in time if it took
    as long as the longest so far; what a caller does between two items counts. Raises as `train` does, and
    InvalidRequest for a `state` that is damaged or of another run.
    """
    start, longest, last = monotonic(), 0.0, None
    with opened(components, examples, config, state) as run:
        while not run.done and last is None:
            before = monotonic()
            yield run.sampled(run.advance(), paint)
            now = monotonic()
            longest = max(longest, now - before)
            if not run.done and now - start + longest > seconds:
                last = TrainingState(tuple(run.losses), run.saved())
        result = last or run.adapter()
    yield result
