"""Names of components in old files -> names of installed components, and their parameters."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from policy_constructor.discovery.registry import RegistryError
from policy_constructor.signatures.signature import read_signature
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import noun
from trainer_core.experiment.check import SUPPLIED
from trainer_core.experiment.migration.pieces import Piece, scalar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.migration.report import Report

__all__ = ["settle_component"]

_ENDINGS = ("_dataset_factory", "_factory", "_dataset", "_loss", "_trainer", "_v1")
_LANGUAGE = frozenset(
    {"_type_", "_target_", "_args_", "_kwargs_", "_template_", "_merge_", "_value_", "key"}
)


def settle_component(
    piece: Piece,
    key: str,
    kinds: Sequence[str],
    plugins: Plugins,
    report: Report,
    engine_keys: Collection[str] = (),
) -> None:
    """Give a component its installed name, and keep what it does not take as comments.

    Args:
        piece: A mapping with `_type_`; what has none is left alone.
        key: Its dotted key.
        kinds: The kinds of its position; none for a block.
        plugins: What is installed.
        report: Takes what was changed and what was not carried over.
        engine_keys: Keys beside the component's own.
    """
    name = piece.members.get("_type_")
    if name is None or not isinstance(name.plain, str):
        return
    ref = _find(name.plain, kinds, plugins)
    if ref is None:
        report.note(name, f"{key}._type_", _why_not(name.plain, kinds, plugins))
        return
    if name.plain not in {ref.key, ref.full_id}:
        report.note(name, f"{key}._type_", f"{name.plain!r} is called {ref.full_id!r} now")
        piece.members["_type_"] = renamed = scalar(ref.full_id if not kinds else ref.key)
        renamed.line, renamed.before, renamed.after = name.line, name.before, name.after
    signature = read_signature(ref.target)
    if signature is None or signature.accepts_any_keyword:
        return
    known = set(signature.parameters) - SUPPLIED.get(ref.kind, frozenset())
    for parameter in [k for k in piece.members if k not in {*known, *engine_keys, *_LANGUAGE}]:
        near = nearest(parameter, [*known, *engine_keys], 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        message = f"{ref.full_id} has no parameter {parameter!r}{hint}"
        report.lose(piece.take(parameter), f"{key}.{parameter}", message, piece)


def _find(name: str, kinds: Sequence[str], plugins: Plugins) -> ComponentRef | None:
    """Return the component of a name, or of the one that differs in case or ending only."""
    try:
        return plugins.find(name, kinds)
    except RegistryError:
        bare = name.rpartition(".")[2]
    wanted = {_folded(bare), *(_folded(bare.removesuffix(ending)) for ending in _ENDINGS)}
    for kind in kinds:
        for known in plugins.registries[kind].known_names():
            if _folded(known) in wanted:
                with suppress(RegistryError):
                    return plugins.find(known, kinds)
    return None


def _why_not(name: str, kinds: Sequence[str], plugins: Plugins) -> str:
    """Return why a name means no component: none is installed, two are, or it is switched off."""
    if any(name.rpartition(".")[2] in plugins.registries[kind].known_names() for kind in kinds):
        try:
            plugins.find(name, kinds)
        except RegistryError as error:
            return str(error)
    return f"no {noun((kinds or ('block',))[0])} of the name {name!r} is installed"


def _folded(name: str) -> str:
    return name.replace("_", "").lower()
