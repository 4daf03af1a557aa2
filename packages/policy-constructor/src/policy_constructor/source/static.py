"""Find modules, classes and functions in installed source without importing anything."""

from __future__ import annotations

import ast
import os
import sys
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from policy_constructor.source.module_source import (
    ImportedModule,
    ImportedName,
    ModuleSource,
    read_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_constructor.source.module_source import Binding

__all__ = [
    "Found",
    "base_classes",
    "class_attribute",
    "derives_from",
    "dotted_parts",
    "find_attribute",
    "find_spec",
    "locate",
    "public_names",
    "read_module",
    "resolve",
]

_MOST_HOPS = 32


class Found(NamedTuple):
    """A definition: the name of the module that holds it and its syntax tree.

    The tree is a class, a function, a whole module, or the expression that was assigned.
    """

    module: str
    node: ast.AST


def locate(module: str) -> str | None:
    """Return the source file of a module; None for one that is missing or has no source.

    The finders on `sys.meta_path` are asked one dotted part after the other. Unlike
    `importlib.util.find_spec`, which imports the parents, this executes nothing. A compiled module
    is answered with the `.pyi` file beside it, if there is one.
    """
    try:
        return _located(module, tuple(sys.path))
    except LookupError:
        return None


@lru_cache(maxsize=1024)
def _located(module: str, _search_path: tuple[str, ...]) -> str:
    """Return the source file of a module; only what is found is remembered.

    Raises:
        LookupError: There is none.
    """
    spec = find_spec(module)
    origin = getattr(spec, "origin", None)
    if not isinstance(origin, str) or not getattr(spec, "has_location", False):
        raise LookupError(module)
    if origin.endswith(".py"):
        return origin
    stub = Path(origin).with_name(f"{module.rpartition('.')[2]}.pyi")
    if not stub.is_file():
        raise LookupError(module)
    return str(stub)


def read_module(module: str) -> ModuleSource | None:
    """Return the source of a module, or None."""
    path = locate(module)
    return read_file(module, path) if path else None


def find_attribute(module: str, attr: str) -> Found | None:
    """Return the definition that a dotted attribute of a module leads to, or None.

    Followed are re-exports, star imports, both branches of `if` and `try`, assignments of one name
    to another, submodules, PEP 562 tables and classes inside classes.
    """
    return _find(module, attr, hops=_MOST_HOPS)


def resolve(expression: ast.expr, source: ModuleSource) -> Found | None:
    """Return the definition that `name` or `name.name` means in a module, or None."""
    parts = dotted_parts(expression)
    return _find(source.name, ".".join(parts), hops=_MOST_HOPS) if parts else None


def public_names(module: str) -> tuple[str, ...]:
    """Return the names that `from module import *` would bind, in alphabetical order."""
    return tuple(sorted(_public(module, frozenset())))


def class_attribute(
    found: Found, name: str, leave_out: frozenset[str] = frozenset()
) -> Found | None:
    """Return a statement or value in a class body, its own before those of its bases.

    Bases from the packages of `leave_out` are not looked into.
    """
    for owner in base_classes(found, leave_out):
        for statement in getattr(owner.node, "body", ()):
            match statement:
                case ast.ClassDef() | ast.FunctionDef() if statement.name == name:
                    return Found(owner.module, statement)
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    return Found(owner.module, value)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if (
                    target == name
                ):
                    return Found(owner.module, value)
    return None


def base_classes(found: Found, leave_out: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Yield a class and the bases whose source is found, depth first, each once.

    Bases from the packages of `leave_out` are not looked for.
    """
    seen: set[ast.AST] = set()
    pending = [found]
    while pending:
        current = pending.pop(0)
        if not isinstance(current.node, ast.ClassDef) or current.node in seen:
            continue
        seen.add(current.node)
        yield current
        source = read_module(current.module)
        bases = [
            resolve(_unsubscripted(base), source)
            for base in current.node.bases
            if source and _package_of(base, source) not in leave_out
        ]
        pending[:0] = [base for base in bases if base is not None]


def _package_of(base: ast.expr, source: ModuleSource) -> str:
    """Return the package that a base class is imported from; empty for one of the module."""
    name = (dotted_parts(_unsubscripted(base)) or [""])[0]
    binding = next(iter(source.bindings.get(name, ())), None)
    if isinstance(binding, ImportedModule | ImportedName):
        return binding.module.partition(".")[0]
    return ""


def derives_from(found: Found, base: str) -> bool:
    """Whether a class other than `base` itself has an ancestor of that name.

    Ancestors are compared by name before they are looked up, so most answers read one file.
    """
    for owner in base_classes(found):
        bases = getattr(owner.node, "bases", ())
        if any(dotted_parts(_unsubscripted(node))[-1:] == [base] for node in bases):
            return getattr(found.node, "name", base) != base
    return False


def find_spec(module: str) -> Any:
    """Return the spec of a module without importing its parents."""
    try:
        return _found_spec(module, tuple(sys.path))
    except LookupError:
        return None


@lru_cache(maxsize=1024)
def _found_spec(module: str, _search_path: tuple[str, ...]) -> Any:
    """Return the spec of a module; only what is found is remembered.

    Raises:
        LookupError: There is none.
    """
    locations: Sequence[str] | None = None
    spec: Any = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = _ask_finders(name, locations)
        locations = getattr(spec, "submodule_search_locations", None)
        if spec is None or (locations is None and name != module):
            raise LookupError(module)
    return spec


def _ask_finders(name: str, locations: Sequence[str] | None) -> Any:
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        try:
            spec = find_spec(name, locations) if find_spec else None
        except Exception:  # noqa: BLE001, S112 - a stranger's finder must not stop the search
            continue
        if spec is not None:
            return spec
    return _namespace_spec(name, locations)


def _namespace_spec(name: str, locations: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of a folder without `__init__.py` inside a package.

    The standard finder raises KeyError for one whose parent is not imported.
    """
    last = name.rpartition(".")[2]
    folders = [str(Path(place) / last) for place in locations or ()]
    spec = ModuleSpec(name, None, is_package=True)
    # os.path, unlike pathlib, takes a name that is too long for one that does not exist.
    spec.submodule_search_locations = [f for f in folders if os.path.isdir(f)]  # noqa: PTH112
    return spec if spec.submodule_search_locations else None


def _find(module: str, attr: str, hops: int) -> Found | None:
    first, _, rest = attr.partition(".")
    if hops <= 0 or not first:
        return None
    found = _find_name(module, first, hops)
    return _member(found, rest, hops) if found and rest else found


def _member(found: Found, rest: str, hops: int) -> Found | None:
    """Return a dotted attribute of a module or class."""
    if isinstance(found.node, ast.Module):
        return _find(found.module, rest, hops - 1)
    first, _, rest = rest.partition(".")
    for statement in getattr(found.node, "body", ()):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == first:
            inner = Found(found.module, statement)
            return _member(inner, rest, hops - 1) if rest else inner
    return None


def _find_name(module: str, name: str, hops: int) -> Found | None:
    source = read_module(module)
    if source is None:
        return _submodule(module, name)
    for binding in source.bindings.get(name, ()):
        if found := _follow(source, binding, name, hops - 1):
            return found
    for star in source.stars:
        if name in public_names(star) and (found := _find(star, name, hops - 1)):
            return found
    for target in source.table_entry(name):
        if found := _find(target.module, target.name, hops - 1):
            return found
    return None if name in source.deleted else _submodule(module, name)


def _follow(source: ModuleSource, binding: Binding, name: str, hops: int) -> Found | None:
    match binding:
        case ImportedName(module, original):
            if (module, original) == (source.name, name):
                return _submodule(module, name)
            return _find(module, original, hops)
        case ImportedModule(module):
            return _whole(module)
        case ast.Name() | ast.Attribute():
            parts = dotted_parts(binding)
            return _find(source.name, ".".join(parts), hops) if parts != [name] else None
    return Found(source.name, binding)


def _submodule(module: str, name: str) -> Found | None:
    return _whole(f"{module}.{name}")


def _whole(module: str) -> Found | None:
    source = read_module(module)
    if source is not None:
        return Found(module, source.tree)
    return Found(module, ast.Module([], [])) if find_spec(module) is not None else None


def _public(module: str, visited: frozenset[str]) -> set[str]:
    source = read_module(module)
    if source is None or module in visited:
        return set()
    if source.exports is not None:
        return set(source.exports)
    names = {*source.bindings, *source.lazy_names()}
    for star in source.stars:
        names |= _public(star, visited | {module})
    return {name for name in names if not name.startswith("_")}


def dotted_parts(expression: ast.expr) -> list[str]:
    """Return ["a", "b"] for `a.b`, nothing for any other expression."""
    match expression:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=attr):
            parts = dotted_parts(value)
            return [*parts, attr] if parts else []
    return []


def _unsubscripted(expression: ast.expr) -> ast.expr:
    """Return `Base` for `Base[T]`."""
    return expression.value if isinstance(expression, ast.Subscript) else expression
