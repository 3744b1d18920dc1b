"""Pairs into a better encoder."""

from embedft.training.run import TrainResult, comparison_dict, train
from embedft.training.tuning.tune import TuneResult, tune

__all__ = ["TrainResult", "TuneResult", "comparison_dict", "train", "tune"]
