"""A resolved file against the schema: every finding becomes a located problem."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from policy_constructor.config.includes import means_defaults
from policy_constructor.config.node import free_names, to_plain
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import POSITIONS
from trainer_core.experiment.homes import find_homes
from trainer_core.experiment.schema import COMPONENT_BODIES, ComponentSection, ExperimentConfig
from trainer_core.experiment.wording import near_choices, wrong_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from pydantic_core import ErrorDetails

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Key, Node, Path
    from policy_constructor.errors import Problem

__all__ = ["check_removed_keys", "validate"]

_NAME = re.compile(r"[\w./:-]+")
_PLUGIN_SWITCH = "PYDANTIC_DISABLE_PLUGINS"
_PLUGIN_LOADER = "pydantic.plugin._loader"
LANGUAGE_KEYS = ("defaults", "templates", "model")
_REPLACEMENT = (
    "components come from the entry points of installed wheels, a file imports none: "
    "'trainer plugins list' shows what is installed"
)


def check_removed_keys(resolved: ResolvedConfig) -> dict[str, Problem]:
    """Refuse lists of modules to import, as older files have them, and say what replaced them."""
    problems = {}
    for key in ("imports", "plugins"):
        node = resolved.node(key)
        if node is not None and not node.poisoned and (key == "imports" or node.is_list):
            problems[key] = resolved.problem(
                (key,),
                f"'{key}' cannot list modules to import",
                on="key",
                code="removed-key",
                notes=(_REPLACEMENT,),
            )
    return problems


def validate(
    resolved: ResolvedConfig,
    full_ids: Mapping[Path, str],
    *,
    leave_out: Collection[str] = (),
    respelt: AbstractSet[Path] = frozenset(),
) -> tuple[ExperimentConfig | None, list[Problem]]:
    """Return the validated experiment, or None, and the problems of its engine keys.

    Args:
        resolved: The resolved file.
        full_ids: The full id of each component by the path of its mapping.
        leave_out: Top-level keys that were refused already.
        respelt: Keys that are missing because they are misspelt, which was reported.
    """
    document = _document(resolved.root, full_ids)
    for key in leave_out:
        del document[key]
    problems = _model_problems(resolved)
    try:
        text = json.dumps(document)
        with _without_pydantic_plugins():
            return ExperimentConfig.model_validate_json(text, strict=True), problems
    except ValidationError as error:
        return None, problems + _problems(resolved, error, respelt)


@contextmanager
def _without_pydantic_plugins() -> Iterator[None]:
    """Keep Pydantic from searching all installed wheels for plugins of its own, and importing them.

    It does so when the first model is used; a check imports nothing of strangers. The module that
    would search is not imported either: `importlib.metadata` and `email` come with it, for nothing.
    """
    before = os.environ.get(_PLUGIN_SWITCH)
    os.environ[_PLUGIN_SWITCH] = "__all__"
    empty = ModuleType(_PLUGIN_LOADER)
    vars(empty)["get_plugins"] = tuple
    stands_in = sys.modules.setdefault(_PLUGIN_LOADER, empty) is empty
    try:
        yield
    finally:
        if stands_in:
            del sys.modules[_PLUGIN_LOADER]
        if before is None:
            del os.environ[_PLUGIN_SWITCH]
        else:
            os.environ[_PLUGIN_SWITCH] = before


def _document(root: Node, full_ids: Mapping[Path, str]) -> dict[str, Any]:
    """Return the plain data with full ids, and a single `model` as an entry of `models`."""
    document: dict[str, Any] = to_plain(root)
    for path, full_id in full_ids.items():
        target: Any = document
        for key in path:
            target = target[key]
        target["_type_"] = full_id
    if "model" in document:
        document["models"] = {"model": document.pop("model")}
    return document


def _model_problems(resolved: ResolvedConfig) -> list[Problem]:
    model, models = resolved.node("model"), resolved.node("models")
    if model is not None and models is not None:
        message = "'model' and 'models' exclude each other"
        return [resolved.problem(("models",), message, on="key", code="conflicting-keys")]
    if model is not None:
        return _body_problems(resolved, ("model",), model)
    problems = []
    for name, node in models.items() if models is not None and models.is_mapping else ():
        problems += _body_problems(resolved, ("models", name), node)
    if models is not None and models.is_mapping and not models.value:
        problems.append(
            resolved.problem(("models",), "a run needs at least one model", code="missing-key")
        )
    return problems


def _body_problems(resolved: ResolvedConfig, path: Path, node: Node) -> list[Problem]:
    """Check that a component says in exactly one way what it is, and has no other keys."""
    if node.poisoned or not node.is_mapping:
        return []
    keys = set(node.value)
    bodies = [name for name in COMPONENT_BODIES if name in keys]
    wanted = "one of 'config', 'sequential', 'graph', '_type_'"
    if len(bodies) > 1:
        message = f"{_listed(bodies)} exclude each other"
        return [resolved.problem(path, message, code="conflicting-keys", expected=wanted)]
    unknown = keys - set(bodies) - ComponentSection.ENGINE_KEYS if bodies != ["_type_"] else set()
    problems = []
    explained = False
    for key in sorted(unknown):
        near = nearest(key, [*COMPONENT_BODIES, *ComponentSection.ENGINE_KEYS])
        explained = explained or (bool(near) and near[0] in COMPONENT_BODIES)
        problems.append(_unknown_key(resolved, (*path, key), near))
    if not bodies and not explained:
        message = f"{'.'.join(map(str, path))} does not say what it is"
        problems.append(resolved.problem(path, message, code="missing-key", expected=wanted))
    return problems


def _problems(
    resolved: ResolvedConfig, error: ValidationError, respelt: AbstractSet[Path]
) -> list[Problem]:
    """Turn Pydantic's errors into problems: one for each place, none below a poisoned value."""
    by_place: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path = _place(resolved.root, details)
        if not _is_poisoned(resolved.root, path):
            by_place.setdefault(path, []).append(details)
    missing = {p for p, found in by_place.items() if found[0]["type"] == "missing"}
    problems, explained = [], set(respelt)
    for path, found in by_place.items():
        if found[0]["type"] == "extra_forbidden":
            near = _near_keys(resolved, path)
            explained |= {(*path[:-1], name) for name in near[:1]}
            explained |= {("models",)} if near[:1] == ("model",) else set()
            problems.append(_unknown_key(resolved, path, near))
        elif path not in missing:
            problems.append(
                resolved.problem(
                    path,
                    wrong_value(found),
                    code="wrong-type",
                    expected=_as_mapping(path, found[0]["input"]),
                    suggestions=near_choices(found),
                )
            )
    left = [path for path in by_place if path in missing and path not in explained]
    return problems + [_missing_key(resolved, path) for path in left]


