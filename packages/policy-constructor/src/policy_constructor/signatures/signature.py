"""What a component accepts, read from source: nothing of the component is imported."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.signatures.arguments import check_arguments
from policy_constructor.signatures.constructors import class_signature, function_signature
from policy_constructor.signatures.parameters import Parameter, Signature
from policy_constructor.signatures.params_model import stated_signature
from policy_constructor.source.static import find_attribute, locate

if TYPE_CHECKING:
    from policy_constructor.discovery.component import ComponentRef

__all__ = ["Parameter", "Signature", "check_arguments", "read_signature"]


def read_signature(target: ComponentRef | str) -> Signature | None:
    """Return what a component accepts; None where its source cannot tell.

    A class that names a Pydantic model as `Params` states its parameters there: as the string
    `"module:Model"`, whose module is imported and must import nothing heavy, or as a class, which
    is read from source. For all others the constructor counts.

    Args:
        target: `module:attribute`, or a reference.
    """
    text = target if isinstance(target, str) else target.target
    module, _, attr = text.partition(":")
    path = locate(module)
    if path is None or not attr:
        return None
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError:
        return None
    return _read(module, attr, path, changed)


@lru_cache(maxsize=512)
def _read(module: str, attr: str, _path: str, _mtime_ns: int) -> Signature | None:
    found = find_attribute(module, attr)
    if found is None:
        return None
    if isinstance(found.node, ast.ClassDef):
        return stated_signature(found) or class_signature(found)
    return function_signature(found)
