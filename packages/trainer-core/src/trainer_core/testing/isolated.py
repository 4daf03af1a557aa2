"""What happens in a fresh interpreter: listing plugins, importing a package, asking for help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["HEAVY", "HelpCall", "PackageImport", "call_help", "import_package", "list_plugins"]

HEAVY = ("jax", "matplotlib", "numpy", "pandas", "ray", "scipy", "tensorflow", "torch", "wandb")
"""Packages that the import of a plugin's root package must not bring with it."""

_LIST = """
import json, sys
from trainer_core.discovery.plugins import discover
rows = [[r.kind, r.key, r.dist, r.target] for r in discover().records()]
print(json.dumps({"rows": rows, "modules": sorted(sys.modules)}))
"""

_IMPORT = """
import importlib, json, sys, time
start = time.process_time()
importlib.import_module(sys.argv[1])
cpu_s = time.process_time() - start
print(json.dumps({"cpu_s": cpu_s, "modules": sorted(sys.modules)}))
"""


_HELP = """
import contextlib, importlib, io, json, sys
module, _, name = sys.argv[1].partition(":")
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        code = getattr(importlib.import_module(module), name)(["--help"])
    except SystemExit as ending:
        code = ending.code
if code:
    raise SystemExit(f"exit code {code}")
print(json.dumps({"text": out.getvalue(), "modules": sorted(sys.modules)}))
"""


class HelpCall(NamedTuple):
    """What `--help` of a command did.

    Attributes:
        text: What it printed.
        heavy: Heavy packages that it imported.
        error: The last line of what went wrong; empty if nothing did.
    """

    text: str
    heavy: tuple[str, ...]
    error: str = ""


class PackageImport(NamedTuple):
    """What importing one package took.

    Attributes:
        cpu_s: Processor time of the import, in seconds.
        heavy: Heavy packages that came with it.
        error: The last line of what went wrong; empty if nothing did.
    """

    cpu_s: float
    heavy: tuple[str, ...]
    error: str = ""


def list_plugins() -> tuple[list[list[str]], frozenset[str]]:
    """Return the declared components as (kind, key, dist, target), and what listing imported."""
    found = _run(_LIST, "", tuple(sys.path))
    return found["rows"], frozenset(found["modules"])


def import_package(name: str) -> PackageImport:
    """Import a package in a fresh interpreter."""
    found = _run(_IMPORT, name, tuple(sys.path))
    if "error" in found:
        return PackageImport(0.0, (), found["error"])
    return PackageImport(found["cpu_s"], tuple(sorted(set(HEAVY) & set(found["modules"]))))


def call_help(target: str) -> HelpCall:
    """Call a command's `module:function` with `--help` in a fresh interpreter."""
    found = _run(_HELP, target, tuple(sys.path))
    if "error" in found:
        return HelpCall("", (), found["error"])
    return HelpCall(found["text"], tuple(sorted(set(HEAVY) & set(found["modules"]))))


@lru_cache(maxsize=64)
def _run(code: str, argument: str, path: tuple[str, ...]) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", code, argument],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
