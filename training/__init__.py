"""Style pictures -> adapter: `config` how, `dataset` from what, `loop` and `objective` learn, `export` writes.

From a shell: `python -m training --images DIR --output FILE.safetensors --trigger WORD`.
"""

from pipeline.families import Components
from training.config import TARGETS, TrainingConfig
from training.dataset import Example, read_examples, read_folder
from training.export import TrainedAdapter
from training.inject import trainable_parameters
from training.loop import TrainingStep, train

__all__ = [
    "TARGETS", "Components", "Example", "TrainedAdapter", "TrainingConfig", "TrainingStep", "read_examples",
    "read_folder", "train", "trainable_parameters",
]  # fmt: skip
