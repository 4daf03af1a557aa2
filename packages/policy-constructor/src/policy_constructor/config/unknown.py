"""References that name nothing: which of the two spellings is the mistake?

When `${params.width}` names nothing and `params` has a key `widht` that nothing uses, one of the
two is misspelt. It is the key when several references agree against it, or when the name that is
missing is that of the very key that the reference fills; else it is the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.config.node import dotted
from policy_constructor.config.scalars import kind_of
from policy_constructor.spelling import is_slip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.config.node import Mark, Node, Path
    from policy_constructor.config.report import Report

__all__ = ["Unknown", "report_lookalikes", "report_unknown"]


_SHORTEST_WORD = 3  # names of one or two letters are all alike


class Unknown(NamedTuple):
    """A reference that names nothing.

    Attributes:
        reference: What stands between `${` and `}`.
        path: Where it is used.
        mark: Where it is written.
        here: The node as far as the reference leads.
        keys: Its keys.
        at: How many of them were found.
    """

    reference: str
    path: Path
    mark: Mark | None
    here: Node
    keys: Path
    at: int


def report_unknown(found: Iterable[Unknown], report: Report) -> None:
    """Report each reference, or the misspelt key that several of them mean."""
    by_name: dict[tuple[Node, str], list[Unknown]] = {}
    for unknown in found:
        by_name.setdefault((unknown.here, str(unknown.keys[unknown.at])), []).append(unknown)
    for (here, name), uses in by_name.items():
        key = _misspelt_key(here, name, uses, report)
        if key is None:
            for unknown in uses:
                _report_reference(unknown, report)
        else:
            _report_key(here, key, uses, report)


def report_lookalikes(root: Node, report: Report) -> None:
    """Report a parameter that nothing uses and that is one slip away from another file's.

    It was meant to change that one: `params: {stpes: 9}` over a base file's `steps`.
    """
    params = root.child("params")
    items = params.value if params is not None and params.is_mapping else {}
    for name, node in items.items():
        mark = node.key_mark
        if node.uses or mark is None or len(name) < _SHORTEST_WORD:
            continue
        near = [
            other
            for other, sibling in items.items()
            if sibling.key_mark is not None
            and sibling.key_mark.source is not mark.source
            and other != name
            and is_slip(name, other)
        ]
        if near:
            message = f"nothing uses the parameter {name!r}"
            path = ("params", name)
            report.add(mark, message, path, code="unused-parameter", suggestions=tuple(near[:3]))


def _misspelt_key(here: Node, name: str, uses: list[Unknown], report: Report) -> str | None:
    """Return the unused key that is misspelt, None if the references are."""
    if not here.is_mapping:
        return None
    unused = [key for key, child in here.value.items() if not child.uses]
    near = report.similar(name, unused)
    agree = len(uses) > 1 or any(str(unknown.path[-1]) == name for unknown in uses)
    return near[0] if near and agree and here.value[near[0]].key_mark is not None else None


def _report_key(here: Node, key: str, uses: list[Unknown], report: Report) -> None:
    first = uses[0]
    path = (*first.keys[: first.at], key)
    wanted = str(first.keys[first.at])
    place = f" at {first.mark.to_location()}" if first.mark else ""
    more = f" and {len(uses) - 1} more" if len(uses) > 1 else ""
    report.add(
        here.value[key].key_mark,
        f"nothing uses {key!r}, and ${{{first.reference}}} names nothing",
        path,
        code="unknown-reference",
        suggestions=(wanted,),
        notes=(f"wanted by {dotted(first.path)}{place}{more}",),
    )


def _report_reference(unknown: Unknown, report: Report) -> None:
    here, keys, at = unknown.here, unknown.keys, unknown.at
    key, parent = str(keys[at]), dotted(keys[:at])
    near: tuple[str, ...] = ()
    if here.is_mapping:
        similar = report.similar(key, here.value)
        near = tuple(dotted((*keys[:at], name)) for name in similar)
        why = f"'{parent}' has no key {key!r}" if at else f"there is no {key!r}"
    elif here.is_list:
        why = f"'{parent}' is a list of {len(here.value)}, it has no {key!r}"
    else:
        why = f"'{parent}' is {kind_of(here.value)}, it has no {key!r}"
    message = f"${{{unknown.reference}}} names nothing: {why}"
    report.add(unknown.mark, message, unknown.path, code="unknown-reference", suggestions=near)
