"""Style pictures -> adapter: `config` how, `dataset` from what, `loop` and `objective` learn, `export` writes.

`pictures` takes what strangers hand in, `slices` lets others paint in between. `distill` learns few steps from the base
itself.

From a shell: `python -m training --images DIR --output FILE.safetensors --trigger WORD`.
"""

from pipeline.families import Components
from training.config import TARGETS, TrainingConfig
from training.dataset import Example, read_examples, read_folder
from training.export import TrainedAdapter
from training.inject import trainable_parameters
from training.loop import TrainingStep, prolonged, train
from training.pictures import HandedIn, handed_in, read_pictures
from training.slices import TrainingSlice, TrainingState, train_slice

__all__ = [
    "TARGETS", "Components", "Example", "HandedIn", "TrainedAdapter", "TrainingConfig", "TrainingSlice",
    "TrainingState", "TrainingStep", "handed_in", "prolonged", "read_examples", "read_folder", "read_pictures", "train",
    "train_slice", "trainable_parameters",
]  # fmt: skip
