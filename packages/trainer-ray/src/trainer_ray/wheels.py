"""Machines of a cluster that are not alike are refused before they compute anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core.engine.runfolder import describe_plugins
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["require_same_wheels"]


def require_same_wheels(there: Mapping[str, Any], loaded: LoadedExperiment) -> None:
    """Refuse a machine that has other versions than the one where the run was started.

    Args:
        there: Each wheel that the experiment uses there, with its `version`.
        loaded: The experiment, loaded here.

    Raises:
        UserError: A version differs, or a wheel is not used here.
    """
    here = describe_plugins(loaded)["wheels"]
    differences = [
        f"{name} is {wheel['version']} where the run was started, and "
        f"{here[name]['version'] if name in here else 'not used'} here"
        for name, wheel in there.items()
        if name not in here or here[name]["version"] != wheel["version"]
    ]
    if differences:
        import ray  # noqa: PLC0415 - only to say where

        where = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call] # Ray leaves it so
        msg = f"the machine {where} has other wheels:\n  " + "\n  ".join(differences)
        raise UserError(msg)
