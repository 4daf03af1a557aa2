"""The shape of a `model:` section: which keys it has and what each must hold.

Both front ends, `sequential` and `graph`, are read into one declaration. What the names in it
refer to is the compiler's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from policy_constructor.graph.calls import CallDecl, RefUse, ValueName, read_call
from policy_constructor.graph.inputs import read_inputs
from policy_constructor.graph.ir import InputIR, Ref
from policy_constructor.graph.names import parse_reference
from policy_constructor.graph.reporting import describe
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from policy_constructor.config.node import Node, Path
    from policy_constructor.graph.reporting import Reporter

__all__ = ["SectionDecl", "read_graph", "read_sequential", "section_kind"]

_FRONT_ENDS = ("sequential", "graph", "_type_")
_GRAPH_KEYS = ("inputs", "modules", "nodes", "order", "steps", "outputs", "return")
_SEQUENTIAL_KEYS = ("inputs", "layers", "return")
_Kind: TypeAlias = Literal["single", "tuple", "dict"]
_RETURN_KINDS: dict[str, _Kind] = {"single": "single", "tuple": "tuple", "dict": "dict"}


@dataclass(slots=True)
class SectionDecl:
    """A `sequential` or `graph` section before its names are looked up.

    Attributes:
        path: Path of the section's body.
        inputs: Inputs in order.
        input_paths: Where each input is named.
        modules: Specs and nested sections by name, with their paths.
        calls: Calls in order of execution.
        output_names: Names of what is returned.
        outputs: The references behind them.
        return_kind: `single`, `tuple` or `dict`.
        complete: False where a part could not be read, so that a name that is not found may well
            be in it.
    """

    path: Path
    inputs: list[InputIR] = field(default_factory=list)
    input_paths: list[Path] = field(default_factory=list)
    modules: dict[str, tuple[Node, Path]] = field(default_factory=dict)
    calls: list[CallDecl] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    outputs: list[RefUse] = field(default_factory=list)
    return_kind: _Kind = "single"
    complete: bool = True


def section_kind(
    node: Node, path: Path, report: Reporter, skip: frozenset[str] = frozenset()
) -> str | None:
    """Return `sequential`, `graph` or `spec`; None after recording why it is none of them.

    Args:
        node: The section.
        path: Its path.
        report: Receives the problems.
        skip: Keys beside the front end that belong to somebody else.
    """
    if (mapping := report.expect_mapping(node, path, "a model section")) is None:
        return None
    front_ends = [key for key in ("sequential", "graph") if key in mapping]
    is_spec = "_type_" in mapping or "_target_" in mapping
    if len(front_ends) + is_spec != 1:
        expected = "one of sequential, graph and _type_"
        found = [*front_ends, *(["_type_"] if is_spec else [])]
        message = f"a model section has {' and '.join(found) or 'nothing to build'}"
        misspelt = None if found else _misspelt_front_end(mapping)
        if misspelt is not None:
            report.expect_keys([misspelt], path, _FRONT_ENDS, "a model section")
        else:
            report.error(path, message, code="model-section", expected=expected)
        return None
    if is_spec:
        return "spec"
    known = (front_ends[0], *sorted(skip))
    others = [key for key in mapping if key not in skip]
    report.expect_keys(others, path, known, "a model section")
    return front_ends[0]


def _misspelt_front_end(mapping: dict[str, Node]) -> str | None:
    """Return the key that probably means what a section is built from."""
    return next((name for name in map(str, mapping) if nearest(name, _FRONT_ENDS)), None)


def read_sequential(node: Node, path: Path, report: Reporter) -> SectionDecl | None:
    """Read `sequential`: layers called one after the other, named `layer0`, `layer1`, ..."""
    if (mapping := report.expect_mapping(node, path, "'sequential'")) is None:
        return None
    meant = report.expect_keys(mapping, path, _SEQUENTIAL_KEYS, "a sequential model")
    section = SectionDecl(path)
    section.complete &= _read_inputs(section, mapping, report)
    if "inputs" not in mapping:
        section.inputs, section.input_paths = [InputIR("x")], [path]
    if section.complete and len(section.inputs) != 1:
        message = f"a sequential model has one input, found {len(section.inputs)}"
        report.error((*path, "inputs"), message, code="inputs")
        section.complete = False
    value = section.inputs[0].name if section.inputs else "x"
    layers = mapping.get("layers")
    if layers is None:
        if "layers" not in meant:
            report.error(path, "a sequential model needs 'layers'", on="key", code="missing-key")
        return None
    items = report.expect_list(layers, (*path, "layers"), "'layers'")
    if items is None:
        return None
    if not items:
        report.error((*path, "layers"), "'layers' is empty", code="missing-key")
    for index, item in enumerate(items):
        where = (*path, "layers", index)
        section.modules[f"layer{index}"] = (item, where)
        out = f"{value}_out" if f"h{index}" == value else f"h{index}"
        section.calls.append(
            CallDecl(
                out,
                where,
                item,
                kind="module",
                callee=f"layer{index}",
                args=[Ref(value)],
                out=out,
                outs=[ValueName(out, where)],
                refs=[RefUse(value, where)],
            )
        )
        value = out
    section.output_names, section.outputs = [value], [RefUse(value, (*path, "layers"))]
    _read_return(section, mapping, "list", 1, report)
    return section


def read_graph(node: Node, path: Path, report: Reporter) -> SectionDecl | None:
    """Read `graph`: named modules, calls in order, outputs."""
    if (mapping := report.expect_mapping(node, path, "'graph'")) is None:
        return None
    meant = report.expect_keys(mapping, path, _GRAPH_KEYS, "a graph")
    section = SectionDecl(path, complete=not meant)
    for key in ("inputs", "outputs"):
        if key not in mapping:
            section.complete = False
            if key not in meant:
                report.error(path, f"a graph needs {key!r}", on="key", code="missing-key")
    section.complete &= _read_inputs(section, mapping, report)
    modules = mapping.get("modules")
    if modules is not None and modules.value is not None:
        where = (*path, "modules")
        found = report.expect_mapping(modules, where, "'modules'")
        section.complete &= found is not None
        section.modules = {name: (item, (*where, name)) for name, item in (found or {}).items()}
    if not meant & {"nodes", "steps"}:
        _read_calls(section, mapping, report)
    _read_outputs(section, mapping, report)
    return section


def _read_inputs(section: SectionDecl, mapping: dict[str, Node], report: Reporter) -> bool:
    """Read `inputs`; return whether all of them could be read."""
    node = mapping.get("inputs")
    if node is None:
        return True
    path = (*section.path, "inputs")
    found = read_inputs(node, path, report)
    section.inputs = [item for item, _ in found or ()]
    section.input_paths = [where for _, where in found or ()]
    return found is not None and len(found) == len(list(node.items()))


def _read_calls(section: SectionDecl, mapping: dict[str, Node], report: Reporter) -> None:
    path = section.path
    nodes, steps, order = (mapping.get(key) for key in ("nodes", "steps", "order"))
    if (nodes is None) == (steps is None):
        what = "has both 'nodes' and 'steps'" if nodes else "needs 'nodes' or 'steps'"
        report.error(path, f"a graph {what}", on="key", code="missing-key", expected="one of them")
        section.complete = False
        return
    if order is not None and (nodes is None or nodes.is_list):
        message = "'order' is for nodes written as a mapping; a list has its order"
        report.error((*path, "order"), message, on="key", code="order")
    if nodes is not None and nodes.is_mapping:
        calls = _read_ordered(nodes, order, path, report)
    elif nodes is not None:
        calls = _read_list(nodes, (*path, "nodes"), None, report)
    elif steps is not None:
        calls = _read_list(steps, (*path, "steps"), "", report)
    section.calls = [call for call in calls if call is not None]
    section.complete &= None not in calls and all(call.outs for call in section.calls)


def _read_list(node: Node, path: Path, name: str | None, report: Reporter) -> list[CallDecl | None]:
    items = report.expect_list(node, path, f"{str(path[-1])!r}")
    if items is None:
        return [None]
    if not items:
        report.error(path, f"{str(path[-1])!r} is empty", code="missing-key")
    return [read_call(item, (*path, i), name, report) for i, item in enumerate(items)]


def _read_ordered(
    nodes: Node, order: Node | None, path: Path, report: Reporter
) -> list[CallDecl | None]:
    """Read nodes written as a mapping, in the order that `order` lists them."""
    calls = {name: (node, (*path, "nodes", name)) for name, node in nodes.value.items()}
    listed: list[Node] | None = None
    if order is None:
        message = "nodes written as a mapping requires 'order: [...]' with all their names"
        expected = f"order: [{', '.join(calls)}]"
        report.error((*path, "nodes"), message, on="key", code="order", expected=expected)
    else:
        listed = report.expect_list(order, (*path, "order"), "'order'")
    if listed is None:
        for name, (node, where) in calls.items():
            read_call(node, where, name, report)
        return [None]
    names: dict[str, None] = {}
    for index, item in enumerate(listed):
        _check_order_item(item, (*path, "order", index), names, calls, report)
    missing = [name for name in calls if name not in names]
    if missing:
        message = f"'order' leaves out {', '.join(repr(name) for name in missing)}"
        report.error((*path, "order"), message, code="order")
    complete = not missing and len(names) == len(calls)
    read = [read_call(*calls[name], name, report) for name in [*names, *missing]]
    return read if complete else [*read, None]


def _check_order_item(
    item: Node, path: Path, names: dict[str, None], calls: dict[str, Any], report: Reporter
) -> None:
    name = item.value
    if item.poisoned:
        return
    if not isinstance(name, str) or name not in calls:
        message = f"'order' names {describe(name)}, which is no node"
        report.error(path, message, code="order", suggestions=nearest(str(name), calls))
    elif name in names:
        report.error(path, f"'order' names {name!r} twice", code="order")
    else:
        names[name] = None


def _read_outputs(section: SectionDecl, mapping: dict[str, Node], report: Reporter) -> None:
    """Read `outputs`: a list of references, or a mapping from name to reference."""
    node = mapping.get("outputs")
    path = (*section.path, "outputs")
    if node is None or node.poisoned:
        section.complete = False
        return
    items: list[tuple[Any, Node]] = list(node.items())
    if not items:
        expected = "[$value, ...] or {name: $value}"
        message = "'outputs' must list what the model returns"
        report.error(path, message, code="wrong-type", expected=expected)
        section.complete = False
        return
    for key, item in items:
        parsed = parse_reference(item.value) if isinstance(item.value, str) else None
        if isinstance(parsed, Ref):
            section.output_names.append(str(key) if node.is_mapping else parsed.name)
            section.outputs.append(RefUse(parsed.name, (*path, key)))
        elif not item.poisoned:
            message = f"an output is a reference, found {describe(item.value)}"
            report.error((*path, key), message, code="reference", expected="$value")
            section.complete = False
    _read_return(section, mapping, "mapping" if node.is_mapping else "list", len(items), report)


def _read_return(
    section: SectionDecl, mapping: dict[str, Node], form: str, count: int, report: Reporter
) -> None:
    """Read `return` and hold it against how the outputs are written."""
    node = mapping.get("return")
    path = (*section.path, "return")
    if node is None or node.value is None:
        if form == "mapping":
            section.return_kind = "dict"
        else:
            section.return_kind = "single" if count == 1 else "tuple"
        return
    if not isinstance(node.value, str) or node.value not in _RETURN_KINDS:
        near = nearest(str(node.value), _RETURN_KINDS)
        message = f"unknown return {describe(node.value)}"
        expected = ", ".join(_RETURN_KINDS)
        report.error(path, message, code="return", expected=expected, suggestions=near)
        return
    section.return_kind = _RETURN_KINDS[node.value]
    message = ""
    if node.value == "dict" and form == "list":
        message = "'return: dict' needs outputs written as a mapping, {name: $value}"
    elif node.value != "dict" and form == "mapping":
        message = f"'return: {node.value}' needs outputs written as a list, [$value]"
    elif node.value == "single" and count != 1:
        message = f"'return: single' needs one output, found {count}"
    if message:
        report.error(path, message, code="return")
