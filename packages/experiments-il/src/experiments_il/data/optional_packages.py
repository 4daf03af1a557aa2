"""Optional packages, imported when they are used, or the line that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from trainer_core.errors import MissingPackageError

__all__ = ["import_optional"]


def import_optional(module: str, need: str, extra: str) -> Any:
    """Return a module of a package that only some users need.

    Args:
        module: Its full name.
        need: What it is for: `reading and writing videos`.
        extra: The extra of experiments-il that brings the package.

    Raises:
        MissingPackageError: The package is not installed. A package that is there and lacks one of
            its own raises what it raises.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        package = module.partition(".")[0]
        if exc.name is None or exc.name.partition(".")[0] != package:
            raise
        raise MissingPackageError(need, f"experiments-il[{extra}]") from exc
