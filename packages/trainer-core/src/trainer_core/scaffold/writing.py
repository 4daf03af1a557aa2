"""A name and a kind -> the files of a package that can be installed and tested as it is."""

from __future__ import annotations

import keyword
import re
from importlib.machinery import BuiltinImporter, PathFinder
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import trainer_core
from policy_constructor.discovery.metadata import normalize_name
from trainer_core.discovery.names import OWN_COMMANDS, OWN_DISTS
from trainer_core.errors import UserError
from trainer_core.scaffold.kinds import KINDS, group_of
from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from trainer_core.discovery.plugins import Plugins

__all__ = ["api_range", "default_key", "write_package"]

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FUNCTIONS, _TARGETS = ("op", "init"), {"hook": "plugin", "command": "main"}
_TEMPLATE_OF = {"init": "initializer.py"}  # init.py is the package's own
_KEY = re.compile(r"[a-z_][a-z0-9_]*")


def write_package(
    name: str, kind: str, key: str, parent: Path, installed: Plugins
) -> tuple[Path, list[Path]]:
    """Write the package of a new plugin.

    Args:
        name: Its distribution, such as `acme-huber`; also the name of its folder.
        kind: Kind of its component, one of `kinds.KINDS`.
        key: Name of its component.
        parent: Where the folder goes.
        installed: What is installed; the key must be free there.

    Returns:
        The folder, and the files in it.

    Raises:
        UserError: The name or the key cannot be used, or the folder is not empty.
        StorageError: The folder cannot be written.
    """
    dist = normalize_name(name)
    _require_names(name, dist, kind, key, installed)
    folder = parent / dist
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already and not empty; choose another name or folder"
        raise UserError(msg)
    words = _words(dist, kind, key)
    files = []
    for target, template in _plan(words).items():
        path = folder / target
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_fill(template, words), encoding="utf-8")
        files.append(path)
    return folder, files


def default_key(name: str) -> str:
    """Return the key for a distribution: what follows the first hyphen, `huber` of `acme-huber`."""
    dist = normalize_name(name)
    return (dist.partition("-")[2] or dist).replace("-", "_")


def api_range(version: str) -> str:
    """Return the range of versions that share this one's contract: `>=0.1,<0.2` or `>=1.4,<2`."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def _require_names(name: str, dist: str, kind: str, key: str, installed: Plugins) -> None:
    package = dist.replace("-", "_")
    if not _NAME.fullmatch(dist) or keyword.iskeyword(package):
        msg = f"{name!r} cannot be the name of a package; take one such as 'acme-huber'"
        raise UserError(msg)
    if dist in OWN_DISTS:
        msg = f"{dist!r} is the name of a wheel of ours; choose another"
        raise UserError(msg)
    found = PathFinder.find_spec(package) or BuiltinImporter.find_spec(package)
    if found is not None and found.origin and dist not in {r.dist for r in installed.records()}:
        msg = (
            f"there is a module {package!r} already, which this one would hide; choose another name"
        )
        raise UserError(msg)
    if kind == "command" and key in OWN_COMMANDS:
        msg = f"'trainer {key}' is a command of trainer-core; choose another with --key"
        raise UserError(msg)
    if not _KEY.fullmatch(key) or keyword.iskeyword(key):
        msg = f"{key!r} cannot be a key; take lower-case letters, digits and '_': --key huber"
        raise UserError(msg)
    taken = [r for r in installed.records() if (r.kind, r.key) == (kind, key) and r.dist != dist]
    if taken:
        wheel = f"{taken[0].dist} {taken[0].version}"
        msg = f"{kind} {key!r} is already provided by {wheel}; choose another with --key"
        raise UserError(msg)


def _words(dist: str, kind: str, key: str) -> dict[str, str]:
    found = KINDS[kind]
    class_name = "".join(part.capitalize() for part in key.split("_")) or "Component"
    return {
        "dist": dist,
        "package": dist.replace("-", "_"),
        "kind": kind,
        "key": key,
        "class_name": class_name,
        "target": _TARGETS.get(kind, key if kind in _FUNCTIONS else class_name),
        "module": found.module,
        "group": group_of(kind),
        "values": found.values,
        "range": api_range(trainer_core.__version__),
        "usage": Template(found.usage).substitute(name=key),
    }


def _plan(words: dict[str, str]) -> dict[str, str]:
    """Return the template of each file."""
    package = f"src/{words['package']}"
    test = "test_op.py" if words["kind"] == "op" else "test_component.py"
    return {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": "init.py",
        f"{package}/conformance.yaml": "conformance.yaml",
        f"{package}/py.typed": "py.typed",
        f"{package}/{words['module']}.py": _TEMPLATE_OF.get(words["kind"], f"{words['kind']}.py"),
        f"tests/test_{words['key']}.py": test,
    }


def _fill(template: str, words: dict[str, str]) -> str:
    text = (_TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(words)