def _as_mapping(path: Path, value: Any) -> str:
    """Return how to write the name of a component, or of a model file, that stands alone."""
    section = str(path[0]) if path else ""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return ""
    if path == ("model",) or (section == "models" and len(path) == 2):
        return f"{{config: {value}}}" if value.endswith((".yaml", ".yml")) else ""
    if section not in POSITIONS:
        return ""
    if section in {"callbacks", "loggers", "metrics"}:
        return f"{'' if len(path) > 1 else '- '}{{_type_: {value}}}" if len(path) < 3 else ""
    return f"{{_type_: {value}, ...}}" if len(path) == 1 else ""


def _place(root: Node, details: ErrorDetails) -> Path:
    """Return the path in the file that the location of a Pydantic error means.

    Labels of union branches are neither keys nor indices and are left out; the last part of a
    missing key is kept.
    """
    loc: Sequence[Key] = details["loc"]
    if loc[:2] == ("models", "model") and root.child("models") is None:
        loc = ("model", *loc[2:])
    path: list[Key] = []
    for position, part in enumerate(loc):
        here = root.child(*path, part)
        parent = root.child(*path)
        is_missing = details["type"] == "missing" and position == len(loc) - 1
        if here is not None or (is_missing and parent is not None and parent.is_mapping):
            path.append(part)
    return tuple(path)


def _is_poisoned(root: Node, path: Path) -> bool:
    nodes = (root.child(*path[:length]) for length in range(len(path) + 1))
    return any(node is not None and node.poisoned for node in nodes)


def _unknown_key(resolved: ResolvedConfig, path: Path, near: tuple[str, ...]) -> Problem:
    first, dot, rest = str(path[-1]).partition(".")
    if dot and rest and first in _fields(path[:-1]):
        return resolved.problem(
            path,
            f"unknown key {path[-1]!r}",
            on="key",
            code="unknown-key",
            expected=f"{first}: {{{rest}: ...}}; only the command line takes keys with dots",
        )
    near = near or find_homes(resolved.root, path)
    known = "" if near else ", ".join(_fields(path[:-1]))
    value = resolved.node(*path)
    is_file = value is not None and isinstance(value.value, str) and near == ("defaults",)
    return resolved.problem(
        path,
        f"unknown key {path[-1]!r}",
        on="key",
        code="unknown-key",
        expected=f"defaults: [{value.value}]" if value and is_file else known and f"one of {known}",
        suggestions=near,
    )


def _missing_key(resolved: ResolvedConfig, path: Path) -> Problem:
    owner, key = ".".join(map(str, path[:-1])) or "the file", path[-1]
    if path == ("models",):
        key = "model"
    field = _fields(path[:-1]).get(str(path[-1]))
    meaning = field.description if field is not None else ""
    return resolved.problem(
        path[:-1],
        f"{owner} needs {key!r}",
        code="missing-key",
        notes=(f"{key}: {meaning}",) if meaning else (),
    )


def _near_keys(resolved: ResolvedConfig, path: Path) -> tuple[str, ...]:
    if len(path) == 1 and means_defaults(str(path[-1])):
        return ("defaults",)
    names = [*_fields(path[:-1]), *(LANGUAGE_KEYS if len(path) == 1 else ())]
    return nearest(str(path[-1]), free_names(resolved.node(*path[:-1]), str(path[-1]), names))


def _fields(section: Path) -> dict[str, Any]:
    """Return the schema's fields at a section."""
    if not section:
        return dict(ExperimentConfig.model_fields)
    field = ExperimentConfig.model_fields.get(str(section[0]))
    model = field.annotation if field is not None and len(section) == 1 else None
    return dict(getattr(model, "model_fields", {}))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:-1]) + f" and '{names[-1]}'"
