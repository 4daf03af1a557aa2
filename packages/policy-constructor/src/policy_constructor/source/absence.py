"""Why a component cannot be imported, as far as source tells it for certain."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.source.module_source import absolute_name
from policy_constructor.source.static import find_spec, locate, public_names, read_module
from policy_constructor.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from policy_constructor.source.module_source import ModuleSource

__all__ = ["why_unusable"]

_UNREAD = frozenset({"torch"})  # long files, which a family's members are looked up in anyway
_DYNAMIC_NAMES = frozenset({"__getattr__", "eval", "exec", "globals", "locals", "setattr", "vars"})
_DYNAMIC_WORDS = ("__path__", "meta_path", "path_hooks", "sys.modules", "sys.path")
_LARGEST_PACKAGE_FILE = 64 * 2**10
_MOST_HOPS = 8


def why_unusable(module: str, attr: str) -> str:
    """Return why importing `module:attr` must fail; empty where it need not.

    Found are a module that does not exist, a syntax error in it or in a package that holds it, an
    import at its top level of what does not exist, and an attribute that nothing binds. Modules
    that change what can be imported, or bind names in ways that source does not show, are trusted.
    Nothing is imported.

    Args:
        module: Dotted name of a module.
        attr: Dotted name in it; only its first part is looked for.
    """
    if module in sys.modules or module.partition(".")[0] in _UNREAD:
        return ""
    return _module_fault(module) or _name_fault(module, attr.partition(".")[0], _MOST_HOPS)


def _module_fault(module: str) -> str:
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        if fault := _missing(name) or _syntax_fault(name, is_wanted=name == module):
            return fault
    source = _read(module)
    return _import_fault(source) if source is not None else ""


def _missing(module: str) -> str:
    """Return that a module does not exist; empty if it does, or may."""
    if module in sys.modules or find_spec(module) is not None:
        return ""
    parent = module.rpartition(".")[0]
    if parent and not _is_plain(parent):
        return ""
    return f"there is no module {module!r}"


def _is_plain(package: str) -> bool:
    """Whether a package's own file leaves the search for its modules as it is."""
    source = _read(package)
    if source is None:
        return locate(package) is None and _is_folder(package)
    return not any(word in ast.unparse(source.tree) for word in _DYNAMIC_WORDS)


def _is_folder(package: str) -> bool:
    return getattr(find_spec(package), "origin", "") is None


def _syntax_fault(module: str, *, is_wanted: bool) -> str:
    path = locate(module)
    if path is None or module in sys.modules or not path.endswith(".py"):
        return ""
    try:
        if not is_wanted and Path(path).stat().st_size > _LARGEST_PACKAGE_FILE:
            return ""
        if _read(module) is None:
            ast.parse(Path(path).read_bytes())
    except SyntaxError as error:
        return f"{path}:{error.lineno or 1} has a syntax error: {error.msg}"
    except ValueError as error:
        return f"{path} is no Python source: {error}"
    except (OSError, RecursionError, MemoryError):
        return ""
    return ""


def _import_fault(source: ModuleSource) -> str:
    """Return which import at the top level of a module must fail: of itself, not in an `if`."""
    imports = [s for s in source.tree.body if isinstance(s, ast.Import | ast.ImportFrom)]
    names = dict.fromkeys(name for statement in imports for name in _modules_of(statement, source))
    missing = next((fault for name in names if (fault := _missing(name))), "")
    if not missing or any(word in ast.unparse(source.tree) for word in _DYNAMIC_WORDS):
        return ""
    return f"{source.name} cannot be imported: {missing}"


def _modules_of(statement: ast.Import | ast.ImportFrom, source: ModuleSource) -> list[str]:
    """Return what an import needs: whole names in the module's own package, else packages."""
    if isinstance(statement, ast.Import):
        wanted = [alias.name for alias in statement.names]
    else:
        wanted = [absolute_name(statement.module or "", statement.level, source)]
    own = source.name.partition(".")[0]
    firsts = [(name, name.partition(".")[0]) for name in wanted if name]
    return [name if first == own else first for name, first in firsts]


def _name_fault(module: str, name: str, hops: int) -> str:
    """Return that nothing in a module binds a name; empty if something does, or may."""
    source = _read(module)
    if source is None or not name or hops == 0:
        return ""
    origin = _only_import(source, name)
    if origin is not None:
        place = absolute_name(origin.module or "", origin.level, source)
        original = next(a.name for a in origin.names if name in {a.asname, a.name})
        if place == module or place.partition(".")[0] in _UNREAD:
            return ""
        return _module_fault(place) or _name_fault(place, original, hops - 1)
    if _may_bind(source, name, frozenset()):
        return ""
    near = nearest(name, public_names(module), 1)
    return f"there is no {name!r} in {module}{did_you_mean(near)}"


def _only_import(source: ModuleSource, name: str) -> ast.ImportFrom | None:
    """Return the import that alone binds a name, if it is one at the top level."""
    if len(source.bindings.get(name, ())) != 1:
        return None
    for statement in source.tree.body:
        if isinstance(statement, ast.ImportFrom):
            bound = {alias.asname or alias.name for alias in statement.names}
            if name in bound:
                return statement
    return None


def _may_bind(source: ModuleSource, name: str, seen: frozenset[str]) -> bool:
    """Whether some statement of a module binds a name, or could in a way that is not seen."""
    if source.name in seen or find_spec(f"{source.name}.{name}") is not None:
        return True
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=found) if found == name or found in _DYNAMIC_NAMES:
                return True
            case (
                ast.FunctionDef(name=found)
                | ast.ClassDef(name=found)
                | ast.AsyncFunctionDef(name=found)
            ) if found in {name, "__getattr__"}:
                return True
            case ast.Attribute(attr="modules" | "__dict__" | "_convert" | "_convert_"):
                return True
            case ast.alias(name=original, asname=bound):
                if name == (bound or original.partition(".")[0]):
                    return True
    return any(_star_may_bind(star, name, seen | {source.name}) for star in source.stars)


def _star_may_bind(module: str, name: str, seen: frozenset[str]) -> bool:
    source = _read(module)
    return source is None or _may_bind(source, name, seen)


def _read(module: str) -> ModuleSource | None:
    """Return the source of a module; a stub beside a compiled one does not tell all it holds."""
    source = read_module(module)
    return None if source is None or source.path.endswith(".pyi") else source
