"""Rules that hold for the whole repository."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path for path in ROOT.glob("packages/*/src/*") if path.is_dir())
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
TORCH_FREE = (
    "policy_constructor",
    "policy_constructor.config",
    "policy_constructor.graph.compiler",
    "policy_constructor.discovery.registry",
    "policy_constructor.signatures.signature",
    "trainer_core",
    "trainer_core.api",
    "trainer_core.cli",
    "trainer_core.experiment.loading",
    "trainer_core.discovery.plugins",
    "trainer_core.run",
    "trainer_core.testing",
    "trainer_core.testing.pytest_plugin",
    "trainer_ddp",
    "trainer_ray",
    "experiments_il",
)
HEAVY = ("torch", "numpy", "scipy", "pyarrow", "rich", "ray", "wandb", "matplotlib", "metaworld")
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "marshal", "shelve"}


@pytest.mark.parametrize("module", TORCH_FREE)
def test_import_stays_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_source_never_evaluates_or_unpickles(path: Path) -> None:
    found = [
        f"{path.name}:{getattr(node, 'lineno', 0)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if _is_forbidden(node)
    ]
    assert found == []


def _is_forbidden(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in FORBIDDEN_CALLS
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in FORBIDDEN_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in FORBIDDEN_MODULES
    return isinstance(node, ast.keyword) and node.arg == "weights_only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_source_file_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("package", [p.name for p in PACKAGES])
def test_public_names_exist_once(package: str) -> None:
    root = importlib.import_module(package)
    names = [m.name for m in pkgutil.walk_packages(root.__path__, f"{package}.")]
    for name in [package, *names]:
        module = importlib.import_module(name)
        public = list(getattr(module, "__all__", []))
        assert len(public) == len(set(public)), name
        assert all(hasattr(module, item) for item in public), name
