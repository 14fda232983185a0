"""Segmentation through wrong masks: data, networks, training, evaluation and prediction."""
