"""Annotations in source -> typing objects, by walking the syntax tree; nothing is evaluated.

A name that cannot be understood makes `Any`: a false alarm is worse than a miss. A class that no
YAML value can be (a tensor, a module) becomes a subclass of `Opaque`, which only a component fits.
"""

from __future__ import annotations

import ast
import collections.abc
import pathlib
from functools import lru_cache
from types import GenericAlias
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

from policy_constructor.signatures.constraints import constrained
from policy_constructor.source.module_source import (
    Binding,
    ImportedModule,
    ImportedName,
    ModuleSource,
)
from policy_constructor.source.static import Found, dotted_parts, find_attribute, read_module

__all__ = ["Opaque", "opaque_class", "qualified_name", "read_annotation", "union_of"]


class Opaque:
    """Base of the stand-ins for classes that no YAML value can be an instance of.

    Attributes:
        target: `module:name` of the class.
    """

    target: ClassVar[str] = ""


class _Unknown(Opaque):
    """Stands for an annotation that was not understood."""


_MOST_HOPS = 24
_NOT_KNOWN = object()
_TYPING_MODULES = frozenset(
    {"builtins", "collections", "collections.abc", "typing", "typing_extensions", "types"}
)
_NAMES: dict[str, Any] = {
    "Any": Any,
    "Callable": collections.abc.Callable,
    "None": None,
    "NoneType": None,
    "Text": str,
    "bool": bool,
    "float": float,
    "int": int,
    "object": Any,
    "str": str,
}
_LISTS = frozenset({"Collection", "Iterable", "List", "MutableSequence", "Sequence", "deque"})
_SETS = frozenset({"AbstractSet", "FrozenSet", "MutableSet", "Set", "frozenset"})
_MAPPINGS = frozenset({"Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict"})
_GENERICS: dict[str, type] = {
    **dict.fromkeys(_LISTS | {"list"}, list),
    **dict.fromkeys(_SETS | {"set"}, set),
    **dict.fromkeys(_MAPPINGS | {"dict"}, dict),
    **dict.fromkeys(("Tuple", "tuple"), tuple),
}
_WRAPPERS = frozenset({"ClassVar", "Final", "InitVar", "NotRequired", "ReadOnly", "Required"})
_ELSEWHERE: dict[str, Any] = {
    "numbers.Integral": int,
    "numbers.Number": float,
    "numbers.Real": float,
    "os.PathLike": pathlib.Path,
    "pathlib.Path": pathlib.Path,
    "pathlib.PurePath": pathlib.Path,
}
_TORCH_PACKAGES = frozenset({"torch.nn", "torch.optim", "torch.optim.lr_scheduler"})
"""Packages whose public capitalised names are classes: nothing of torch need be read for them."""
_ROOTS_WITHOUT_ALIASES = frozenset({"numpy", "torch"})
_VALUE_BASES = frozenset(
    {"BaseModel", "NamedTuple", "TypedDict", "bool", "dict", "float", "frozenset", "int", "list"}
    | {"set", "str", "tuple"}
)
_VALUE_DECORATORS = frozenset({"attrs", "dataclass", "define", "frozen", "mutable"})
_ENUM_BASES = frozenset({"Enum", "IntEnum", "StrEnum"})


class _Scope(NamedTuple):
    """Where an annotation stands: its module, what its type variables mean, hops that are left."""

    source: ModuleSource
    variables: dict[str, Any]
    hops: int


def read_annotation(expression: ast.expr | None, source: ModuleSource) -> Any:
    """Return the typing object that an annotation means, `Any` where it is not understood."""
    if expression is None:
        return Any
    found = _evaluate(expression, _Scope(source, {}, _MOST_HOPS))
    return Any if found is _Unknown else found


def union_of(members: list[Any]) -> Any:
    """Return the union of some annotations.

    A member that is not understood matches only a component when a YAML value fits one of the
    others; else the whole union is unknown.
    """
    if any(member is Any for member in members):
        return Any
    understood = [member for member in members if member is not _Unknown]
    if len(understood) < len(members):
        if all(member is None or _is_opaque(member) for member in understood):
            return _Unknown
        understood.append(opaque_class(""))
    types = tuple(type(None) if member is None else member for member in understood)
    return Union[types]  # noqa: UP007 - the members are known at run time only


