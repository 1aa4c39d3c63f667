"""The only function that asks for a GPU."""

import math
from collections.abc import Callable, Iterator

import spaces

from pipeline.engine import DenoiseStep, Engine, Generation
from pipeline.request.request import GenerationRequest
from ui.errors import in_words

Paint = Callable[[GenerationRequest], Iterator[DenoiseStep | Generation]]


def gpu_generator(engine: Engine) -> Paint:
    """`engine.generate` as ZeroGPU wants it: one generator, its duration predicted from the request.

    There it runs in a forked worker, from which only gradio's errors come back with their message: hence `in_words`
    in here. Elsewhere `spaces.GPU` gives the function back as it is.
    """

    def seconds(request: GenerationRequest) -> int:
        # Asked for too little, the run is cut off; for too much, the visitor's quota turns it down.
        return math.ceil(5 + 1.5 * engine.expected_seconds(request))

    @spaces.GPU(duration=seconds)
    def paint(request: GenerationRequest) -> Iterator[DenoiseStep | Generation]:
        with in_words():
            yield from engine.generate(request)

    return paint
