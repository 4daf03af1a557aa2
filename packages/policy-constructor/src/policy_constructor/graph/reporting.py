"""Collects the problems of a model section and knows the few sentences that recur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Node, Path
    from policy_constructor.errors import Problem

__all__ = ["Reporter", "describe"]


class Reporter:
    """Records problems with the places of a resolved configuration.

    Attributes:
        problems: What is wrong, in the order of finding.
        warnings: What is suspicious but legal.
    """

    def __init__(self, resolved: ResolvedConfig) -> None:
        self.resolved = resolved
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, path: Path, message: str, /, **details: Any) -> None:
        """Record a problem at a path; `details` as in `ResolvedConfig.problem`."""
        self.problems.append(self.resolved.problem(path, message, **details))

    def warn(self, path: Path, message: str, /, **details: Any) -> None:
        """Record something suspicious at a path."""
        self.warnings.append(self.resolved.problem(path, message, **details))

    def expect_mapping(self, node: Node, path: Path, what: str) -> dict[str, Node] | None:
        """Return a node's mapping, or record that it is none (silently for a poisoned node)."""
        if isinstance(node.value, dict):
            return node.value
        self._wrong_type(node, path, what, "a mapping")
        return None

    def expect_list(self, node: Node, path: Path, what: str) -> list[Node] | None:
        """Return a node's list, or record that it is none (silently for a poisoned node)."""
        if isinstance(node.value, list):
            return node.value
        self._wrong_type(node, path, what, "a list")
        return None

    def expect_keys(
        self, mapping: Iterable[str], path: Path, known: tuple[str, ...], what: str
    ) -> set[str]:
        """Record every key that is not known, with the nearest that is.

        Returns:
            The known keys that were probably meant, so that they are not missed as well.
        """
        meant: set[str] = set()
        for key in mapping:
            if key not in known:
                suggestions = nearest(key, known)
                meant.update(suggestions[:1])
                self.error(
                    (*path, key),
                    f"{what} has no key {key!r}",
                    on="key",
                    code="unknown-key",
                    expected=", ".join(known),
                    suggestions=suggestions,
                )
        return meant

    def _wrong_type(self, node: Node, path: Path, what: str, expected: str) -> None:
        if not node.poisoned:
            found = describe(node.value)
            self.error(path, f"{what} must be {expected}, found {found}", code="wrong-type")


def describe(value: object) -> str:
    """Return how a message shows a value: a scalar as written, a collection by its kind."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return str(value)
