"""A component's spec, or a callable -> the object, with its arguments checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.registry import RegistryError
from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import nearest
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from policy_constructor.config import Key, ResolvedConfig
    from trainer_core.discovery.plugins import Plugins

__all__ = ["call_checked", "instantiate", "load_component", "placed"]


def instantiate(
    spec: Mapping[str, Any] | Callable[..., Any],
    plugins: Plugins,
    *,
    kind: str | Sequence[str] | None = None,
    **supplied: Any,
) -> Any:
    """Build a component from its spec, nested specs first; or call a callable.

    Args:
        spec: `{"_type_": "loss.torch", **parameters}`, also with `_args_` and `_kwargs_`; or
            something to call with what is supplied.
        plugins: Where components are found.
        kind: Kinds that a bare name may be of (`loss`, or several).
        **supplied: Arguments that the framework gives; a spec may not set them.

    Raises:
        ConfigError: The component is unknown or cannot be loaded, an argument does not fit its
            signature, or it refuses a value.
    """
    if not isinstance(spec, Mapping):
        given: object = spec
        if not callable(given):
            message = f"a component is a mapping with '_type_' or something to call, not {spec!r}"
            raise ConfigError(Problem(message, code="wrong-type"))
        return call_checked(spec, getattr(spec, "__name__", repr(spec)), **supplied)
    name = spec.get("_type_")
    if not isinstance(name, str):
        keys = ", ".join(map(str, spec)) or "nothing"
        raise ConfigError(Problem(f"a component needs '_type_'; found {keys}", code="missing-key"))
    target = load_component(name, plugins, kind=kind)
    positional, arguments = _arguments(spec, name)
    taken = [key for key in arguments if key in supplied]
    if taken:
        message = f"{name} gets {taken[0]!r} from the engine; remove the key"
        raise ConfigError(Problem(message, path=taken[0], code="supplied-key"))
    positional = [_build_nested(value, plugins) for value in positional]
    kinds: Mapping[str, str] = getattr(target, "nested_kinds", {})
    named = {key: _build_nested(value, plugins, kinds.get(key)) for key, value in arguments.items()}
    return call_checked(target, name, *positional, **{**named, **supplied})


def load_component(name: str, plugins: Plugins, *, kind: str | Sequence[str] | None = None) -> Any:
    """Return the object that a component's name means: a class, usually.

    Raises:
        ConfigError: Nothing usable has the name.
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind or ())
    for wanted in kinds:
        if wanted not in plugins.registries:
            near = nearest(wanted, plugins.registries)
            message = f"there is no kind of component {wanted!r}"
            raise ConfigError(Problem(message, code="wrong-kind", suggestions=near))
    try:
        return plugins.load(plugins.find(name, kinds))
    except RegistryError as exc:
        problem = Problem(exc.message, code="component", suggestions=exc.suggestions)
        raise ConfigError(problem) from exc


def call_checked(target: Callable[..., Any], owner: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call something with arguments that are checked against its signature first.

    Args:
        target: A class or function.
        owner: What messages call it.
        *args: Positional arguments.
        **kwargs: Named arguments.

    Raises:
        ConfigError: An argument is unknown or missing, or the callee refuses a value.
    """
    try:
        signature = inspect.signature(target)
    except ValueError:  # written in C without a signature: the call itself checks
        signature = None
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise ConfigError(_misfit(signature, owner, args, kwargs, exc)) from exc
    try:
        return target(*args, **kwargs)
    except ConfigError:
        raise
    except (TypeError, ValueError) as exc:  # a value that the component itself refuses
        raise ConfigError(Problem(f"{owner}: {exc}", code="refused-value")) from exc


@contextmanager
def placed(resolved: ResolvedConfig, *section: Key) -> Iterator[None]:
    """Give the problems of a component that is being built their place in the file.

    What is wrong without a place of its own gets a note that tells the section's.

    Args:
        resolved: The resolved file.
        *section: Where the component's spec is.
    """
    try:
        yield
    except UserError as exc:
        place = resolved.problem(section, "")
        if place.location is not None and not getattr(exc, "__notes__", ()):
            exc.add_note(f"{place.path} at {place.location}")
        raise
    except ConfigError as exc:
        found = []
        for problem in exc.problems:
            if problem.location is not None:
                found.append(problem)
                continue
            own = tuple(problem.path.split(".")) if problem.path else ()
            path = own if own[:1] == section[:1] else (*section, *own)
            node = resolved.node(*path)
            place = resolved.problem(path if node is not None else section, problem.message)
            found.append(replace(problem, path=place.path, location=place.location))
        raise ConfigError(found) from exc


_SPEC_KEYS = frozenset({"_type_", "_args_", "_kwargs_"})


def _arguments(spec: Mapping[str, Any], name: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a spec.

    Raises:
        ConfigError: `_args_` is no list, `_kwargs_` no mapping, a name no text, or given twice.
    """
    positional, extra = spec.get("_args_") or (), spec.get("_kwargs_") or {}
    if isinstance(positional, str) or not isinstance(positional, Sequence):
        message = f"'_args_' of {name} must be a list of values"
        raise ConfigError(Problem(message, path="_args_", code="wrong-type"))
    if not isinstance(extra, Mapping):
        message = f"'_kwargs_' of {name} must be a mapping of parameters"
        raise ConfigError(Problem(message, path="_kwargs_", code="wrong-type"))
    named = {key: value for key, value in spec.items() if key not in _SPEC_KEYS}
    for key in (*named, *extra):
        if not isinstance(key, str):
            message = f"the names of parameters are text; {name} was given {key!r}"
            raise ConfigError(Problem(message, code="wrong-type"))
    twice = [key for key in extra if key in named]
    if twice:
        message = f"{name} is given {twice[0]!r} twice, once in '_kwargs_'"
        raise ConfigError(Problem(message, path=twice[0], code="duplicate-key"))
    return list(positional), {**named, **extra}


def _build_nested(value: Any, plugins: Plugins, kind: str | None = None) -> Any:
    if isinstance(value, Mapping):
        if "_type_" in value:
            return instantiate(value, plugins, kind=kind)
        return {key: _build_nested(child, plugins, kind) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_build_nested(child, plugins, kind) for child in value]
    return value


def _misfit(
    signature: inspect.Signature,
    owner: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    exc: TypeError,
) -> Problem:
    parameters = signature.parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in kwargs if key not in parameters]
    if unknown and not open_ended:
        return Problem(
            f"{owner} has no parameter {unknown[0]!r}",
            path=unknown[0],
            code="unknown-key",
            suggestions=nearest(unknown[0], parameters),
        )
    missing = [
        name
        for name, parameter in list(parameters.items())[len(args) :]
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        and name not in kwargs
    ]
    if missing:
        return Problem(f"{owner} needs {missing[0]!r}", code="missing-key")
    return Problem(f"{owner}: {exc}", code="arguments")
