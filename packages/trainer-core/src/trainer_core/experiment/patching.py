"""Values that hooks and options put into a resolved file, with a note of who did it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import Mark, Node, Source, to_plain
from policy_constructor.config.report import CLI
from policy_constructor.errors import ConfigError, Problem
from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    import pluggy

__all__ = ["apply_config_hooks", "set_runner"]


def apply_config_hooks(root: Node, manager: pluggy.PluginManager) -> Node:
    """Return the file as the hook plugins change it, one after the other.

    Raises:
        ConfigError: A plugin returned something that is not a mapping.
        TrainerError: A plugin failed; its error is the cause.
    """
    implementations = manager.hook.trainer_config_resolved.get_hookimpls()
    for implementation in reversed(implementations):
        plain = to_plain(root)
        arguments = {"config": plain} if "config" in implementation.argnames else {}
        try:
            changed = implementation.function(**arguments)
        except Exception as error:
            message = (
                f"trainer_config_resolved of {implementation.plugin_name} failed: "
                f"{type(error).__name__}: {error}"
            )
            raise TrainerError(message) from error
        if changed is None:
            continue
        if not isinstance(changed, dict):
            name = implementation.plugin_name
            message = f"trainer_config_resolved of {name} returned no mapping"
            raise ConfigError(Problem(message, code="hook"))
        root = _grafted(root, changed, Source(f"<hook {implementation.plugin_name}>"))
    return root


def set_runner(root: Node, name: str) -> None:
    """Use the runner of the option `--runner`.

    Its parameters stay if it is the file's; of another one, those that the command line sets.
    """
    old = root.child("runner")
    written = root.child("runner", "_type_")
    if written is not None and written.value in {name, f"runner.{name}"}:
        return
    option = "--runner "
    source = Source(CLI, [option + name])
    mark = Mark(source, 1, len(option) + 1, 1, len(option) + len(name) + 1)
    parameters = _typed_parameters(old) if written is None or not _is_typed(written) else {}
    spec = Node({"_type_": Node(name, mark, mark), **parameters}, mark, mark)
    spec.replaced = [old] if old is not None else []
    root.value["runner"] = spec


def _typed_parameters(runner: Node | None) -> dict[str, Node]:
    """Return the keys of `runner` that overrides such as `runner.nproc_per_node=2` set."""
    if runner is None or not runner.is_mapping:
        return {}
    return {key: node for key, node in runner.value.items() if key != "_type_" and _is_typed(node)}


def _is_typed(node: Node) -> bool:
    return node.mark is not None and node.mark.source.name == CLI


def _grafted(old: Node | None, plain: Any, source: Source) -> Node:
    """Return a node that holds `plain`; what is unchanged stays the old node."""
    if old is not None and to_plain(old) == plain:
        return old
    before = old.value if old is not None else None
    below = before if isinstance(before, dict) else {}
    mark = Mark(source, 1, 1)
    value = plain
    if isinstance(plain, dict):
        value = {str(key): _grafted(below.get(key), item, source) for key, item in plain.items()}
        if old is not None and isinstance(before, dict):
            return replace(old, value=value)
    elif isinstance(plain, list | tuple):
        value = [_grafted(None, item, source) for item in plain]
    return Node(value, mark, mark, [old] if old is not None else [])
