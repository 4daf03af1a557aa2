"""Every parameter that a resolved file has a place for, written there or left at its default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policy_constructor.config.scalars import format_scalar, format_text
from policy_constructor.discovery.registry import RegistryError
from policy_constructor.signatures.parameters import Parameter
from policy_constructor.signatures.signature import read_signature
from trainer_core import __version__
from trainer_core.discovery.names import POSITIONS
from trainer_core.experiment.check import SUPPLIED, WRAPPED
from trainer_core.experiment.schema import ComponentSection, ExperimentConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_constructor.config import Node, Path, ResolvedConfig
    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins

__all__ = ["Slot", "slots_of"]

_LISTS = frozenset({"callbacks", "loggers", "metrics"})
_ENGINE = f"trainer-core {__version__}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a value.

    Attributes:
        path: Its keys.
        parameter: What is accepted there, and the default.
        owner: Whose parameter it is: a full id (`loss.torch`), or a section of the file (`run`).
        wheel: The wheel that the owner comes from, with its version.
    """

    path: Path
    parameter: Parameter
    owner: str
    wheel: str

    @property
    def default(self) -> str:
        """The default as YAML, or as its source if it is no literal; empty if there is none."""
        parameter = self.parameter
        if parameter.required:
            return ""
        is_literal = parameter.default is not None or parameter.default_source in {"None", "null"}
        return _text(parameter.default) if is_literal else parameter.default_source

    @property
    def origin(self) -> str:
        """Where its default comes from: `default of loss.torch (trainer-core 0.1.0)`."""
        return f"default of {self.owner} ({self.wheel})"


def slots_of(resolved: ResolvedConfig, plugins: Plugins) -> dict[Path, Slot]:
    """Return the parameters of the file's sections and of all components in it, by path.

    Components that cannot be found or whose source cannot be read have none; their mistakes are
    reported by `trainer check`.
    """
    if not resolved.root.is_mapping:
        return {}
    slots = {slot.path: slot for slot in _of_sections(resolved)}
    for path, node in _specs(resolved.root, ()):
        slots |= {slot.path: slot for slot in _of_component(path, node, plugins)}
    return slots


def _of_sections(resolved: ResolvedConfig) -> Iterator[Slot]:
    """Yield the keys that the engine reads itself."""
    for name, info in ExperimentConfig.model_fields.items():
        if name != "models" and resolved.node(name) is not None:
            yield from _of_model(info.annotation, (name,), name)
    models = resolved.node("models")
    names = [key for key, _ in models.items()] if models is not None and models.is_mapping else []
    paths: list[Path] = [("models", name) for name in names]
    for path in [("model",), *paths]:
        node = resolved.node(*path)
        if node is not None and node.is_mapping:
            yield from _of_model(ComponentSection, path, ".".join(map(str, path)))


def _of_model(annotation: Any, path: Path, owner: str) -> Iterator[Slot]:
    for member in (annotation, *getattr(annotation, "__args__", ())):
        for name, info in getattr(member, "model_fields", {}).items():
            if name in {"component", "body"}:
                continue
            default = info.get_default(call_default_factory=True)
            parameter = Parameter(
                name,
                annotation=info.annotation,
                required=info.is_required(),
                default=None if info.is_required() else default,
                default_source="" if info.is_required() else _text(default),
                doc=info.description or "",
            )
            yield Slot((*path, name), parameter, owner, _ENGINE)


def _text(default: Any) -> str:
    """Return a default as YAML on one line."""
    if isinstance(default, str):
        return format_text(default)
    if isinstance(default, (list, tuple)):
        return f"[{', '.join(map(_text, default))}]"
    return str(default) if isinstance(default, (dict, set)) else format_scalar(default)


def _specs(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """Yield every mapping that names a component."""
    if node.is_mapping and "_type_" in node.value:
        yield path, node
    for key, child in node.items():
        yield from _specs(child, (*path, key))


def _kinds(path: Path) -> Sequence[str]:
    """Return the kinds that a position takes; none inside another component or a model."""
    if len(path) == 1 and path[0] not in _LISTS:
        return POSITIONS.get(str(path[0]), ())
    if len(path) == 2 and path[0] in _LISTS:
        return POSITIONS[str(path[0])]
    is_own = path[-1] in {"optimizer", "scheduler"} and path[0] in {"model", "models"}
    return POSITIONS[str(path[-1])] if is_own and len(path) == 2 + (path[0] == "models") else ()


def _of_component(path: Path, node: Node, plugins: Plugins) -> Iterator[Slot]:
    ref = _find(node.value["_type_"], _kinds(path), plugins)
    if ref is None:
        return
    yield from _of_ref(ref, path)
    kind, wrapped = WRAPPED.get(ref.full_id), node.value.get("type")
    inner = _find(wrapped, (kind,), plugins) if kind and wrapped is not None else None
    if inner is not None:
        yield from _of_ref(inner, (*path, "kwargs"))


def _of_ref(ref: ComponentRef, path: Path) -> Iterator[Slot]:
    signature = read_signature(ref.target)
    for name, parameter in signature.parameters.items() if signature is not None else ():
        if name not in SUPPLIED.get(ref.kind, ()):
            yield Slot((*path, name), parameter, ref.full_id, ref.wheel)


def _find(name: Node, kinds: Sequence[str], plugins: Plugins) -> ComponentRef | None:
    if not isinstance(name.value, str):
        return None
    try:
        return plugins.find(name.value, kinds)
    except RegistryError:
        return None
