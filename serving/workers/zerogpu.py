"""A GPU that is lent for as long as a call lasts: the only functions that ask for one."""

import math
from pathlib import Path

import spaces

from lora.adapter import AdapterMix
from lora.errors import AtelierError
from lora.export import Exported
from pipeline.engine import Engine
from pipeline.request.request import GenerationRequest
from serving.workers.local import Export, LocalWorker, Paint, Painted, Train, Trained, as_data, trained
from training import TrainingSlice

# Seconds that an export may take, and a slice of a training beside those in which it learns.
EXPORT_SECONDS, PREPARING_SECONDS = 60, 30


class ZeroGpuWorker(LocalWorker):
    """On ZeroGPU each call runs in a forked process, to and from which all is pickled, and of whose exceptions only
    gradio's arrive: so errors come as data. Elsewhere `spaces.GPU` gives the functions back as they are.
    """

    # It is released when a call ends, and to ask for it anew takes longer than a few steps.
    no_live = "a GPU is lent here for each picture anew"

    def __init__(self, engine: Engine):
        super().__init__(engine, gpu_generator(engine), gpu_export(engine), gpu_training(engine))


def gpu_generator(engine: Engine) -> Paint:
    """`engine.generate` as ZeroGPU wants it: one generator, its duration predicted from the request."""

    def seconds(request: GenerationRequest) -> int:
        # Asked for too little, the run is cut off; for too much, the visitor's quota turns it down.
        return math.ceil(5 + 1.5 * engine.facts.expected_seconds(request))

    @spaces.GPU(duration=seconds)
    def paint(request: GenerationRequest) -> Painted:
        try:
            yield from engine.generate(request)
        except Exception as error:
            yield as_data(error)

    return paint


def gpu_export(engine: Engine) -> Export:
    """`engine.export` likewise; the file is written to this machine's disk, which both processes see."""

    @spaces.GPU(duration=EXPORT_SECONDS)
    def export(mix: AdapterMix, rank: int | None, path: Path) -> Exported | AtelierError:
        try:
            return engine.export(mix, rank, path)
        except Exception as error:
            return as_data(error)

    return export


def gpu_training(engine: Engine) -> Train:
    """A slice of a training likewise. That it is enough cannot be told to the other process."""

    def seconds(work: TrainingSlice) -> int:
        return math.ceil(PREPARING_SECONDS + 1.2 * work.seconds)

    @spaces.GPU(duration=seconds)
    def train(work: TrainingSlice) -> Trained:
        try:
            yield from trained(engine, work)
        except Exception as error:
            yield as_data(error)

    return lambda work, enough: train(work)
