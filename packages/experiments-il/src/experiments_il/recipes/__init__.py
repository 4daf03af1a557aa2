"""Runnable experiment files: `trainer run il/<name>`."""
