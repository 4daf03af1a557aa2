"""Classes and functions in source -> their signatures."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from policy_constructor.signatures.annotations import qualified_name, read_annotation, union_of
from policy_constructor.signatures.docstrings import parameter_docs, summary
from policy_constructor.signatures.fields import field_parameters, has_fields
from policy_constructor.signatures.forwarding import Forwarding, forwarding
from policy_constructor.signatures.parameters import Parameter, Signature
from policy_constructor.source.static import Found, dotted_parts, read_module, resolve

if TYPE_CHECKING:
    from policy_constructor.signatures.parameters import ParameterKind
    from policy_constructor.source.module_source import ModuleSource

__all__ = ["class_signature", "function_signature"]

NO_CONSTRUCTOR = Signature()
"""What a class without a constructor anywhere accepts: nothing."""

_EMPTY_BASES = frozenset({"ABC", "Generic", "Protocol", "object"})
_DEEPEST_BASE = 16


def class_signature(found: Found, depth: int = 0) -> Signature | None:
    """Return what the constructor of a class accepts; None where that cannot be known.

    Its own `__init__` (or `__new__`) counts, else the fields of a dataclass, else the first base
    that has a constructor. `**kwargs` handed on to `super().__init__` add the base's parameters.
    """
    node, source = found.node, read_module(found.module)
    if not isinstance(node, ast.ClassDef) or source is None or depth > _DEEPEST_BASE:
        return None
    for name in ("__init__", "__new__"):
        candidates = [s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == name]
        if candidates:
            signature = _of_functions(candidates[::-1], source, found, depth)
            return _documented(signature, node, *candidates)
    if has_fields(node):
        signature = Signature(_inherited_fields(found, depth))
        return _documented(signature, node)
    inherited = _inherited(found, source, depth)
    return _documented(inherited, node) if inherited else None


def function_signature(found: Found) -> Signature | None:
    """Return what a function accepts; None for anything else."""
    source = read_module(found.module)
    if not isinstance(found.node, ast.FunctionDef) or source is None:
        return None
    bound = source.bindings.get(found.node.name, ())
    candidates = [b for b in bound if isinstance(b, ast.FunctionDef)]
    if found.node not in candidates:
        candidates = [found.node]
    return _documented(_of_functions(candidates, source, None, 0), *candidates)


def _of_functions(
    candidates: list[ast.FunctionDef], source: ModuleSource, owner: Found | None, depth: int
) -> Signature:
    """Return the signature of a function from its definitions, the last one first.

    Stubs marked with `@overload` count only where the real one is `*args, **kwargs`.
    """
    real = next((f for f in candidates if not _is_overload(f)), None)
    stubs = [f for f in candidates[::-1] if _is_overload(f) and not _takes_anything(f)]
    if stubs and (real is None or _takes_anything(real)):
        return _union([_of_function(f, source, owner, depth) for f in stubs])
    return _of_function(real or candidates[0], source, owner, depth)


def _of_function(
    function: ast.FunctionDef, source: ModuleSource, owner: Found | None, depth: int
) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*padding, *arguments.defaults]
    kinds: list[ParameterKind] = ["positional-only"] * len(arguments.posonlyargs)
    kinds += ["positional"] * len(arguments.args)
    rows = list(zip(positional, kinds, defaults, strict=True))
    if owner is not None and not _is_static(function):
        rows = rows[1:]
    own = [_parameter(a, kind, default, source) for a, kind, default in rows]
    own += [
        _parameter(argument, "keyword-only", default, source)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    signature = Signature(
        {parameter.name: parameter for parameter in own},
        accepts_any_keyword=arguments.kwarg is not None,
        accepts_any_positional=arguments.vararg is not None,
    )
    if owner is None or arguments.kwarg is None:
        return signature
    return _with_forwarded(signature, forwarding(function), source, owner, depth)


def _parameter(
    argument: ast.arg, kind: ParameterKind, default: ast.expr | None, source: ModuleSource
) -> Parameter:
    return Parameter(
        name=argument.arg,
        kind=kind,
        annotation=read_annotation(argument.annotation, source),
        required=default is None,
        default=_literal(default),
        default_source=ast.unparse(default) if default else "",
    )


def _with_forwarded(
    own: Signature, forwarded: Forwarding, source: ModuleSource, owner: Found, depth: int
) -> Signature:
    """Add the parameters that `**kwargs` carries to a base's constructor."""
    if forwarded.to is None or forwarded.escapes:
        return own
    if forwarded.to:
        base = resolve(ast.parse(forwarded.to, mode="eval").body, source)
        inherited = class_signature(base, depth + 1) if base else None
    else:
        inherited = _inherited(owner, source, depth)
    if inherited is None:
        return own
    names = list(inherited.parameters.values())[forwarded.positional :]
    extra = {
        p.name: p if forwarded.star else replace(p, kind="keyword-only")
        for p in names
        if p.name not in forwarded.keywords and p.kind != "positional-only"
    }
    taken = {name: Parameter(name, "keyword-only", required=False) for name in forwarded.popped}
    return replace(
        own,
        parameters=_in_order({**taken, **extra, **own.parameters}, own),
        accepts_any_keyword=inherited.accepts_any_keyword,
        accepts_any_positional=own.accepts_any_positional
        and (inherited.accepts_any_positional or not forwarded.star),
    )


