"""The graph of a model between file and module: frozen, plain, picklable, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.errors import Location, Problem

__all__ = ["GraphIR", "InputIR", "ModuleIR", "Out", "Ref", "ReturnKind", "SpecIR", "StepIR"]

Out: TypeAlias = "str | tuple[str, ...] | dict[str, str]"
ReturnKind: TypeAlias = Literal["single", "tuple", "dict", "block"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, `$name` in the file.

    Attributes:
        name: A model input or what an earlier step gave a name to.
    """

    name: str


@dataclass(frozen=True, slots=True)
class SpecIR:
    """A component spec: what is called with which arguments when the model is built.

    Attributes:
        key: Key of the block as written; the import path of a `_target_`.
        target: `module:attr` of the factory.
        args: Positional arguments; nested specs are `SpecIR`.
        kwargs: Keyword arguments; nested specs are `SpecIR`.
        imported: Whether it is a `_target_`, imported by name and not from a registry.
        prefixes: For a `_target_`, the package prefixes it may come from.
        path: Dotted key of the spec.
        location: Where the spec was written.
    """

    key: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    imported: bool = False
    prefixes: tuple[str, ...] = ()
    path: str = ""
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class InputIR:
    """A model input.

    Attributes:
        name: Name of forward's argument.
        required: False where a block's forward has a default.
        shape: Declared sizes; None or a name for a size that varies. None if undeclared.
        dtype: Name of the declared torch dtype.
    """

    name: str
    required: bool = True
    shape: tuple[int | str | None, ...] | None = None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class ModuleIR:
    """A named part of the model: a block, or a nested graph.

    Attributes:
        name: Name of the submodule; state_dict keys begin with it.
        body: What it is built from.
    """

    name: str
    body: SpecIR | GraphIR


@dataclass(frozen=True, slots=True)
class StepIR:
    """One call of the forward pass.

    Attributes:
        name: Name of the node; for a step its first out.
        kind: Whether a module or an op is called.
        callee: Name of the module, or key of the op.
        args: Positional arguments: literals, `Ref`, lists and mappings of both.
        kwargs: Keyword arguments, likewise.
        out: Name of the result; names of its elements; or names by key of the result.
        path: Dotted key of the call.
        location: Where the call was written.
    """

    name: str
    kind: Literal["module", "op"]
    callee: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    out: Out = ""
    path: str = ""
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class GraphIR:
    """A compiled `model:` section.

    Attributes:
        inputs: Names of the inputs that forward needs, in order.
        outputs: Names of what forward returns, in order; empty for a single block.
        return_kind: `single`, `tuple` or `dict`; `block` when the model is one block and returns
            what that returns.
        input_specs: All inputs with their declared shapes, optional ones of a block included.
        open_inputs: Whether forward may take inputs that are not listed: a block whose forward
            cannot be read or takes any keyword.
        returns: The values behind `outputs`, in the same order.
        modules: Submodules in the order of the file.
        steps: Calls in order of execution.
        block: The block of a model that is a single spec.
        path: Dotted key of the section.
        location: Where the section was written.
        warnings: What is suspicious but legal: a value or an input that nothing uses.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    return_kind: ReturnKind
    input_specs: tuple[InputIR, ...] = ()
    open_inputs: bool = False
    returns: tuple[Ref, ...] = ()
    modules: tuple[ModuleIR, ...] = ()
    steps: tuple[StepIR, ...] = ()
    block: SpecIR | None = None
    path: str = ""
    location: Location | None = None
    warnings: tuple[Problem, ...] = ()
