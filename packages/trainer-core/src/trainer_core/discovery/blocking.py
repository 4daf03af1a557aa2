"""Which components are switched off, by whom."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from policy_constructor.discovery.metadata import normalize_name
from trainer_core.discovery.names import OWN_DISTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.discovery.metadata import EntryPointRecord

__all__ = ["DISABLE", "ONLY", "blocked_by_environment", "blocked_outside", "reasons"]

DISABLE = "TRAINER_DISABLE_PLUGINS"
ONLY = "TRAINER_PLUGINS_ONLY"
_NOT_AMONG = f"{ONLY} does not name it, or --no-third-party is given"


def reasons(names: Iterable[str], reason: str) -> dict[str, str]:
    """Return a reason by distribution, or by full id for names with a dot."""
    return {name if "." in name else normalize_name(name): reason for name in names}


def blocked_by_environment(records: Iterable[EntryPointRecord]) -> dict[str, str]:
    """Return what TRAINER_DISABLE_PLUGINS and TRAINER_PLUGINS_ONLY switch off."""
    named = _names(os.environ.get(DISABLE, ""))
    blocked = reasons(named, f"{DISABLE} or --disable-plugin names it")
    if ONLY in os.environ:
        blocked |= blocked_outside(_names(os.environ[ONLY]), records, _NOT_AMONG)
    return blocked


def blocked_outside(
    allowed: Iterable[str], records: Iterable[EntryPointRecord], reason: str
) -> dict[str, str]:
    """Return a reason for every distribution but ours and those allowed."""
    keep = OWN_DISTS | {normalize_name(name) for name in allowed}
    return {record.dist: reason for record in records if record.dist not in keep}


def _names(text: str) -> list[str]:
    return text.replace(",", " ").split()
