"""The distributed data-parallel runner of trainer-core."""

__version__ = "0.1.0"
