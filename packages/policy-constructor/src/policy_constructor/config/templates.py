"""`_template_`: a mapping takes what it does not say itself from `templates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.config.merge import replace_value
from policy_constructor.config.node import Node
from policy_constructor.config.parse import MAX_DEPTH
from policy_constructor.config.scalars import kind_of, show

if TYPE_CHECKING:
    from policy_constructor.config.merge import Merger
    from policy_constructor.config.node import Path
    from policy_constructor.config.report import Report

__all__ = ["expand_templates", "take_templates"]


def take_templates(root: Node, report: Report) -> tuple[Node, dict[str, Node]]:
    """Return the tree without its `templates` section, and the templates by name."""
    section = root.value.get("templates")
    if section is None:
        return root, {}
    kept = {key: child for key, child in root.value.items() if key != "templates"}
    rest = replace_value(root, kept)
    if section.value is None or section.poisoned:
        return rest, {}
    if not section.is_mapping:
        message = f"expected a mapping of templates, found {kind_of(section.value)}"
        report.add(section.mark, message, ("templates",), code="wrong-type")
        return rest, {}
    return rest, section.value


def expand_templates(
    root: Node, templates: dict[str, Node], merger: Merger, report: Report
) -> Node:
    """Return the tree with every `_template_` merged under the mapping that names it."""
    return _Expander(templates, merger, report).expand(root, ())


class _Expander:
    def __init__(self, templates: dict[str, Node], merger: Merger, report: Report) -> None:
        self.templates = templates
        self.merger = merger
        self.report = report
        self.expanded: dict[str, Node | None] = {}
        self.active: list[str] = []
        self.level = 0

    def expand(self, node: Node, path: Path) -> Node:
        """Return a node with the templates in it expanded, innermost first."""
        if type(node.value) not in (dict, list):
            return node
        if self.level >= MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels once templates are expanded"
            self.report.add(node.mark, message, path, code="too-deep")
            return Node(None, node.mark, node.key_mark, poisoned=True)
        self.level += 1
        expanded = self.expand_children(node, path)
        if expanded.is_mapping and "_template_" in expanded.value:
            expanded = self.apply(expanded, path)
        self.level -= 1
        return expanded

    def expand_children(self, node: Node, path: Path) -> Node:
        """Return a mapping or list with its children expanded."""
        changed = False
        children = []
        for key, child in node.items():
            new = self.expand(child, (*path, key))
            changed = changed or new is not child
            children.append((key, new))
        if not changed:
            return node
        value = dict(children) if node.is_mapping else [child for _, child in children]
        return replace_value(node, value)

    def apply(self, node: Node, path: Path) -> Node:
        """Return a mapping laid over the template that it names."""
        own = {key: child for key, child in node.value.items() if key != "_template_"}
        top = replace_value(node, own)
        body = self.find(node.value["_template_"], (*path, "_template_"))
        merged = self.merger.merge(body, top, path)
        if body is not None:
            merged = Node(merged.value, node.mark, node.key_mark, node.replaced, via=body)
        self.merger.settled.add(merged)
        return merged

    def find(self, name_node: Node, path: Path) -> Node | None:
        """Return the expanded template that a node names, or None with the reason reported."""
        name = name_node.value
        if name_node.poisoned:
            return None
        if not isinstance(name, str):
            message = f"expected the name of a template, found {show(name_node)}"
            self.report.add(name_node.mark, message, path, code="wrong-type")
            return None
        if name in self.active:
            chain = " -> ".join([*self.active[self.active.index(name) :], name])
            message = f"the templates use each other: {chain}"
            self.report.add(name_node.mark, message, path, code="template-cycle")
            return None
        if name not in self.expanded:
            self.expanded[name] = self.expand_template(name, name_node, path)
        return self.expanded[name]

    def expand_template(self, name: str, name_node: Node, path: Path) -> Node | None:
        """Return a template with the templates in it expanded."""
        body = self.templates.get(name)
        if body is None:
            if not self.report.incomplete:
                message = f"there is no template {name!r}"
                near = self.report.similar(name, self.templates)
                self.report.add(
                    name_node.mark, message, path, code="unknown-template", suggestions=near
                )
            return None
        if not body.is_mapping:
            if not body.poisoned:
                message = f"a template must be a mapping, found {kind_of(body.value)}"
                self.report.add(body.mark, message, ("templates", name), code="wrong-type")
            return None
        self.active.append(name)
        expanded = self.expand(body, ("templates", name))
        self.active.pop()
        return expanded
