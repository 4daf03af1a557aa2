"""YAML text to nodes with marks, built from libyaml's events within fixed limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from policy_constructor.config.node import Mark, Node, Source
from policy_constructor.config.scalars import kind_of, parse_scalar
from policy_constructor.config.syntax import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.config.report import Report

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "parse_text", "parse_value"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000

# libyaml where it is installed; its event parser, unlike its composer, does not recurse in C.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stop(Exception):  # noqa: N818 - ends the parse after its problem was reported
    """The rest of the text cannot be read."""


@dataclass(slots=True, eq=False)
class _Frame:
    """A mapping or list that is being read."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_mark: Mark | None = None
    awaits_key: bool = False
    is_flow: bool = False
    is_dropped: bool = False
    size: int = 1
    height: int = 1
    key_marks: dict[str, Mark] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Anchor:
    """An anchored value with its size after alias expansion; open while it is being read."""

    node: Node
    size: int = 1
    height: int = 0
    is_open: bool = False


class _Builder:
    """Builds the nodes of one document from events."""

    def __init__(self, source: Source, report: Report, line: int, column: int) -> None:
        self.source = source
        self.report = report
        self.line = line
        self.column = column
        self.stack: list[_Frame] = []
        self.anchors: dict[str, _Anchor] = {}
        self.root: Node | None = None
        self.documents = 0
        self.handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self.on_scalar,
            yaml.MappingStartEvent: self.on_mapping_start,
            yaml.SequenceStartEvent: self.on_sequence_start,
            yaml.MappingEndEvent: self.on_container_end,
            yaml.SequenceEndEvent: self.on_container_end,
            yaml.AliasEvent: self.on_alias,
            yaml.DocumentStartEvent: self.on_document_start,
        }

    def mark(self, event: Any) -> Mark:
        start = event.start_mark
        end = event.end_mark
        line, column = self.line, self.column
        return Mark(
            self.source,
            start.line + line,
            start.column + column,
            end.line + line,
            end.column + column,
        )

    def stop(self, mark: Mark, message: str, code: str) -> None:
        self.report.add(mark, message, code=code)
        raise _Stop

    def on_document_start(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            message = "a second document starts here; a file holds one"
            self.stop(self.mark(event), message, "yaml-documents")

    def on_scalar(self, event: Any) -> None:
        text = event.value
        frame = self.stack[-1] if self.stack else None
        mark = self.mark(event)
        if frame is not None and frame.awaits_key:
            self.on_key(frame, event, mark)
            return
        node = Node(text, mark)
        if event.implicit[0]:
            try:
                node.value = parse_scalar(text)
            except ValueError as error:
                self.report.poison(node, str(error), self.path(), code="too-large")
        self.check_tag(event, node)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(node, 1 + (len(text) >> 10))
        self.put(node, 1 + (len(text) >> 10), 0)

    def on_key(self, frame: _Frame, event: Any, mark: Mark) -> None:
        text = event.value
        frame.awaits_key = False
        frame.key, frame.key_mark = text, mark
        if event.implicit[0] and not self.is_text_key(text, mark):
            frame.is_dropped = True
        elif event.tag is not None:
            self.check_tag(event, Node(text, mark))
            frame.is_dropped = True
        elif text in frame.key_marks:
            first = frame.key_marks[text]
            message = f"the key {text!r} occurs twice: in line {first.line} and in line {mark.line}"
            self.report.add(mark, message, self.path(), code="duplicate-key")
            frame.is_dropped = True
        else:
            frame.key_marks[text] = mark
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(Node(text, mark))

    def is_text_key(self, text: str, mark: Mark) -> bool:
        if text == "<<":
            message = "the merge key '<<' is not supported; use `_template_` or `defaults`"
            self.report.add(mark, message, self.path(), code="merge-key")
            return False
        try:
            value = parse_scalar(text)
        except ValueError:
            value = 0
        if isinstance(value, str):
            return True
        message = f"a key must be text, found {kind_of(value)}; put it in quotes"
        self.report.add(mark, message, self.path(), code="non-text-key")
        return False

    def on_mapping_start(self, event: Any) -> None:
        self.open({}, event)

    def on_sequence_start(self, event: Any) -> None:
        self.open([], event)

    def open(self, value: dict[str, Node] | list[Node], event: Any) -> None:
        mark = self.mark(event)
        if len(self.stack) >= MAX_DEPTH:
            self.stop(mark, f"nested deeper than {MAX_DEPTH} levels", "too-deep")
        node = Node(value, mark)
        self.check_tag(event, node)
        if self.stack and self.stack[-1].awaits_key:
            self.report.add(mark, "a key must be text", self.path(), code="non-text-key")
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(node, is_open=True)
        is_mapping = type(value) is dict
        frame = _Frame(node, event.anchor, awaits_key=is_mapping, is_flow=event.flow_style)
        self.stack.append(frame)

    def on_container_end(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.is_flow and frame.node.mark is not None:
            end = event.end_mark
            frame.node.mark.end_line = end.line + self.line
            frame.node.mark.end_column = end.column + self.column
        if frame.anchor is not None:
            self.anchors[frame.anchor] = _Anchor(frame.node, frame.size, frame.height)
        self.put(frame.node, frame.size, frame.height)

    def on_alias(self, event: Any) -> None:
        mark = self.mark(event)
        anchor = self.anchors.get(event.anchor)
        node = Node(None, mark)
        if anchor is None:
            message = f"the alias '*{event.anchor}' has no anchor above it"
            self.report.poison(node, message, self.path(), code="yaml-alias")
            self.put(node, 1, 0)
        elif anchor.is_open:
            message = f"the alias '*{event.anchor}' stands inside the value it repeats"
            self.report.poison(node, message, self.path(), code="yaml-alias")
            self.put(node, 1, 0)
        elif self.stack and self.stack[-1].awaits_key:
            self.report.add(mark, "a key must be text", self.path(), code="non-text-key")
            self.put(node, 1, 0)
        else:
            if len(self.stack) + anchor.height > MAX_DEPTH:
                self.stop(mark, f"nested deeper than {MAX_DEPTH} levels", "too-deep")
            node.value, node.via = anchor.node.value, anchor.node
            node.poisoned = anchor.node.poisoned
            self.put(node, anchor.size, anchor.height)

    def put(self, node: Node, size: int, height: int) -> None:
        """Attach a finished value to the container that is open."""
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if frame.awaits_key:  # a container or an alias stood where a key belongs
            frame.awaits_key = False
            frame.is_dropped = True
            return
        frame.size += size
        if frame.size > MAX_NODES and node.mark is not None:
            message = f"more than {MAX_NODES} values after the expansion of aliases"
            self.stop(node.mark, message, "too-large")
        if height >= frame.height:
            frame.height = height + 1
        value = frame.node.value
        if type(value) is list:
            value.append(node)
            return
        frame.awaits_key = True
        if frame.is_dropped:
            frame.is_dropped = False
        else:
            node.key_mark = frame.key_mark
            value[frame.key] = node

    def check_tag(self, event: Any, node: Node) -> None:
        tag = event.tag
        if tag is None:
            return
        message = f"the tag '{tag.replace('tag:yaml.org,2002:', '!!')}' is not supported"
        self.report.add(node.mark, message, self.path(), code="yaml-tag")
        node.poisoned = True

    def path(self) -> tuple[str | int, ...]:
        """Return the dotted path of the value that is being read."""
        keys: list[str | int] = []
        for frame in self.stack:
            value = frame.node.value
            if type(value) is list:
                keys.append(len(value))
            elif frame.key is not None:
                keys.append(frame.key)
        return tuple(keys)


def parse_text(text: str, source: Source, report: Report) -> Node | None:
    """Return the mapping of a YAML file, an empty one for an empty file.

    Duplicate keys, tags, merge keys, keys that are no text and recursive aliases are reported and
    left out; the rest of the file is still read. A syntax error, a second document, a root that is
    no mapping and an exceeded limit end the file: they are reported and None is returned.
    """
    root = _build(text, source, report, 1, 1)
    if root is None:
        return None
    if not isinstance(root.value, dict):
        if not root.poisoned:
            message = f"a file must hold a mapping (key: value), found {kind_of(root.value)}"
            report.add(root.mark, message, code="yaml-root")
        return None
    return root


def parse_value(text: str, source: Source, report: Report, line: int, column: int) -> Node | None:
    """Return the value of a flow collection or quoted text that starts at a line and column."""
    return _build(text, source, report, line, column)


def _build(text: str, source: Source, report: Report, line: int, column: int) -> Node | None:
    builder = _Builder(source, report, line, column)
    try:
        loader = _LOADER(text)
        try:
            _drain(loader.get_event, builder.handlers)
        finally:
            loader.dispose()
    except _Stop:
        return None
    except yaml.YAMLError as error:
        mark, message, advice = explain(error, text, source, line, column)
        report.add(mark, message, code="yaml-syntax", expected=advice)
        return None
    if builder.root is None:
        return Node({}, Mark(source, line, column, line, column))
    return builder.root


def _drain(get_event: Callable[[], Any], handlers: dict[type, Callable[[Any], None]]) -> None:
    while True:
        event = get_event()
        handler = handlers.get(type(event))
        if handler is not None:
            handler(event)
        elif type(event) is yaml.StreamEndEvent:
            return
