"""Which names of a module a wildcard declaration stands for, read from the module's source."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from policy_constructor.source.static import derives_from, find_attribute, public_names

if TYPE_CHECKING:
    from policy_constructor.discovery.component import Family

__all__ = ["is_member", "likely_members"]

_BASES = {"block": "Module", "optim_cls": "Optimizer", "sched_cls": "LRScheduler"}


def is_member(family: Family, key: str) -> bool:
    """Whether a key names a member of a family.

    Members of a kind that has a base class are the classes derived from it; those of other kinds
    are all public classes and functions.
    """
    name = key.removeprefix(family.prefix)
    if not key.startswith(family.prefix) or not name.isidentifier() or name.startswith("_"):
        return False
    found = find_attribute(family.module, name)
    if found is None:
        return False
    base = _BASES.get(family.kind)
    if base is not None:
        return derives_from(found, base)
    return not isinstance(found.node, ast.Module)


def likely_members(family: Family) -> list[str]:
    """Return keys for suggestions; classes are told by their capital, not looked up one by one."""
    base = _BASES.get(family.kind)
    return [
        f"{family.prefix}{name}"
        for name in public_names(family.module)
        if base is None or (name[0].isupper() and name != base)
    ]
