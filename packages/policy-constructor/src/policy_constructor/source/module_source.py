"""One Python file as a table of what its top level binds, read without executing it."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

__all__ = ["ImportedModule", "ImportedName", "ModuleSource", "absolute_name", "read_file"]

_LARGEST_FILE_BYTES = 4 * 2**20


class ImportedName(NamedTuple):
    """`from module import name`; the module name is absolute."""

    module: str
    name: str


class ImportedModule(NamedTuple):
    """`import module as bound`, or the `a` that `import a.b` binds."""

    module: str


Binding: TypeAlias = ast.stmt | ast.expr | ImportedName | ImportedModule


class ModuleSource:
    """What the statements at the top level of a module bind.

    Branches of `if` and `try` are all read. Of several bindings of a name the likeliest comes
    first: a later statement before an earlier one, a body before its `else` or `except`.

    Attributes:
        name: Absolute name of the module.
        path: Its file.
        is_package: Whether relative imports start from the module itself.
        bindings: Bindings of each name, likeliest first.
        stars: Modules of `from module import *`, last one first.
        deleted: Names that a `del` statement removes.
        exports: `__all__`; None when there is none that can be read.
    """

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        self.name = name
        self.path = path
        self.tree = tree
        self.is_package = Path(path).stem == "__init__"
        self.bindings: dict[str, list[Binding]] = {}
        self.stars: list[str] = []
        self.deleted: set[str] = set()
        self.exports: list[str] | None = None
        self._read(tree.body)

    def table_entry(self, name: str) -> list[ImportedName]:
        """Return where a module-level `__getattr__` (PEP 562) takes a name from, as far as seen.

        Understood are imports inside `__getattr__` and dict literals `{name: module}`,
        `{name: "module:name"}`, `{name: (module, name)}` and `{module: [names]}`.
        """
        getattrs = [n for n in self.bindings.get("__getattr__", ()) if isinstance(n, ast.stmt)]
        if not getattrs:
            return []
        found: list[ImportedName] = []
        for node in ast.walk(getattrs[0]):
            if isinstance(node, ast.ImportFrom):
                module = absolute_name(node.module or "", node.level, self)
                found += [
                    ImportedName(module, alias.name)
                    for alias in node.names
                    if (alias.asname or alias.name) == name
                ]
        for key, value in self._lazy_items():
            found += self._lazy_targets(name, key, value)
        return found

    def lazy_names(self) -> list[str]:
        """Return the names that the tables of a module-level `__getattr__` offer."""
        if "__getattr__" not in self.bindings:
            return []
        names: list[str] = []
        for key, value in self._lazy_items():
            names += _strings(value) if isinstance(value, ast.List) else [key]
        return names

    def _lazy_items(self) -> list[tuple[str, ast.expr]]:
        tables = [b for found in self.bindings.values() for b in found if isinstance(b, ast.Dict)]
        return [
            (key.value, value)
            for table in tables
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]

    def _lazy_targets(self, name: str, key: str, value: ast.expr) -> list[ImportedName]:
        """Return the readings of one item of a table for a name."""
        texts = _strings(value)
        if isinstance(value, ast.List):
            return self._lazy_readings(key, name) if name in texts else []
        if key != name or not texts:
            return []
        module, colon, attr = texts[0].partition(":")
        if len(texts) > 1:
            attr = texts[1]
        readings = self._lazy_readings(module, attr or name)
        parent, _, last = module.rpartition(".")
        if not colon and len(texts) == 1 and last == name:
            readings.append(ImportedName(self._lazy_module(parent), last))
        return readings

    def _lazy_readings(self, module: str, name: str) -> list[ImportedName]:
        """Return a name in a module, which may also mean one of this package."""
        readings = [ImportedName(self._lazy_module(module), name)]
        if "." not in module:
            readings.append(ImportedName(f"{self.name}.{module}", name))
        return readings

    def _lazy_module(self, text: str) -> str:
        level = len(text) - len(text.lstrip("."))
        return absolute_name(text[level:], level, self)

    def _read(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            match statement:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._bind(statement.name, statement)
                case ast.Import():
                    self._read_import(statement)
                case ast.ImportFrom():
                    self._read_import_from(statement)
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    self._read_assignment(statement)
                case ast.Expr(value=ast.Call() as call):
                    self._read_extend(call)
                case ast.Delete():
                    self._read_deletion(statement)
                case _:
                    for block in _blocks(statement):
                        self._read(block)

    def _bind(self, name: str, binding: Binding) -> None:
        self.bindings.setdefault(name, []).insert(0, binding)
        self.deleted.discard(name)

    def _read_import(self, statement: ast.Import) -> None:
        for alias in statement.names:
            module = alias.name if alias.asname else alias.name.partition(".")[0]
            self._bind(alias.asname or module, ImportedModule(module))

    def _read_import_from(self, statement: ast.ImportFrom) -> None:
        module = absolute_name(statement.module or "", statement.level, self)
        for alias in statement.names:
            if alias.name == "*":
                self.stars.insert(0, module)
            else:
                self._bind(alias.asname or alias.name, ImportedName(module, alias.name))

    def _read_assignment(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if statement.value is None:
            return
        for target in targets:
            if isinstance(target, ast.Name) and target.id == "__all__":
                added = _strings(statement.value)
                keep = isinstance(statement, ast.AugAssign)
                self.exports = [*((self.exports or []) if keep else []), *added] or None
            elif isinstance(target, ast.Name) and not isinstance(statement, ast.AugAssign):
                self._bind(target.id, statement.value)

    def _read_deletion(self, statement: ast.Delete) -> None:
        names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        for name in names:
            self.bindings.pop(name, None)
        self.deleted.update(names)

    def _read_extend(self, call: ast.Call) -> None:
        """Read `__all__.extend([...])` and `__all__.append("x")`."""
        function = call.func
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id == "__all__"
            and call.args
        ):
            self.exports = [*(self.exports or []), *_strings(call.args[0])]


def read_file(name: str, path: str) -> ModuleSource | None:
    """Return the source of a module, or None for a file that cannot be read or parsed.

    The result is kept until the file changes.
    """
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return _read_version(name, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _read_version(name: str, path: str, _mtime_ns: int, size: int) -> ModuleSource | None:
    if size > _LARGEST_FILE_BYTES:
        return None
    try:
        return ModuleSource(name, path, ast.parse(Path(path).read_bytes()))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def absolute_name(module: str, level: int, source: ModuleSource) -> str:
    """Return the absolute name of `from {level dots}{module} import ...` in a module."""
    if not level:
        return module
    parts = source.name.split(".")
    keep = len(parts) - level + (1 if source.is_package else 0)
    return ".".join([*parts[: max(keep, 0)], *([module] if module else [])])


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the blocks of a compound statement, the likeliest last."""
    match statement:
        case ast.If():
            decided = _decide(statement.test)
            if decided is not None:
                return [statement.body if decided else statement.orelse]
            return [statement.orelse, statement.body]
        case ast.Try() | ast.TryStar():
            handlers = [handler.body for handler in statement.handlers]
            return [*handlers, statement.body, statement.orelse, statement.finalbody]
        case ast.With() | ast.AsyncWith():
            return [statement.body]
    return []


def _decide(test: ast.expr) -> bool | None:
    """Return the truth of a `sys.version_info` comparison; None for any other test."""
    match test:
        case ast.Compare(
            left=ast.Attribute(value=ast.Name(id="sys"), attr="version_info"),
            ops=[operator],
            comparators=[ast.Tuple(elts=elements)],
        ):
            wanted = tuple(e.value for e in elements if isinstance(e, ast.Constant))
            version = sys.version_info[: len(wanted)]
            if isinstance(operator, ast.GtE | ast.Gt):
                return version >= wanted
            if isinstance(operator, ast.Lt | ast.LtE):
                return version < wanted
    return None


def _strings(node: ast.expr) -> list[str]:
    """Return the string constants of a literal, of sums and unpackings of literals."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [text for element in elements for text in _strings(element)]
        case ast.BinOp(left=left, right=right):
            return _strings(left) + _strings(right)
        case ast.Starred(value=value):
            return _strings(value)
    return []