def _in_order(parameters: dict[str, Parameter], own: Signature) -> dict[str, Parameter]:
    """Put a class's own parameters before those of its base."""
    return {name: parameters[name] for name in [*own.parameters, *parameters]}


def _inherited(found: Found, source: ModuleSource, depth: int) -> Signature | None:
    """Return the constructor of the first base that has one; None if a base is not found."""
    for base in getattr(found.node, "bases", ()):
        expression = base.value if isinstance(base, ast.Subscript) else base
        qualified = qualified_name(expression, source)
        if _is_torch_module(qualified) or qualified.rpartition(".")[2] in _EMPTY_BASES:
            continue
        definition = resolve(expression, source)
        signature = class_signature(definition, depth + 1) if definition else None
        if signature is None or signature.parameters or signature.accepts_any_keyword:
            return signature
    return NO_CONSTRUCTOR


def _is_torch_module(qualified: str) -> bool:
    """Whether a name is `torch.nn.Module`, whose `*args, **kwargs` accept nothing in truth."""
    return qualified.startswith("torch.nn") and qualified.endswith(".Module")


def _inherited_fields(found: Found, depth: int) -> dict[str, Parameter]:
    """Return the fields of a dataclass, those of its bases first."""
    source = read_module(found.module)
    if source is None or not isinstance(found.node, ast.ClassDef) or depth > _DEEPEST_BASE:
        return {}
    fields: dict[str, Parameter] = {}
    for base in found.node.bases[::-1]:
        definition = resolve(base, source)
        if definition is not None and isinstance(definition.node, ast.ClassDef):
            fields |= _inherited_fields(definition, depth + 1)
    if has_fields(found.node):
        fields |= field_parameters(found.node, source)
    return fields


def _union(signatures: list[Signature]) -> Signature:
    """Return what any of several overloads accepts."""
    names = list(dict.fromkeys(name for s in signatures for name in s.parameters))
    parameters: dict[str, Parameter] = {}
    for name in names:
        variants = [s.parameters[name] for s in signatures if name in s.parameters]
        default = next((p for p in variants if not p.required), variants[0])
        required = len(variants) == len(signatures) and all(p.required for p in variants)
        annotation = union_of(list(dict.fromkeys(p.annotation for p in variants)))
        parameters[name] = replace(default, required=required, annotation=annotation)
    return Signature(
        parameters,
        accepts_any_keyword=any(s.accepts_any_keyword for s in signatures),
        accepts_any_positional=any(s.accepts_any_positional for s in signatures),
    )


def _documented(signature: Signature, *nodes: ast.AST) -> Signature:
    docs = parameter_docs(*nodes)
    parameters = {
        name: replace(p, doc=p.doc or docs.get(name, ""))
        for name, p in signature.parameters.items()
    }
    return replace(signature, parameters=parameters, doc=summary(nodes[0]))


def _takes_anything(function: ast.FunctionDef) -> bool:
    """Whether a function is `(self, *args, **kwargs)`."""
    arguments = function.args
    named = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    return named <= 1 and arguments.vararg is not None and arguments.kwarg is not None


def _is_overload(function: ast.FunctionDef) -> bool:
    return any(dotted_parts(d)[-1:] == ["overload"] for d in function.decorator_list)


def _is_static(function: ast.FunctionDef) -> bool:
    return any(dotted_parts(d)[-1:] == ["staticmethod"] for d in function.decorator_list)


def _literal(expression: ast.expr | None) -> Any:
    """Return the value of a literal; None for other expressions."""
    try:
        return None if expression is None else ast.literal_eval(expression)
    except (ValueError, TypeError):
        return None
