"""Pairs into a better encoder."""

from embedft.training.run import TrainResult, comparison_dict, train

__all__ = ["TrainResult", "comparison_dict", "train"]
