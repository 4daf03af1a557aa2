"""The errors of a run, and the exit code each one means.

TrainerError                1  the run failed
├── UserError               2  the user's input is wrong; running again changes nothing
│   ├── MissingPackageError    an optional package is needed and not installed
│   ├── DatasetError           a data set cannot be read, or does not fit the model
│   └── CheckpointError        a checkpoint cannot be read, or belongs to another model
├── StorageError            1  the disk is full or refuses to be written
└── Interrupted            75  stopped by a signal with the state saved

`policy_constructor.errors.ConfigError` (exit code 2) is a mistake with a place in a file.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DatasetError",
    "Interrupted",
    "MissingPackageError",
    "StorageError",
    "TrainerError",
    "UserError",
]


class TrainerError(Exception):
    """The run failed."""

    exit_code = 1


class UserError(TrainerError):
    """The user's input is wrong."""

    exit_code = 2


class MissingPackageError(UserError):
    """An optional package is needed and not installed.

    Args:
        need: What needs it ("the evaluator 'metaworld'").
        install: The requirement that brings it ("experiments-il[metaworld]").
    """

    def __init__(self, need: str, install: str) -> None:
        super().__init__(f"{need} needs a package that is not installed: pip install '{install}'")
        self.need = need
        self.install = install


class DatasetError(UserError):
    """A data set cannot be read, or does not fit the model."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or belongs to another model."""


class StorageError(TrainerError):
    """The disk is full or refuses to be written; finished work is intact."""


class Interrupted(TrainerError):  # noqa: N818 - not a failure: the state is saved
    """The run stopped on a signal with its state saved; run it again to go on."""

    exit_code = 75
