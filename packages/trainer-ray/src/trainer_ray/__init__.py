"""The Ray runners of trainer-core."""

__version__ = "0.1.0"
