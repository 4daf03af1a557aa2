"""Errors of a rank as JSON data: they travel to the other ranks and to the launcher."""

from __future__ import annotations

import traceback
from typing import Any

from policy_constructor.discovery.registry import RegistryError
from policy_constructor.errors import ConfigError, Problem
from trainer_core import errors
from trainer_core.errors import TrainerError, UserError

__all__ = [
    "Failed",
    "PeerLostError",
    "RankConfigError",
    "describe",
    "echo",
    "is_final",
    "is_told_by_main",
    "rebuild",
    "tell_by_main",
]

_LAST_LINES = 12


class PeerLostError(Exception):
    """Another rank is gone: its own report says why."""


class Failed(TrainerError):  # noqa: N818 - named like the state of a run
    """A rank failed with an error that is not the engine's own."""


class RankConfigError(ConfigError):
    """What is wrong in the file was found by a rank; the text is that of its own error."""

    def __init__(self, text: str) -> None:
        super().__init__(Problem(text))

    def __str__(self) -> str:
        """Return the text as the rank would have printed it."""
        return self.problems[0].message


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON data: what kind it is, its message, its exit code."""
    report = {"kind": type(error).__name__, "message": str(error), "exit_code": 1}
    report["is_echo"] = bool(vars(error).get("is_echo"))
    if isinstance(error, ConfigError):
        return {**report, "kind": "ConfigError", "exit_code": UserError.exit_code}
    if isinstance(error, RegistryError):
        return {**report, "kind": "TrainerError"}
    if isinstance(error, TrainerError):
        return {**report, "exit_code": error.exit_code}
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    is_peer_lost = isinstance(error, PeerLostError) or _is_of_transport(error)
    return {**report, "traceback": lines, "is_peer_lost": is_peer_lost}


def echo(report: dict[str, Any], *, rank: int | None = None) -> Exception:
    """Return the error of another rank, to be raised on this one too."""
    error = rebuild(report, rank=rank)
    vars(error)["is_echo"] = True
    return error


def tell_by_main(error: Exception) -> Exception:
    """Mark an error that every rank raises, so that rank 0 alone prints it."""
    vars(error)["is_told_by_main"] = True
    return error


def is_told_by_main(error: BaseException) -> bool:
    """Return whether rank 0 raises this error, or one like it, too."""
    return bool(vars(error).get("is_told_by_main"))


def is_final(report: dict[str, Any]) -> bool:
    """Return whether trying again would end the same: the engine said what is wrong."""
    return "traceback" not in report and report["kind"] != Failed.__name__


def rebuild(report: dict[str, Any], *, rank: int | None = None) -> Exception:
    """Return an error to raise in place of the one that was described.

    Args:
        report: What `describe` returned.
        rank: Whose it is, if that matters.
    """
    where = "" if rank is None else f"rank {rank}: "
    kind, message = report["kind"], report["message"]
    if kind == "ConfigError":
        return RankConfigError(f"{where}{message}")
    known = getattr(errors, kind, None) if kind in errors.__all__ else None
    if known is not None and kind != "MissingPackageError":
        error: Exception = known(f"{where}{message}")
        return error
    if kind == Failed.__name__:
        return Failed(f"{where}{message}")
    if is_final(report):
        return (UserError if report["exit_code"] == UserError.exit_code else TrainerError)(
            f"{where}{message}"
        )
    shown = "\n".join(f"  {line}" for line in report["traceback"][-_LAST_LINES:])
    return Failed(f"{where}{kind}: {message}\n{shown}")


def _is_of_transport(error: BaseException) -> bool:
    """Return whether torch says that a connection to another rank broke."""
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text)
