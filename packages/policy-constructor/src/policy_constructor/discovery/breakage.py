"""Components that are declared and cannot be imported: seen from source, before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.discovery.editable import editable_source
from policy_constructor.source.absence import why_unusable

if TYPE_CHECKING:
    from policy_constructor.discovery.component import ComponentRef

__all__ = ["Breakage", "find_breakage"]


class Breakage(NamedTuple):
    """Why a component cannot be used, and what to do.

    Attributes:
        message: Names the component, its wheel with its version, and what is wrong.
        cure: What its user can do.
    """

    message: str
    cure: str


def find_breakage(ref: ComponentRef, noun: str) -> Breakage | None:
    """Return why a component's import must fail; None where it need not.

    Args:
        ref: The component; one that a decorator registered is there.
        noun: What messages call its kind.
    """
    if ref.source == "decorator":
        return None
    reason = why_unusable(ref.module, ref.attr)
    if not reason:
        return None
    about = f"{noun} {ref.key!r} of {ref.wheel} cannot be used"
    source = editable_source(ref.origin) if ref.origin else ""
    if not source:
        cure = f"mend or upgrade it: pip install --upgrade '{ref.dist}'"
        return Breakage(f"{about}: {reason}", cure)
    if Path(source).is_dir():
        return Breakage(f"{about}: {reason}", f"mend it in {source}")
    message = f"{about}: it was installed from {source}, which is gone"
    return Breakage(message, f"bring that folder back, or: pip uninstall '{ref.dist}'")
