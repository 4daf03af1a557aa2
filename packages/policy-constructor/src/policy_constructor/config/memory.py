"""Plain Python values to nodes without marks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import Node
from policy_constructor.config.parse import MAX_DEPTH, MAX_NODES

if TYPE_CHECKING:
    from policy_constructor.config.node import Mark, Path
    from policy_constructor.config.report import Report

__all__ = ["from_plain"]

_LARGEST_BITS = 10_000  # Python writes about 14,000 bits in decimal without complaint


class _Converter:
    def __init__(self, report: Report, mark: Mark | None) -> None:
        self.report = report
        self.mark = mark
        self.count = 0

    def convert(self, value: Any, path: Path) -> Node:
        node = Node(None, self.mark)
        self.count += 1
        if self.count == MAX_NODES + 1:
            self.report.poison(node, f"more than {MAX_NODES} values", path, code="too-large")
        if self.count > MAX_NODES:
            node.poisoned = True
        elif isinstance(value, Mapping | list | tuple):
            self.convert_container(value, node, path)
        elif value is None or isinstance(value, bool):
            node.value = value
        elif isinstance(value, str):
            node.value = str.__str__(value)  # the text alone of an enum's member
        elif isinstance(value, float):
            node.value = float(value)
        elif isinstance(value, int):
            node.value = int(value)
            if node.value.bit_length() > _LARGEST_BITS:
                self.report.poison(node, "the integer is too large", path, code="wrong-type")
        elif isinstance(value, os.PathLike):
            node.value = os.fspath(value)
        else:
            message = f"a {type(value).__name__} cannot stand in a configuration"
            expected = "a mapping, list, text, number, boolean, path or None"
            self.report.poison(node, message, path, code="wrong-type", expected=expected)
        return node

    def convert_container(
        self, value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], node: Node, path: Path
    ) -> None:
        if len(path) >= MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
            self.report.poison(node, message, path, code="too-deep")
        elif isinstance(value, Mapping):
            node.value = {}
            for key, item in value.items():
                if isinstance(key, str):
                    node.value[key] = self.convert(item, (*path, key))
                else:
                    message = f"a key must be text, found {key!r}"
                    self.report.add(self.mark, message, path, code="non-text-key")
        else:
            node.value = [self.convert(item, (*path, index)) for index, item in enumerate(value)]


def from_plain(value: Any, report: Report, path: Path = (), mark: Mark | None = None) -> Node:
    """Return the nodes of a plain value; what YAML cannot hold is reported and poisoned."""
    return _Converter(report, mark).convert(value, path)
