"""`io` against the keys that the data set's class declares for its batches, read from source."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from policy_constructor.discovery.errors import RegistryError
from policy_constructor.source.static import class_attribute, find_attribute
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins

__all__ = ["check_batch_keys"]

_WITHOUT_KEYS = frozenset({"torch"})


def check_batch_keys(
    resolved: ResolvedConfig, full_ids: Mapping[Path, str], plugins: Plugins
) -> list[Problem]:
    """Return a problem for each path of `io.mapping` that begins with no key of the batch.

    Only a data set whose class has the attribute `batch_keys`, a literal, is known that well.
    """
    name = full_ids.get(("data",))
    if name is None or not full_ids.get(("io",), "").endswith("io.mapping"):
        return []
    keys = _declared(name, plugins)
    return list(_unknown(resolved, name, keys)) if keys else []


def _unknown(resolved: ResolvedConfig, dataset: str, keys: tuple[str, ...]) -> Iterator[Problem]:
    for section in ("model_kwargs", "targets"):
        mapping = resolved.node("io", section)
        for name, path in mapping.items() if mapping is not None else ():
            first = path.child(0)
            if first is None or not isinstance(first.value, str) or first.value in keys:
                continue
            yield resolved.problem(
                ("io", section, name, 0),
                f"the batches of {dataset} have no {first.value!r}",
                code="unknown-batch-key",
                expected=f"one of {', '.join(keys)}",
                suggestions=nearest(first.value, keys),
            )


def _declared(name: str, plugins: Plugins) -> tuple[str, ...]:
    """Return the literal `batch_keys` of a data set's class; empty if it has none."""
    try:
        ref = plugins.find(name, ("data",))
    except RegistryError:
        return ()
    found = find_attribute(ref.module, ref.attr)
    stated = class_attribute(found, "batch_keys", _WITHOUT_KEYS) if found is not None else None
    if stated is None or not isinstance(stated.node, ast.Tuple | ast.List):
        return ()
    values = [item.value for item in stated.node.elts if isinstance(item, ast.Constant)]
    return tuple(value for value in values if isinstance(value, str))
