"""Imitation learning for robots: trainers, data, evaluation in simulators, recipes."""

__version__ = "0.1.0"
