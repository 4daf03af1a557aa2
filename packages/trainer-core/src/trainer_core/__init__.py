"""Train robot-learning policies from one YAML file: engine, plugins, checkpoints, CLI."""

__version__ = "0.1.0"
