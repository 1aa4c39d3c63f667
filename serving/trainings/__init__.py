"""Trainings of visitors: `order` what is wanted, `job` how far it is, `run` what is done, `store` what is kept."""

from serving.trainings.job import Training, TrainingLimits
from serving.trainings.service import Trainings

__all__ = ["Training", "TrainingLimits", "Trainings"]
