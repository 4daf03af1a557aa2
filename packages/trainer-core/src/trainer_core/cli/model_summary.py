"""A compiled model and its modules -> what `trainer model show` tells of it, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch.nn.parameter import UninitializedParameter

from policy_constructor.graph.ir import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from policy_constructor.graph.ir import GraphIR, ModuleIR, StepIR

__all__ = ["Call", "calls", "summarize", "to_mermaid"]


class Call(NamedTuple):
    """One line of the picture: `results = what(values)`.

    Attributes:
        what: What is called: a module's name, or `op:key`.
        values: The inputs and earlier results that it takes.
        results: The names of what it returns.
    """

    what: str
    values: tuple[str, ...]
    results: tuple[str, ...]


def summarize(name: str, ir: GraphIR, model: nn.Module, *, trainable: bool) -> dict[str, Any]:
    """Return the inputs, outputs, calls and modules of one component.

    Args:
        name: Its name.
        ir: Its compiled graph.
        model: Its modules; on the meta device they take no memory.
        trainable: Whether it is trained.
    """
    parts: list[tuple[str, nn.Module, ModuleIR | None]] = [
        (module.name, model.get_submodule(module.name), module) for module in ir.modules
    ]
    return {
        "name": name,
        "trainable": trainable,
        "parameters": _count(model),
        "inputs": [
            {
                "name": spec.name,
                "required": spec.required,
                "shape": None if spec.shape is None else list(spec.shape),
                "dtype": spec.dtype,
            }
            for spec in ir.input_specs
        ],
        "returns": ir.return_kind,
        "outputs": list(ir.outputs),
        "modules": [
            _module(part, module, source, ir)
            for part, module, source in parts or [(name, model, None)]
        ],
        "calls": [call._asdict() for call in calls(ir)],
    }


def calls(ir: GraphIR) -> list[Call]:
    """Return the calls of the forward pass in their order; a single block has one."""
    if ir.block is not None:
        return [Call(ir.block.key, ir.inputs, ir.outputs)]
    return [_call(step) for step in ir.steps]


def to_mermaid(ir: GraphIR) -> str:
    """Return the graph as a Mermaid flow chart, as GitHub and many editors draw it."""
    lines = ["flowchart TD"]
    origin: dict[str, str] = {}
    for number, name in enumerate(ir.inputs):
        origin[name] = f"in{number}"
        lines.append(f"  in{number}([{_quoted(name)}])")
    for number, call in enumerate(calls(ir)):
        node = f"call{number}"
        lines.append(f"  {node}[{_quoted(call.what)}]")
        lines += [f"  {origin[value]} -->|{_quoted(value)}| {node}" for value in call.values]
        origin |= dict.fromkeys(call.results, node)
    returned = [ref.name for ref in ir.returns]
    for number, (name, value) in enumerate(zip(ir.outputs, returned, strict=True)):
        lines += [f"  out{number}([{_quoted(name)}])", f"  {origin[value]} --> out{number}"]
    return "\n".join(lines)


def _call(step: StepIR) -> Call:
    what = step.callee if step.kind == "module" else f"op:{step.callee}"
    values = dict.fromkeys(_references((step.args, step.kwargs)))
    if isinstance(step.out, str):
        results: tuple[str, ...] = (step.out,)
    else:
        results = tuple(step.out.values() if isinstance(step.out, dict) else step.out)
    return Call(what, tuple(values), results)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _references(item)
    elif hasattr(value, "values"):
        yield from _references(tuple(value.values()))


def _module(name: str, module: nn.Module, source: ModuleIR | None, ir: GraphIR) -> dict[str, Any]:
    spec = source.body if source is not None else ir.block
    return {
        "name": name,
        "type": getattr(spec, "key", "graph"),
        "parameters": _count(module),
        "shapes": _shapes(module),
    }


def _count(module: nn.Module) -> int | None:
    """Return the number of parameters; None where one still waits for its size."""
    parameters = list(module.parameters())
    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        return None
    return sum(parameter.numel() for parameter in parameters)


def _shapes(module: nn.Module) -> Mapping[str, list[int] | None]:
    return {
        name: None if isinstance(parameter, UninitializedParameter) else list(parameter.shape)
        for name, parameter in module.named_parameters()
    }


def _quoted(text: str) -> str:
    """Return a Mermaid label; its only special character within quotes is the quote."""
    return '"' + text.replace('"', "#quot;") + '"'
