"""`${a.b}` and `${env:VAR}`: references resolved in place, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config.environment import EnvironmentProblem, read_environment
from policy_constructor.config.memory import from_plain
from policy_constructor.config.node import Node, dotted
from policy_constructor.config.parse import MAX_DEPTH, MAX_NODES
from policy_constructor.config.paths import parse_path, step_into
from policy_constructor.config.references import Reference, narrow, split_text
from policy_constructor.config.scalars import format_scalar, kind_of, show
from policy_constructor.config.unknown import Unknown, report_unknown

if TYPE_CHECKING:
    from policy_constructor.config.node import Path
    from policy_constructor.config.report import Report

__all__ = ["MAX_TEXT", "Interpolator"]

MAX_TEXT = 1 << 20  # characters that all composed texts may have together
_MAX_ACTIVE = 128
_MAX_HOPS = 32
_LEAF = (1, 0)


class _Poisoned(Exception):  # noqa: N818 - the problem was reported already
    """A reference leads to nothing usable."""


class Interpolator:
    """Resolves the references of a tree in place."""

    def __init__(self, root: Node, report: Report) -> None:
        self._root = root
        self._report = report
        self._done: dict[Node, tuple[int, int]] = {}
        self._active: dict[Node, Path] = {}
        self._hops = 0
        self._written = 0
        self._unknown: list[Unknown] = []

    def run(self) -> None:
        """Resolve every reference of the tree."""
        self._check_params()
        self.visit(self._root, ())
        report_unknown(self._unknown, self._report)

    def _check_params(self) -> None:
        """Report `params` that are no mapping once, not at each reference to one of them."""
        params = self._root.child("params")
        if params is None or params.poisoned or params.is_mapping:
            return
        if not (isinstance(params.value, str) and "${" in params.value):
            message = f"expected a mapping, found {show(params)}"
            self._report.poison(params, message, ("params",), code="wrong-type")

    def visit(self, node: Node, path: Path) -> tuple[int, int]:
        """Resolve a node and all below it; return how many values it holds and how deep."""
        value = node.value
        kind = type(value)
        if kind is str:
            if "${" not in value or node in self._done:
                return self._done.get(node, _LEAF)
            return self._visit_text(node, path)
        if kind is not dict and kind is not list:
            return _LEAF
        known = self._done.get(node)
        if known is None:
            known = self._visit_container(node, path)
        if len(path) + known[1] > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels once it is expanded"
            known = self._drop(node, message, path, "too-deep")
        return known

    def _visit_container(self, node: Node, path: Path) -> tuple[int, int]:
        if len(path) > MAX_DEPTH or len(self._active) > _MAX_ACTIVE:
            return self._drop(node, f"nested deeper than {MAX_DEPTH} levels", path, "too-deep")
        self._active[node] = path
        size, height = 1, 0
        for key, child in node.items():
            value = child.value
            if type(value) is str and "${" not in value:
                size += 1 + (len(value) >> 10)
                continue
            child_size, child_height = self.visit(child, (*path, key))
            size += child_size
            height = max(height, child_height)
        del self._active[node]
        if size > MAX_NODES:
            message = f"more than {MAX_NODES} values once it is expanded"
            return self._drop(node, message, path, "too-large")
        self._done[node] = size, height + 1
        return size, height + 1

    def _drop(self, node: Node, message: str, path: Path, code: str) -> tuple[int, int]:
        self._report.poison(node, message, path, code=code)
        self._done[node] = _LEAF
        return _LEAF

    def _visit_text(self, node: Node, path: Path) -> tuple[int, int]:
        """Resolve the references of one text in place."""
        text = node.value
        self._active[node] = path
        size = _LEAF
        try:
            parts = split_text(text)
            if len(parts) == 1 and isinstance(parts[0], Reference):
                size = self._resolve_whole(node, parts[0], path)
            elif any(isinstance(part, Reference) for part in parts):
                node.value = self._compose(node, parts, path)
                node.via = node.expression = text
            else:
                node.value = "".join(parts)
        except ValueError as error:
            self._report.poison(node, str(error), path, code="invalid-reference")
        except _Poisoned:
            node.value, node.poisoned = None, True
        del self._active[node]
        if size is _LEAF and type(node.value) is str:
            size = 1 + (len(node.value) >> 10), 0
        self._done[node] = size
        return size

    def _resolve_whole(self, node: Node, reference: Reference, path: Path) -> tuple[int, int]:
        """Give a node the value, with type and structure, that its reference names."""
        node.expression = node.value
        if reference.lstrip().startswith("env:"):
            value = self._read_env(node, reference, path)
            found = from_plain(value, self._report, path, node.mark)
            node.value, node.via, node.poisoned = found.value, node.expression, found.poisoned
            return self._seal(node)
        target, size = self._find(node, reference, path)
        if len(path) + size[1] > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels once it is expanded"
            self._report.add(node.mark, message, path, code="too-deep")
            raise _Poisoned
        target.uses += 1
        node.value, node.via, node.from_env = target.value, target, target.from_env
        return size

    def _compose(self, node: Node, parts: list[str], path: Path) -> str:
        """Return the text of literal parts and referenced scalars."""
        written = [
            self._text_of(node, part, path) if isinstance(part, Reference) else part
            for part in parts
        ]
        self._written += sum(map(len, written))
        if self._written > MAX_TEXT:
            message = f"references make more than {MAX_TEXT} characters of text"
            self._report.add(node.mark, message, path, code="too-large")
            raise _Poisoned
        return "".join(written)

    def _text_of(self, node: Node, reference: Reference, path: Path) -> str:
        if reference.lstrip().startswith("env:"):
            node.from_env = True
            value = self._read_env(node, reference, path)
        else:
            target, _ = self._find(node, reference, path)
            target.uses += 1
            node.from_env = node.from_env or target.from_env
            value = target.value
        if isinstance(value, (dict, list)):
            message = f"${{{reference}}} is {kind_of(value)}, which cannot stand inside text"
            self._report.add(narrow(node.mark, reference), message, path, code="wrong-type")
            raise _Poisoned
        return format_scalar(value)

    def _read_env(self, node: Node, reference: Reference, path: Path) -> Any:
        def expand(default: str) -> str:
            return self._compose(node, split_text(default), path)

        self._enter(node, path)
        try:
            return read_environment(reference.lstrip()[4:], expand)
        except EnvironmentProblem as problem:
            self._report.add(
                narrow(node.mark, reference),
                str(problem),
                path,
                code=problem.code,
                suggestions=self._report.similar(problem.name, problem.candidates),
            )
            raise _Poisoned from None
        finally:
            self._hops -= 1

    def _enter(self, node: Node, path: Path) -> None:
        """Count one more reference inside a reference."""
        self._hops += 1
        if self._hops > _MAX_HOPS:
            self._hops -= 1
            message = f"more than {_MAX_HOPS} references lead from one to the next"
            self._report.add(node.mark, message, path, code="too-deep")
            raise _Poisoned

    def _seal(self, node: Node) -> tuple[int, int]:
        """Mark a value from the environment: its text holds no references of ours."""
        node.from_env = True
        size, height = 1, 0
        children = node.value.values() if node.is_mapping else node.value if node.is_list else ()
        for child in children:
            child_size, child_height = self._seal(child)
            size += child_size
            height = max(height, child_height + 1)
        if type(node.value) is str:
            size += len(node.value) >> 10
        self._done[node] = size, height
        return size, height

    def _find(self, node: Node, reference: Reference, path: Path) -> tuple[Node, tuple[int, int]]:
        """Return the resolved node that a reference names, with its size and height."""
        if "${" in reference:
            message = "a reference cannot stand inside a reference"
            self._report.add(narrow(node.mark, reference), message, path, code="invalid-reference")
            raise _Poisoned
        keys = parse_path(reference.strip())
        self._enter(node, path)
        try:
            return self._descend(node, reference, path, keys)
        finally:
            self._hops -= 1

    def _descend(
        self, node: Node, reference: Reference, path: Path, keys: Path
    ) -> tuple[Node, tuple[int, int]]:
        here, at = self._root, 0
        taken: Path = ()
        size = _LEAF
        while at < len(keys):
            step = step_into(here, keys, at)
            if step is None:
                self._report_unknown(node, reference, path, here, keys, at)
                raise _Poisoned
            here, at, taken = step.node, step.position, (*taken, step.key)
            if at == len(keys) or type(here.value) is str:
                size = self._visit_target(node, reference, path, here, taken)
            if here.poisoned:
                raise _Poisoned
        return here, size

    def _visit_target(
        self, node: Node, reference: Reference, path: Path, target: Node, target_path: Path
    ) -> tuple[int, int]:
        if target not in self._active:
            return self.visit(target, target_path)
        started = list(self._active).index(target)
        chain = [
            dotted(place)
            for other, place in list(self._active.items())[started:]
            if other is target or type(other.value) is str
        ]
        message = f"the references form a cycle: {' -> '.join([*chain, chain[0]])}"
        self._report.add(narrow(node.mark, reference), message, path, code="reference-cycle")
        raise _Poisoned

    def _report_unknown(
        self, node: Node, reference: Reference, path: Path, here: Node, keys: Path, at: int
    ) -> None:
        if self._report.incomplete:
            return
        where = narrow(node.mark, reference)
        self._unknown.append(Unknown(reference, path, where, here, keys, at))
