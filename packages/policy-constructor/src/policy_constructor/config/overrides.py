"""Command-line overrides: `a.b=c`, `a.0.b=c`, `+a.list=[x]`, `~a.b`, `a.b=@file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_constructor.config.merge import Pending, is_nothing, replace_value, with_child
from policy_constructor.config.node import Mark, Node, Source, dotted
from policy_constructor.config.parse import MAX_DEPTH, parse_value
from policy_constructor.config.paths import Segment, split_path, step_into
from policy_constructor.config.scalars import kind_of, parse_scalar
from policy_constructor.config.value_files import read_value_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.config.merge import Merger
    from policy_constructor.config.node import Path
    from policy_constructor.config.report import Report

__all__ = ["Override", "apply_override", "parse_overrides"]


@dataclass(slots=True, eq=False)
class Override:
    """One argument of the command line.

    Attributes:
        argument: Its text.
        segments: The keys of its path.
        marks: Where each key stands.
        value: The value to merge; None for a deletion.
    """

    argument: str
    segments: list[Segment]
    marks: list[Mark]
    value: Node | None

    @property
    def path(self) -> Path:
        """The keys alone."""
        return tuple(segment.key for segment in self.segments)

    @property
    def file(self) -> Source | None:
        """The file that the value was read from, if it was."""
        mark = self.value.mark if self.value is not None else None
        return mark.source if mark is not None and mark.source is not self.marks[0].source else None


class _Refused(Exception):  # noqa: N818 - carries a problem to the one place that reports it
    def __init__(self, position: int, message: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.position = position
        self.message = message
        self.suggestions = suggestions


def parse_overrides(arguments: Sequence[str], source: Source, report: Report) -> list[Override]:
    """Return the overrides that can be read; the others are reported.

    A value that starts with a bracket, a brace or a quote is read as YAML, one that starts with
    `@` is read from the file of that name (`@@` is a literal `@`); any other is one plain scalar by
    the same rules as in a file, whatever characters it holds.
    """
    source.lines = [argument.encode(errors="replace").decode() for argument in arguments]
    parsed = (
        _parse(argument, line, source, report) for line, argument in enumerate(arguments, start=1)
    )
    return [override for override in parsed if override is not None]


def _parse(argument: str, line: int, source: Source, report: Report) -> Override | None:
    whole = Mark(source, line, 1, line, len(argument) + 1)
    if not _is_text(argument):
        report.add(whole, "the argument is not UTF-8", code="encoding")
        return None
    prefix = argument[:1] if argument[:1] in {"+", "~"} else ""
    if prefix == "~":
        written, equals, text = argument[1:], "=", ""
    else:
        written, equals, text = _split_at_equals(argument[len(prefix) :])
    try:
        segments = split_path(written) if equals else []
        message = _explain_forbidden(segments)
    except ValueError as error:
        segments, message = [], str(error)
    if message:
        report.add(whole, message, code="override")
        return None
    offset = len(prefix) + 1
    marks = [Mark(source, line, s.start + offset, line, s.end + offset) for s in segments]
    override = Override(argument, segments, marks, None)
    if prefix == "~":
        return override
    start = len(argument) - len(text) + 1
    value = _read_value(text, Mark(source, line, start), override.path, report)
    if value is not None:
        value.key_mark = marks[-1]
    if value is not None and prefix == "+":
        value = _append_directive(value, override, report)
    override.value = value
    return override if value is not None else None


def _is_text(argument: str) -> bool:
    """Whether the shell's bytes were UTF-8: Python has lone surrogates for those that were not."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _explain_forbidden(segments: list[Segment]) -> str:
    """Return why a path cannot be overridden, or nothing."""
    if not segments:
        return "an override is key=value; there is no '='"
    if segments[0].key == "defaults":
        return "files are read before overrides are applied; `defaults` cannot be overridden"
    if any(segment.key in {"_merge_", "_value_"} for segment in segments):
        return "a directive is part of a value; write key={_merge_: ..., _value_: ...}"
    if len(segments) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    return ""


def _split_at_equals(text: str) -> tuple[str, str, str]:
    """Split at the first `=` outside quotes."""
    quoted = False
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == "=" and not quoted:
            return text[:position], "=", text[position + 1 :]
    return text, "", ""


