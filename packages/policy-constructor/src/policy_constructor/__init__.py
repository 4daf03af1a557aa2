"""A YAML language and a YAML-first constructor of torch models."""

__version__ = "0.1.0"
