"""A data set, a trainer and a hook for trainer-core. Importing this package imports nothing."""

__version__ = "1.0.0"
