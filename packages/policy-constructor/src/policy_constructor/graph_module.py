"""A graph IR as a `torch.fx.GraphModule`: straight-line Python, no interpreter of ours in forward.

Nothing a file says becomes code as it stands: names are identifiers by then, literals reach the
generated source through `repr`.
"""

from __future__ import annotations

import builtins
import copy
import operator
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from policy_constructor.graph.ir import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.fx.graph import PythonCode

    from policy_constructor.graph.ir import GraphIR, StepIR

__all__ = ["GraphModel", "unpack"]

_TAKEN = frozenset({*dir(builtins), "NoneType", "device", "fx_pytree", "pytree"})
_META_KEY = "policy_constructor"
_DERIVED = frozenset({"_graph", "_code", "_lineno_map", "_prologue_start"})


def unpack(result: Any, names: tuple[str, ...]) -> Any:
    """Return the result of a call after checking that it has one element per name.

    Raises:
        ValueError: It is no tuple or list, or has another length.
    """
    if not isinstance(result, (tuple, list)):
        msg = f"out: [{', '.join(names)}] needs a tuple, the call returned {type(result).__name__}"
        raise TypeError(msg)
    if len(result) != len(names):
        msg = (
            f"out: [{', '.join(names)}] names {len(names)} values, the call returned {len(result)}"
        )
        raise ValueError(msg)
    return result


class GraphModel(fx.GraphModule):
    """The model of a graph IR; submodules carry the names of the file.

    Its forward is generated once (`print(model.code)` shows it), so it costs what the same calls
    written by hand cost. It can be compiled with `torch.compile(fullgraph=True)`, exported,
    copied, pickled and edited with fx passes.

    Args:
        ir: The compiled section.
        modules: The submodules by name.
        ops: The functions that steps call, by op key.
    """

    def __init__(
        self, ir: GraphIR, modules: Mapping[str, nn.Module], ops: Mapping[str, Callable[..., Any]]
    ) -> None:
        super().__init__({}, fx.Graph(), "GraphModel")
        for name, module in modules.items():
            self.add_module(name, module)
        self.graph = _build_graph(ir, ops)
        self.meta[_META_KEY] = (ir, dict(ops), self._code)

    @property
    def ir(self) -> GraphIR:
        """The compiled section this model was built from."""
        ir: GraphIR = self.meta[_META_KEY][0]
        return ir

    def recompile(self) -> PythonCode:
        """Generate forward from the graph, and drop fx's wrapper around `__call__`.

        The wrapper only words errors; it costs two Python calls each time.
        """
        code = super().recompile()
        cls = type(self)  # fx makes one class per instance
        cls.__name__ = "GraphModel"
        del cls.__call__
        return code

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModel:
        """Copy everything, hooks included, which fx's own copy leaves behind."""
        clone: GraphModel = type(self).__new__(type(self))
        memo[id(self)] = clone
        state = copy.deepcopy(self.__dict__, memo)
        graph = state.pop("_graph")
        clone.__dict__.update(state)
        clone.graph = graph
        return clone

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the IR and the state; forward is generated anew when it is read back.

        After an fx pass has changed the code, fx's own form is used (it stores the source).
        """
        ir, ops, code = self.meta[_META_KEY]
        if code != self._code:
            reduced: tuple[Any, ...] = super().__reduce__()
            return reduced
        state = {key: value for key, value in self.__dict__.items() if key not in _DERIVED}
        return _restore, (ir, ops), state


def _restore(ir: GraphIR, ops: Mapping[str, Callable[..., Any]]) -> GraphModel:
    model: GraphModel = GraphModel.__new__(GraphModel)
    nn.Module.__init__(model)
    model.graph = _build_graph(ir, ops)
    return model


def _build_graph(ir: GraphIR, ops: Mapping[str, Callable[..., Any]]) -> fx.Graph:
    graph = fx.Graph()
    values: dict[str, fx.Node] = {}
    for name in ir.inputs:
        values[name] = _placeholder(graph, name, ir)
    for step in ir.steps:
        _add_step(graph, step, values, ops)
    graph.output(_returned(ir, values))
    return graph


def _placeholder(graph: fx.Graph, name: str, ir: GraphIR) -> fx.Node:
    """Add an input; inside forward it has a name that is no builtin and no other input."""
    hint = name
    while hint in _TAKEN or (hint != name and hint in ir.inputs):
        hint += "_value"
    node = graph.create_node("placeholder", name, name=hint)
    assert node.name == hint
    return node


def _add_step(
    graph: fx.Graph,
    step: StepIR,
    values: dict[str, fx.Node],
    ops: Mapping[str, Callable[..., Any]],
) -> None:
    args = tuple(_argument(value, values) for value in step.args)
    kwargs = {name: _argument(value, values) for name, value in step.kwargs.items()}
    if step.kind == "module":
        target: str | Callable[..., Any] = step.callee
        operation = "call_module"
    else:
        target = ops[step.callee]
        operation = "call_function"
    name = step.out if isinstance(step.out, str) else f"{step.name}_result"
    result = graph.create_node(operation, target, args, kwargs, name=name)
    if isinstance(step.out, str):
        values[step.out] = result
    elif isinstance(step.out, dict):
        for key, name in step.out.items():
            values[name] = _item(graph, result, key, name)
    else:
        checked = graph.create_node("call_function", unpack, (result, step.out))
        for index, name in enumerate(step.out):
            values[name] = _item(graph, checked, index, name)


def _item(graph: fx.Graph, result: fx.Node, key: str | int, name: str) -> fx.Node:
    return graph.create_node("call_function", operator.getitem, (result, key), name=name)


def _argument(value: Any, values: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, (list, tuple)):
        return [_argument(item, values) for item in value]
    if isinstance(value, dict):
        return {key: _argument(item, values) for key, item in value.items()}
    return value


def _returned(ir: GraphIR, values: Mapping[str, fx.Node]) -> Any:
    nodes = [values[ref.name] for ref in ir.returns]
    if ir.return_kind == "dict":
        return dict(zip(ir.outputs, nodes, strict=True))
    if ir.return_kind == "tuple":
        return tuple(nodes)
    return nodes[0]
