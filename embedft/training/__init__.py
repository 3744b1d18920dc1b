"""Pairs into a better encoder."""

from embedft.training.run import TrainResult, train
from embedft.training.tuning.tune import TuneResult, tune

__all__ = ["TrainResult", "TuneResult", "train", "tune"]
