"""Style pictures -> adapter: `config` how, `dataset` from what, `loop` and `objective` learn, `export` writes.

`pictures` takes what strangers hand in, `slices` lets others paint in between.

From a shell: `python -m training --images DIR --output FILE.safetensors --trigger WORD`.
"""

from pipeline.families import Components
from training.config import TARGETS, TrainingConfig
from training.dataset import Example, read_examples, read_folder
from training.export import TrainedAdapter
from training.inject import trainable_parameters
from training.loop import TrainingStep, train
from training.pictures import HandedIn, handed_in, read_pictures
from training.slices import TrainingState, train_slice

__all__ = [
    "TARGETS", "Components", "Example", "HandedIn", "TrainedAdapter", "TrainingConfig", "TrainingState",
    "TrainingStep", "handed_in", "read_examples", "read_folder", "read_pictures", "train", "train_slice",
    "trainable_parameters",
]  # fmt: skip
