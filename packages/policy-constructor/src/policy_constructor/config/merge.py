"""Layer over layer: deep merge of mappings, and the `_merge_` directives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.config.node import Node
from policy_constructor.config.parse import MAX_DEPTH
from policy_constructor.config.report import CLI
from policy_constructor.config.scalars import kind_of, show

if TYPE_CHECKING:
    from policy_constructor.config.node import Key, Mark, Path
    from policy_constructor.config.report import Report

__all__ = [
    "LeftOver",
    "Merger",
    "Pending",
    "TooLargeError",
    "is_nothing",
    "replace_value",
    "with_child",
]

_MAX_STEPS = 30_000
_MODES = ("replace", "append", "prepend", "keyed")


class TooLargeError(Exception):
    """There is more to merge than any experiment needs; templates can multiply without end.

    Attributes:
        node: Where it was noticed.
        path: Its path.
    """

    def __init__(self, node: Node, path: Path) -> None:
        super().__init__(
            f"more than {_MAX_STEPS} mappings to merge, or deeper than {2 * MAX_DEPTH} levels"
        )
        self.node = node
        self.path = path


@dataclass(slots=True, eq=False)
class Pending:
    """Directives inside a mapping with `_template_`; what they apply to is not known yet."""

    directives: list[Node]


class LeftOver(NamedTuple):
    """A parameter that was written beside another `_type_` than the one that stands there now."""

    owner: Path
    path: Path
    node: Node
    type_node: Node


def is_nothing(node: Node | None) -> bool:
    """Whether there is nothing to merge with: no value, or null."""
    return node is None or (node.value is None and not node.poisoned)


class Merger:
    """Merges nodes without changing them.

    Attributes:
        has_directives: Whether `_merge_` may occur; without it whole subtrees are taken over as
            they are.
        left_over: Parameters to report unless a later layer settles them, by path.
    """

    def __init__(self, report: Report, *, has_directives: bool) -> None:
        self.report = report
        self.has_directives = has_directives
        self.settled: set[Node] = set()
        self.steps = 0
        self.left_over: dict[Path, LeftOver] = {}

    def merge(self, base: Node | None, top: Node, path: Path, *, pending: bool = False) -> Node:
        """Return `top` laid over `base`.

        Args:
            base: What lies underneath, free of directives; None where nothing does.
            top: The upper layer.
            path: Where in the tree both stand.
            pending: Whether they are inside a mapping with a `_template_` not yet expanded, so
                that directives with nothing underneath must wait for it.
        """
        value = top.value
        if type(value) is Pending:
            for directive in value.directives:
                base = self.merge(base, directive, path)
            return base if base is not None else top
        if (
            self.has_directives
            and type(value) is dict
            and ("_merge_" in value or "_value_" in value)
        ):
            if pending and (base is None or type(base.value) is Pending):
                waiting = base.value.directives if base is not None else []
                return Node(Pending([*waiting, top]), top.mark, top.key_mark)
            return self._apply_directive(base, top, path)
        if base is None:
            return self._settle(top, path, pending=pending)
        if type(value) is dict and type(base.value) is dict:
            return self._merge_mappings(base, top, path, pending=pending)
        return _over(base, self._settle(top, path, pending=pending))

    def _settle(self, node: Node, path: Path, *, pending: bool) -> Node:
        """Return a value with nothing underneath, its directives unwrapped."""
        value = node.value
        if not self.has_directives or type(value) not in (dict, list) or node in self.settled:
            return node
        self._count(node, path)
        pending = pending or (type(value) is dict and "_template_" in value)
        changed = False
        settled: dict[str, Node] | list[Node] = {} if type(value) is dict else []
        for key, child in node.items():
            new = self.merge(None, child, (*path, key), pending=pending)
            changed = changed or new is not child
            if isinstance(settled, dict):
                settled[str(key)] = new
            else:
                settled.append(new)
        return replace_value(node, settled) if changed else node

    def _merge_mappings(self, base: Node, top: Node, path: Path, *, pending: bool) -> Node:
        self._count(top, path)
        value = dict(base.value)
        pending = pending or "_template_" in value or "_template_" in top.value
        for key, child in top.value.items():
            value[key] = self.merge(value.get(key), child, (*path, key), pending=pending)
        if "_type_" in top.value:
            self.note_left_over(base, top, path)
        place = base if top.mark is None or top.mark.source.name == CLI else top
        replaced = [*top.replaced, *base.replaced]
        return Node(value, place.mark or top.mark, place.key_mark or top.key_mark, replaced)

    def note_left_over(self, base: Node, top: Node, owner: Path, below: Path = ()) -> None:
        """Remember what stays of `base` when a layer above it changes the `_type_`."""
        holder = base.child(*below)
        above = top.child(*below)
        if holder is None or above is None or not (holder.is_mapping and above.is_mapping):
            return
        if "_type_" not in base.value or (below and "_type_" in above.value):
            return
        for key, child in holder.value.items():
            if key in above.value:
                self.note_left_over(base, top, owner, (*below, key))
            elif key != "_template_":
                path = (*owner, *below, key)
                found = LeftOver(owner, path, child, base.value["_type_"])
                self.left_over.setdefault(path, found)

    def _count(self, node: Node, path: Path) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS or len(path) > 2 * MAX_DEPTH:
            raise TooLargeError(node, path)

    def _apply_directive(self, base: Node | None, top: Node, path: Path) -> Node:
        mode = self._read_mode(top, path)
        value = top.value.get("_value_")
        if mode is None:
            return _poisoned(top)
        if mode == "replace":
            if value is None:
                kept = {key: child for key, child in top.value.items() if key != "_merge_"}
                value = replace_value(top, kept)
            else:
                value = _placed(value, top.key_mark)
            settled = self._settle(value, path, pending=False)
            return settled if base is None else _over(base, settled)
        if not isinstance(value, Node) or type(value.value) is not list:
            if value is not None and value.poisoned:
                return _poisoned(top)
            found = "nothing" if value is None else kind_of(value.value)
            message = f"`_merge_: {mode}` needs a list in `_value_`, found {found}"
            self.report.add(value.mark if value else top.mark, message, path, code="merge")
            return _poisoned(top)
        if base is not None and type(base.value) is not list and not is_nothing(base):
            return self._refuse_base(base, top, mode, path)
        return self._combine(base, top, mode, path)

    def _refuse_base(self, base: Node, top: Node, mode: str, path: Path) -> Node:
        if not base.poisoned:
            place = f" from {base.mark.to_location()}" if base.mark else ""
            message = (
                f"`_merge_: {mode}` needs a list underneath, found {kind_of(base.value)}{place}"
            )
            self.report.add(top.mark, message, path, code="merge")
        return _poisoned(top)

    def _combine(self, base: Node | None, top: Node, mode: str, path: Path) -> Node:
        node = top.value["_value_"]
        old = list(base.value) if base is not None and base.value is not None else []
        if mode == "keyed":
            items = self._merge_keyed(old, node.value, top, path)
        else:
            new = self._settle(node, path, pending=False).value
            items = old + new if mode == "append" else new + old
        replaced = base.replaced if base is not None else []
        return Node(items, node.mark, top.key_mark or node.key_mark, list(replaced))

    def _read_mode(self, top: Node, path: Path) -> str | None:
        """Return the mode of a directive, None when the directive is wrong."""
        directive = top.value.get("_merge_")
        if directive is None:
            place = top.value["_value_"]
            message = "`_value_` needs `_merge_` beside it"
            self.report.add(place.key_mark, message, path, code="merge")
            return None
        mode = directive.value
        if not isinstance(mode, str) or mode not in _MODES:
            if not directive.poisoned:
                self.report.add(
                    directive.mark,
                    f"unknown merge mode {show(directive)}",
                    (*path, "_merge_"),
                    code="merge",
                    expected=", ".join(_MODES),
                    suggestions=self.report.similar(mode, _MODES) if isinstance(mode, str) else (),
                )
            return None
        allowed = {"_merge_", "_value_", *(["key"] if mode == "keyed" else [])}
        for key, child in top.value.items():
            if key not in allowed and "_value_" in top.value:
                message = f"`_merge_` with `_value_` takes no key {key!r}"
                self.report.add(child.key_mark, message, (*path, key), code="merge")
                return None
        return str(mode)

    def _merge_keyed(self, old: list[Node], new: list[Node], top: Node, path: Path) -> list[Node]:
        """Merge items that share the value of a key; others are appended in their order."""
        name_node = top.value.get("key")
        name = "name" if name_node is None else name_node.value
        if not isinstance(name, str):
            message = f"`key` must be the name of a key, found {show(name_node)}"
            self.report.add(name_node.mark, message, (*path, "key"), code="merge")
            return old
        merged: list[Node] = []
        places = self._index(old, name, path)
        merged = list(old)
        for identity, index in self._index(new, name, path).items():
            if identity in places:
                place = places[identity]
                merged[place] = self.merge(old[place], new[index], (*path, place))
            else:
                merged.append(self.merge(None, new[index], (*path, len(merged))))
        return merged

    def _index(self, items: list[Node], name: str, path: Path) -> dict[tuple[type, object], int]:
        """Return the position of each item by the value of its key; others are reported."""
        found: dict[tuple[type, object], int] = {}
        for index, item in enumerate(items):
            if item.poisoned:
                continue
            key = item.child(name) if type(item.value) is dict else None
            if key is None or key.is_mapping or key.is_list:
                message = f"an item of a keyed list needs the key {name!r} with a scalar"
                self.report.add(item.mark, message, path, code="merge")
                continue
            first = found.setdefault((type(key.value), key.value), index)
            if first != index:
                other = items[first].child(name)
                place = other.mark.to_location() if other and other.mark else f"item {first}"
                message = f"two items of a keyed list have {name} {show(key)}; the other: {place}"
                self.report.add(key.mark, message, path, code="merge")
        return found


def _over(base: Node, top: Node) -> Node:
    """Return `top` with `base` in its history."""
    if type(base.value) is Pending:
        return top
    node = replace_value(top, top.value)
    node.replaced = [base, *base.replaced]
    return node


def _placed(node: Node, key_mark: Mark | None) -> Node:
    placed = replace_value(node, node.value)
    placed.key_mark = key_mark or node.key_mark
    return placed


def with_child(node: Node, key: Key, child: Node) -> Node:
    """Return a copy of a mapping or list with one child exchanged or added."""
    value = node.value.copy()
    value[key] = child
    return replace_value(node, value)


def replace_value(node: Node, value: object) -> Node:
    """Return a copy of a node, its history included, with another value."""
    return Node(value, node.mark, node.key_mark, node.replaced, node.via, poisoned=node.poisoned)


def _poisoned(node: Node) -> Node:
    return Node(None, node.mark, node.key_mark, poisoned=True)