def _read_value(text: str, start: Mark, path: Path, report: Report) -> Node | None:
    stripped = text.strip()
    source, line = start.source, start.line
    column = start.column + len(text) - len(text.lstrip())
    if stripped[:1] in {"[", "{", '"', "'"}:
        return parse_value(stripped, source, report, line, column)
    mark = Mark(source, line, column, line, column + len(stripped))
    node = Node(stripped, mark)
    if stripped.startswith("@@"):
        node.value = stripped[1:]
    elif stripped.startswith("@"):
        return read_value_file(stripped[1:], mark, path, report)
    else:
        try:
            node.value = parse_scalar(stripped)
        except ValueError as error:
            report.poison(node, str(error), code="too-large")
    return node


def _append_directive(value: Node, override: Override, report: Report) -> Node | None:
    marks = override.marks
    if not value.is_list:
        message = f"'+' appends a list to a list, found {kind_of(value.value)}"
        report.add(value.mark, message, override.path, code="override", expected="+key=[item, ...]")
        return None
    directive = {"_merge_": Node("append", marks[0]), "_value_": value}
    return Node(directive, value.mark, marks[-1])


def apply_override(root: Node, override: Override, merger: Merger, report: Report) -> Node:
    """Return the tree with one override applied, unchanged when the override is refused."""
    edit = _Edit(override, merger, report)
    try:
        if override.value is None:
            return edit.delete(root, 0)
        return edit.set(root, 0, ())
    except _Refused as refused:
        if not report.incomplete:
            report.add(
                override.marks[refused.position],
                refused.message,
                override.path,
                code="override",
                suggestions=refused.suggestions,
            )
        return root


class _Edit:
    """Applies one override on the way down its path, without changing the nodes it meets."""

    def __init__(self, override: Override, merger: Merger, report: Report) -> None:
        self.keys = override.path
        self.marks = override.marks
        self.value = override.value
        self.merger = merger
        self.report = report

    def set(self, node: Node | None, at: int, path: Path, *, pending: bool = False) -> Node:
        """Return the node with the value merged in below `keys[at:]`."""
        if at == len(self.keys) and self.value is not None:
            return self.merger.merge(node, self.value, path, pending=pending)
        if node is None or is_nothing(node):
            return self.create(node, at, path, pending=pending)
        if node.is_mapping:
            pending = pending or "_template_" in node.value
            step = step_into(node, self.keys, at)
            key = str(self.keys[at]) if step is None else step.key
            child, after = (None, at + 1) if step is None else (step.node, step.position)
            new = self.set(child, after, (*path, key), pending=pending)
            if key == "_type_":
                self.merger.note_left_over(node, Node({"_type_": new}), path)
            return with_child(node, key, new)
        step = step_into(node, self.keys, at)
        if step is None:
            raise _Refused(at, self.explain_obstacle(node, at))
        new = self.set(step.node, step.position, (*path, step.key), pending=pending)
        return with_child(node, step.key, new)

    def create(self, node: Node | None, at: int, path: Path, *, pending: bool) -> Node:
        """Return a new mapping for a key that does not exist yet."""
        key = self.keys[at]
        if isinstance(key, int):
            raise _Refused(at, f"there is no list at '{dotted(self.keys[:at])}'")
        child = self.set(None, at + 1, (*path, key), pending=pending)
        replaced = [node, *node.replaced] if node is not None else []
        return Node({key: child}, self.marks[at], self.marks[at - 1] if at else None, replaced)

    def delete(self, node: Node, at: int) -> Node:
        """Return the node without what `keys[at:]` names."""
        step = step_into(node, self.keys, at)
        if step is None:
            if node.is_mapping:
                where = f"'{dotted(self.keys[:at])}' has" if at else "there is"
                key = str(self.keys[at])
                near = tuple(
                    dotted((*self.keys[:at], name)) for name in self.report.similar(key, node.value)
                )
                raise _Refused(at, f"{where} no key {key!r} to delete", near)
            raise _Refused(at, self.explain_obstacle(node, at))
        if step.position < len(self.keys):
            return with_child(node, step.key, self.delete(step.node, step.position))
        remaining = node.value.copy()
        del remaining[step.key]
        return replace_value(node, remaining)

    def explain_obstacle(self, node: Node, at: int) -> str:
        """Return why the path cannot go below a node."""
        name = dotted(self.keys[:at])
        key = self.keys[at]
        if isinstance(node.value, list):
            count = len(node.value)
            items = f"{count} item{'' if count == 1 else 's'}"
            return f"'{name}' is a list of {items}, {key!r} is not one of its positions"
        if isinstance(node.value, Pending):
            return f"'{name}' is a list that its template supplies; override the template's"
        if isinstance(node.value, str) and "${" in node.value:
            return f"'{name}' is the reference {node.value}; override what it refers to"
        return f"'{name}' is {kind_of(node.value)}; there is no {key!r} below it"
