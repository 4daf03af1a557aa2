"""Does a class have the methods of a Protocol, with signatures its caller can use?"""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["protocol_mismatch"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def protocol_mismatch(target: Any, protocol: type[Any]) -> str | None:
    """Return what a class lacks to be a Protocol, in one sentence; None if it lacks nothing.

    Each method of the Protocol must exist, take as many positional arguments, know the names of the
    keyword-only ones, take `**kwargs` where the Protocol does, and need nothing besides. Attributes
    are not looked for, as `__init__` may set them; functions that return an object are not checked.
    """
    if not isinstance(target, type):
        return None if callable(target) else f"{target!r} is no class and cannot be called"
    for name, wanted in _methods(protocol).items():
        method = getattr(target, name, None)
        where = f"{target.__name__}.{name}"
        if not callable(method):
            return f"{target.__name__} has no method {_call_text(name, wanted)!r}"
        reason = _signature_mismatch(target, name, method, wanted)
        if reason is not None:
            return f"{where} {reason} (protocol {protocol.__name__})"
    return None


def _methods(protocol: type[Any]) -> dict[str, inspect.Signature]:
    """Return the public methods of a Protocol and of those it extends, without `self`."""
    methods: dict[str, inspect.Signature] = {}
    for owner in reversed(protocol.__mro__):
        if not getattr(owner, "_is_protocol", False) or owner.__module__ == "typing":
            continue
        for name, value in vars(owner).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                methods[name] = _without_first(inspect.signature(value))
    return methods


def _signature_mismatch(
    target: type[Any], name: str, method: Any, wanted: inspect.Signature
) -> str | None:
    try:
        found = inspect.signature(method)
    except (TypeError, ValueError):  # written in C without a signature
        return None
    if inspect.isfunction(inspect.getattr_static(target, name)):
        found = _without_first(found)
    return (
        _positional_mismatch(found, wanted)
        or _keyword_mismatch(found, wanted)
        or _extra_requirement(found, wanted)
    )


def _positional_mismatch(found: inspect.Signature, wanted: inspect.Signature) -> str | None:
    needed = [p for p in wanted.parameters.values() if p.kind in _POSITIONAL]
    taken = [p for p in found.parameters.values() if p.kind in _POSITIONAL]
    if len(taken) >= len(needed) or _has(found, inspect.Parameter.VAR_POSITIONAL):
        return None
    names = ", ".join(p.name for p in needed)
    return f"takes {len(taken)} positional arguments, but is called with {len(needed)}: {names}"


def _keyword_mismatch(found: inspect.Signature, wanted: inspect.Signature) -> str | None:
    if _has(found, inspect.Parameter.VAR_KEYWORD):
        return None
    by_name = {
        p.name
        for p in found.parameters.values()
        if p.kind in {p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD}
    }
    for parameter in wanted.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in by_name:
            return f"does not accept {parameter.name!r}"
        if parameter.kind is parameter.VAR_KEYWORD:
            return f"does not accept '**{parameter.name}'"
    return None


def _extra_requirement(found: inspect.Signature, wanted: inspect.Signature) -> str | None:
    positional = sum(p.kind in _POSITIONAL for p in wanted.parameters.values())
    index = 0
    for parameter in found.parameters.values():
        is_positional = parameter.kind in _POSITIONAL
        index += is_positional
        given = (is_positional and index <= positional) or parameter.name in wanted.parameters
        is_variadic = parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        if not given and not is_variadic and parameter.default is parameter.empty:
            return f"needs {parameter.name!r}, which nobody passes"
    return None


def _without_first(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature without `self`; `*args` takes it as well."""
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind in _POSITIONAL:
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _has(signature: inspect.Signature, kind: Any) -> bool:
    return any(p.kind is kind for p in signature.parameters.values())


def _call_text(name: str, signature: inspect.Signature) -> str:
    """Return `name(a, *, b, **kwargs)`, without annotations and defaults."""
    bare = [
        p.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for p in signature.parameters.values()
    ]
    plain = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    return f"{name}{plain}"
