"""Style pictures -> adapter: `config` how, `dataset` from what, `loop` and `objective` learn, `export` writes.

From a shell: `python -m lora.training --images DIR --output FILE.safetensors --trigger WORD`.
"""

from lora.training.config import TARGETS, TrainingConfig
from lora.training.dataset import Example, read_examples, read_folder
from lora.training.export import TrainedAdapter
from lora.training.inject import trainable_parameters
from lora.training.loop import TrainingStep, train
from lora.training.objective import Components

__all__ = [
    "TARGETS", "Components", "Example", "TrainedAdapter", "TrainingConfig", "TrainingStep", "read_examples",
    "read_folder", "train", "trainable_parameters",
]  # fmt: skip
