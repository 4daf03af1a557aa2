"""Fields in a class body -> parameters: dataclass, attrs class, NamedTuple, Pydantic model."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from policy_constructor.signatures.annotations import read_annotation
from policy_constructor.signatures.constraints import constrained, field_arguments
from policy_constructor.signatures.parameters import Parameter
from policy_constructor.source.static import dotted_parts

if TYPE_CHECKING:
    from policy_constructor.source.module_source import ModuleSource

__all__ = ["field_parameters", "has_fields"]

_DECORATORS = frozenset({"attrs", "dataclass", "define", "frozen", "mutable"})
_BASES = frozenset({"BaseModel", "NamedTuple"})
_FIELD_CALLS = frozenset({"Field", "PrivateAttr", "attrib", "field", "ib"})


def has_fields(node: ast.ClassDef) -> bool:
    """Whether the body of a class, not an `__init__`, says what its constructor accepts."""
    bases = {_last_name(base) for base in node.bases}
    decorators = {_last_name(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list}
    return bool(bases & _BASES or decorators & _DECORATORS)


def field_parameters(node: ast.ClassDef, source: ModuleSource) -> dict[str, Parameter]:
    """Return the fields of one class body, without those of its bases."""
    keyword_only = _decorator_says(node, "kw_only") or "BaseModel" in map(_last_name, node.bases)
    parameters: dict[str, Parameter] = {}
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if _is_marker(statement.annotation, "KW_ONLY"):
            keyword_only = True
        elif not _is_marker(statement.annotation, "ClassVar"):
            found = _field(statement, source, keyword_only=keyword_only)
            if found is not None:
                parameters[found.name] = found
    return parameters


def _field(
    statement: ast.AnnAssign, source: ModuleSource, *, keyword_only: bool
) -> Parameter | None:
    name = statement.target.id if isinstance(statement.target, ast.Name) else ""
    annotation = read_annotation(statement.annotation, source)
    default: ast.expr | None = statement.value
    doc = ""
    if isinstance(default, ast.Call) and _last_name(default.func) in _FIELD_CALLS:
        arguments = field_arguments(default)
        if _constant(arguments.get("init")) is False or _last_name(default.func) == "PrivateAttr":
            return None
        annotation = constrained(annotation, [default])
        doc = str(_constant(arguments.get("description")) or "")
        keyword_only = keyword_only or _constant(arguments.get("kw_only")) is True
        alias = _constant(arguments.get("alias"))
        name = alias if isinstance(alias, str) else name
        default = next(
            (arguments[k] for k in ("default", "default_factory", "factory") if k in arguments),
            None,
        )
        if isinstance(default, ast.Constant) and default.value is Ellipsis:
            default = None
    return Parameter(
        name=name,
        kind="keyword-only" if keyword_only else "positional",
        annotation=annotation,
        required=default is None,
        default=_constant(default),
        default_source=ast.unparse(default) if default else "",
        doc=doc,
    )


def _decorator_says(node: ast.ClassDef, option: str) -> bool:
    return any(
        k.arg == option and _constant(k.value) is True
        for d in node.decorator_list
        if isinstance(d, ast.Call)
        for k in d.keywords
    )


def _is_marker(annotation: ast.expr, name: str) -> bool:
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return _last_name(base) == name


def _last_name(expression: ast.expr) -> str:
    return (dotted_parts(expression) or [""])[-1]


def _constant(expression: ast.expr | None) -> Any:
    try:
        return None if expression is None else ast.literal_eval(expression)
    except (ValueError, TypeError):
        return None