@lru_cache(maxsize=1024)
def opaque_class(target: str) -> type[Opaque]:
    """Return the stand-in for a class, one per target (`module:name`)."""
    name = target.rpartition(":")[2] or "Opaque"
    return type(name, (Opaque,), {"target": target, "__module__": __name__})


def qualified_name(expression: ast.expr, source: ModuleSource) -> str:
    """Return `module.name` of a name as its import spells it; empty for other expressions."""
    parts = dotted_parts(expression)
    if not parts:
        return ""
    binding: Binding | None = next(iter(source.bindings.get(parts[0], ())), None)
    match binding:
        case ImportedName(module, name):
            head = f"{module}.{name}"
        case ImportedModule(module):
            head = module
        case None:
            head = f"builtins.{parts[0]}" if not source.stars else parts[0]
            if parts[0] in _NAMES or parts[0] in _GENERICS:
                head = f"builtins.{parts[0]}"
        case _:
            head = f"{source.name}.{parts[0]}"
    return ".".join([head, *parts[1:]])


def _evaluate(expression: ast.expr, scope: _Scope) -> Any:
    found: Any = _Unknown
    match expression:
        case ast.Constant(value=None):
            found = None
        case ast.Constant(value=str(text)):
            found = _quoted(text, scope)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            found = union_of([_evaluate(left, scope), _evaluate(right, scope)])
        case ast.Subscript(value=value, slice=index):
            found = _subscript(value, index, scope)
        case ast.Name() | ast.Attribute():
            found = _named(expression, scope)
        case ast.Call():
            found = _called(expression, scope)
    return found


def _quoted(text: str, scope: _Scope) -> Any:
    try:
        return _evaluate(ast.parse(text.strip(), mode="eval").body, scope)
    except (SyntaxError, ValueError):
        return _Unknown


def _named(expression: ast.expr, scope: _Scope) -> Any:
    """Return what a name means."""
    parts = dotted_parts(expression)
    if not parts or scope.hops <= 0:
        return _Unknown
    if parts[0] in scope.variables:
        return scope.variables[parts[0]]
    qualified = qualified_name(expression, scope.source)
    known = _well_known(qualified)
    if known is not _NOT_KNOWN:
        return known
    found = find_attribute(scope.source.name, ".".join(parts))
    return _definition(found, scope) if found else _Unknown


def _well_known(qualified: str) -> Any:
    """Return what a name of the standard library, torch or numpy means, without reading it."""
    module, _, name = qualified.rpartition(".")
    if module in _TYPING_MODULES:
        return _generic(_GENERICS[name], []) if name in _GENERICS else _NAMES.get(name, _Unknown)
    if module in _ROOTS_WITHOUT_ALIASES:
        return opaque_class(f"{module}:{name}") if name[:1].isupper() else _Unknown
    if name == "Module" and module.startswith("torch.nn"):
        return opaque_class("torch.nn:Module")
    if module in _TORCH_PACKAGES and name[:1].isupper():
        return opaque_class(f"{module}:{name}")
    return _ELSEWHERE.get(qualified, _NOT_KNOWN)


def _definition(found: Found, scope: _Scope) -> Any:
    """Return what a class, or the value of an alias, means."""
    if isinstance(found.node, ast.ClassDef):
        return _class(found.node, found.module)
    source = read_module(found.module)
    if not isinstance(found.node, ast.expr) or source is None:
        return _Unknown
    if found.module in _TYPING_MODULES:
        return _Unknown
    return _evaluate(found.node, _Scope(source, scope.variables, scope.hops - 1))


def _class(node: ast.ClassDef, module: str) -> Any:
    bases = {(dotted_parts(base) or [""])[-1] for base in node.bases}
    decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    made_of_values = any((dotted_parts(d) or [""])[-1] in _VALUE_DECORATORS for d in decorators)
    if bases & _ENUM_BASES:
        return _choices(node)
    if module in _TYPING_MODULES or bases & _VALUE_BASES or made_of_values:
        return _Unknown
    if "Protocol" in bases and not any(_is_plain_method(s) for s in node.body):
        return _Unknown
    return opaque_class(f"{module}:{node.name}")


