"""Imports simulators, which are optional packages, or says which line installs them."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["import_simulator"]


def import_simulator(module: str, packages: Collection[str], need: str, extra: str) -> Any:
    """Return a module of a simulator.

    Args:
        module: Its full name.
        packages: The packages that its extra brings.
        need: What needs it, for the message.
        extra: The extra of experiments-il.

    Raises:
        MissingPackageError: One of the packages is not installed.
        UserError: It is installed and its import fails, usually for want of OpenGL libraries.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the simulator's own packages
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in packages:
            raise
        raise MissingPackageError(need, f"experiments-il[{extra}]") from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # by OpenGL bindings
        message = (
            f"{need} is installed but cannot be imported: {error}. "
            "MUJOCO_GL chooses the OpenGL library; on a machine without a screen set MUJOCO_GL=egl"
        )
        raise UserError(message) from error