def _choices(enum: ast.ClassDef) -> Any:
    """Return the Literal of an enum's values; unknown when one of them is computed."""
    values = [s.value for s in enum.body if isinstance(s, ast.Assign)]
    constants = [v.value for v in values if isinstance(v, ast.Constant)]
    if not constants or len(constants) < len(values):
        return _Unknown
    return Literal[tuple(constants)]


def _is_plain_method(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and not statement.name.startswith("__")


def _called(call: ast.Call, scope: _Scope) -> Any:
    """Return what `TypeVar("T", bound=X)` and `NewType("N", X)` mean."""
    kind = qualified_name(call.func, scope.source).rpartition(".")[2]
    if kind == "TypeVar" and call.args and isinstance(call.args[0], ast.Constant):
        if call.args[0].value in scope.variables:
            return scope.variables[str(call.args[0].value)]
        bounds = [k.value for k in call.keywords if k.arg == "bound"] or call.args[1:]
        return union_of([_evaluate(b, scope) for b in bounds]) if bounds else _Unknown
    if kind == "NewType" and len(call.args) == 2:
        return _evaluate(call.args[1], scope)
    return _Unknown


def _subscript(value: ast.expr, index: ast.expr, scope: _Scope) -> Any:
    module, _, name = qualified_name(value, scope.source).rpartition(".")
    arguments = index.elts if isinstance(index, ast.Tuple) else [index]
    if name in _WRAPPERS:
        return _evaluate(arguments[0], scope)
    if module not in _TYPING_MODULES:
        return _parametrised(value, arguments, scope)
    if name in _GENERICS:
        return _generic(_GENERICS[name], [_argument(a, scope) for a in arguments])
    return _special_form(name, arguments, scope)


def _special_form(name: str, arguments: list[ast.expr], scope: _Scope) -> Any:
    found: Any = _Unknown
    match name:
        case "Optional":
            found = union_of([_evaluate(arguments[0], scope), None])
        case "Union":
            found = union_of([_evaluate(a, scope) for a in arguments])
        case "Literal":
            found = _literal(arguments, scope)
        case "Annotated":
            found = _evaluate(arguments[0], scope)
            found = found if found is _Unknown else constrained(found, arguments[1:])
        case "Callable":
            found = collections.abc.Callable
    return found


def _argument(expression: ast.expr, scope: _Scope) -> Any:
    """Return a type argument; an unknown one lets everything pass."""
    if isinstance(expression, ast.Constant) and expression.value is Ellipsis:
        return Ellipsis
    found = _evaluate(expression, scope)
    return Any if found is _Unknown else found


def _generic(origin: type, arguments: list[Any]) -> Any:
    if origin is tuple:
        return GenericAlias(tuple, tuple(arguments) if arguments else (Any, ...))
    wanted = 2 if origin is dict else 1
    return GenericAlias(origin, tuple([*arguments, Any, Any][:wanted]))


def _parametrised(value: ast.expr, arguments: list[ast.expr], scope: _Scope) -> Any:
    """Return `Alias[X]` with the alias's type variables replaced, or `Class[X]` as its class."""
    parts = dotted_parts(value)
    found = find_attribute(scope.source.name, ".".join(parts)) if parts else None
    source = read_module(found.module) if found else None
    if scope.hops <= 0 or found is None or source is None or not isinstance(found.node, ast.expr):
        return _named(value, scope)
    names = _type_variables(found.node, source)
    variables = dict(zip(names, [_argument(a, scope) for a in arguments], strict=False))
    return _evaluate(found.node, _Scope(source, variables, scope.hops - 1))


def _type_variables(expression: ast.expr, source: ModuleSource) -> list[str]:
    """Return the type variables of an alias in the order of their first use."""
    names: list[str] = []
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id not in names:
            bindings = source.bindings.get(node.id, ())
            if any(isinstance(b, ast.Call) for b in bindings):
                names.append(node.id)
    return names


def _literal(arguments: list[ast.expr], scope: _Scope) -> Any:
    values: list[Any] = []
    for argument in arguments:
        try:
            values.append(ast.literal_eval(argument))
        except ValueError:
            inner = _evaluate(argument, scope)
            if get_origin(inner) is not Literal:
                return _Unknown
            values += get_args(inner)
    return Literal[tuple(values)]


def _is_opaque(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Opaque)
