"""Which components are installed: discovery, name lookup, switching off, recipes.

Nothing of a plugin is imported here; a component's module is imported when a registry loads it,
a hook plugin's when `trainer_core.discovery.hooking` starts the hooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.component import refs_by_kind
from policy_constructor.discovery.metadata import scan
from policy_constructor.discovery.registry import Registry, build_registries
from trainer_core.discovery.blocking import blocked_by_environment, blocked_outside, reasons
from trainer_core.discovery.compatibility import find_mismatches
from trainer_core.discovery.names import COMPONENT_GROUPS, GROUPS, OWN_COMMANDS, PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pluggy

    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.discovery.metadata import EntryPointRecord
    from trainer_core.discovery.listing import PluginRecord

__all__ = ["Plugins", "discover", "protocol_check"]


class Plugins:
    """The components that a run may use; a value that is passed along.

    Args:
        records: What `policy_constructor.discovery.metadata.scan` returned.
        prefer: Preferred distribution by kind and key.
        blocked: Reasons by distribution or full id.
        incompatible: Why a distribution does not fit this version of ours, by its name.
        extra_refs: References that no entry point declares.

    Attributes:
        entry_points: The records it was made from.
        registries: A registry for each kind of component.
        commands: Sub-commands of the command line.
        recipes: Folders of experiment files.
        hooks: Hook plugins.
        hook_problems: Hook plugins that could not be used, and why; filled when hooks start.
    """

    def __init__(
        self,
        records: Sequence[EntryPointRecord],
        *,
        prefer: Mapping[str, Mapping[str, str]] | None = None,
        blocked: Mapping[str, str] | None = None,
        incompatible: Mapping[str, str] | None = None,
        extra_refs: Iterable[ComponentRef] = (),
    ) -> None:
        self.entry_points = tuple(records)
        self._prefer = dict(prefer or {})
        self._blocked = dict(blocked or {})
        self._incompatible = dict(incompatible or {})
        self._extra_refs = tuple(extra_refs)
        self._asked_hooks = False
        self.hook_problems: list[str] = []
        others, _ = refs_by_kind(self.entry_points, GROUPS)
        self.commands = tuple(ref for ref in others if ref.kind == "command")
        self.recipes = tuple(ref for ref in others if ref.kind == "recipe")
        self.hooks = tuple(ref for ref in others if ref.kind == "hook")
        self.registries: dict[str, Registry[Any]] = self._build()

    def _build(self) -> dict[str, Registry[Any]]:
        return build_registries(
            self.entry_points,
            COMPONENT_GROUPS,
            prefer=self._prefer,
            blocked=self._blocked,
            incompatible=self._incompatible,
            protocols={kind: protocol_check(kind) for kind in PROTOCOLS},
            extra_refs=self._extra_refs,
        )

    def restricted(
        self, *, disable: Iterable[str] = (), prefer: Mapping[str, Mapping[str, str]] | None = None
    ) -> Plugins:
        """Return the same components with what a file's `plugins:` section says on top."""
        blocked = self._blocked | reasons(disable, "plugins.disable of the file")
        merged = {kind: dict(choice) for kind, choice in self._prefer.items()}
        for kind, choice in (prefer or {}).items():
            merged.setdefault(kind, {}).update(choice)
        return Plugins(
            self.entry_points,
            prefer=merged,
            blocked=blocked,
            incompatible=self._incompatible,
            extra_refs=self._extra_refs,
        )

    def find(self, type_name: str, kinds: Sequence[str] = ()) -> ComponentRef:
        """Return the component that a `_type_` means.

        Args:
            type_name: `torch`, `loss.torch`, `nn.ReLU`, or any of them as `wheel::name`.
            kinds: Kinds that the position in the file takes; empty inside another component, where
                a bare name is a block.

        Raises:
            RegistryError: Unknown, of another kind, declared twice, or switched off.
        """
        dist, separator, name = type_name.rpartition("::")
        first, dot, rest = name.partition(".")
        if dot and first in self.registries:
            if kinds and first not in kinds:
                from trainer_core.discovery.misses import wrong_kind  # noqa: PLC0415 - a mistake needs it

                raise wrong_kind(self, type_name, first, kinds)
            return self._ref(first, dist + separator + rest)
        positions = kinds or ("block",)
        for kind in positions:
            if dist + separator + name in self.registries[kind]:
                return self.registries[kind].ref(dist + separator + name)
        return self._missed(type_name, positions)

    def load(self, ref: ComponentRef) -> Any:
        """Import a component's module and return its object.

        Raises:
            PluginLoadError: The module fails to import, lacks the attribute, or the object does
                not keep to its protocol.
        """
        registry = self.registries[ref.kind]
        qualified = f"{ref.dist}::{ref.key}" if ref.dist else ref.key
        return registry.load(qualified if qualified in registry else ref.key)

    def find_recipe(self, name: str) -> Path | None:
        """Return the file of a recipe such as `il/pick_place`, or None.

        Raises:
            ConfigError: Two wheels have recipes of the name; `wheel::il/pick_place` says which.
        """
        from trainer_core.discovery.recipes import find_recipe  # noqa: PLC0415 - listing needs no files

        return find_recipe(name, self.usable(self.recipes, "conflict"))

    def recipe_names(self) -> list[str]:
        """Return the names of all installed recipes."""
        from trainer_core.discovery.recipes import list_recipes  # noqa: PLC0415 - listing needs no files

        return [recipe.name for recipe in list_recipes(self.usable(self.recipes, "conflict"))]

    def recipes_ending(self, name: str) -> tuple[str, ...]:
        """Return the recipes and their parts whose files end in a relative name."""
        from trainer_core.discovery.recipes import recipes_ending  # noqa: PLC0415 - a mistake needs it

        return recipes_ending(name, self.usable(self.recipes, "conflict"))

    def usable(self, refs: Iterable[ComponentRef], *also: str) -> list[ComponentRef]:
        """Return the references whose status is `ok`, or one of some others."""
        return [ref for ref in refs if self.status(ref) in {"ok", *also}]

    def hook_manager(self) -> pluggy.PluginManager:
        """Import the hook plugins that are not switched off and return their manager.

        A plugin that cannot be used is left out and named in `hook_problems`.
        """
        from trainer_core.discovery.hooking import start_hooks  # noqa: PLC0415 - costs pluggy

        manager, problems = start_hooks(self.usable(self.hooks))
        problems += [
            f"hook plugin {ref.key!r} of {ref.wheel} ({ref.target}) is not used: {self.reason(ref)}"
            for ref in self.hooks
            if self.status(ref) == "incompatible"
        ]
        if problems != self.hook_problems:
            self.hook_problems = problems
            _warn(problems)
        return manager

    def records(self) -> list[PluginRecord]:
        """Return one record for each declaration, sorted; nothing is imported."""
        from trainer_core.discovery.listing import list_plugins  # noqa: PLC0415 - a run lists nothing

        return list_plugins(self)

    def status(self, ref: ComponentRef) -> str:
        """Return what `trainer plugins list` says of a command, recipe, hook or family."""
        if ref.problem is not None:
            return "invalid"
        if ref.shadowed or (ref.kind == "command" and ref.key in OWN_COMMANDS):
            return "shadowed"
        if {ref.dist, ref.full_id} & self._blocked.keys():
            return "blocked"
        if ref.dist in self._incompatible:
            return "incompatible"
        return "conflict" if self._rivals(ref) else "ok"

    def reason(self, ref: ComponentRef) -> str:
        """Return why a component is blocked or incompatible; empty if it is neither."""
        blocked = self._blocked.get(ref.full_id) or self._blocked.get(ref.dist)
        return blocked or self._incompatible.get(ref.dist, "")

    def _rivals(self, ref: ComponentRef) -> bool:
        """Whether another wheel brings a command or recipes of the same name."""
        if ref.kind not in {"command", "recipe"}:
            return False
        others = [
            other
            for other in (*self.commands, *self.recipes)
            if (other.kind, other.key) == (ref.kind, ref.key) and other.dist != ref.dist
        ]
        return any(not other.shadowed and not self.reason(other) for other in others)

    def _ref(self, kind: str, key: str) -> ComponentRef:
        if key in self.registries[kind]:
            return self.registries[kind].ref(key)
        return self._missed(key, (kind,))

    def _missed(self, name: str, kinds: Sequence[str]) -> ComponentRef:
        """Ask the hooks for a name no entry point has; else say what is near it."""
        if self.hooks and not self._asked_hooks:
            self._asked_hooks = True
            from trainer_core.discovery.hooking import registered_refs  # noqa: PLC0415 - costs pluggy

            manager = self.hook_manager()
            self._extra_refs += tuple(registered_refs(manager, self.hooks, self.hook_problems))
            self.registries = self._build()
        for kind in kinds:
            if name in self.registries[kind]:
                return self.registries[kind].ref(name)
        from trainer_core.discovery.misses import unknown_name  # noqa: PLC0415 - a mistake needs it

        raise unknown_name(self, name, kinds)


def discover(
    *,
    disable: Iterable[str] = (),
    prefer: Mapping[str, Mapping[str, str]] | None = None,
    only: Iterable[str] | None = None,
    extra_refs: Iterable[ComponentRef] = (),
) -> Plugins:
    """Return what is installed, without importing any of it.

    The environment variables TRAINER_DISABLE_PLUGINS and TRAINER_PLUGINS_ONLY (names separated by
    commas) add to `disable` and set `only`.

    Args:
        disable: Wheels or full ids (`loss.l2`) that must not be used.
        prefer: Which wheel provides a name that two have: `{kind: {name: wheel}}`.
        only: The only wheels, besides our own, that may be used; None allows all.
        extra_refs: Further components, for example of a test.
    """
    records = scan()
    blocked = reasons(disable, "it is disabled") | blocked_by_environment(records)
    if only is not None:
        blocked |= blocked_outside(only, records, "it is not allowed")
    incompatible = {dist: str(mismatch) for dist, mismatch in find_mismatches(records).items()}
    return Plugins(
        records, prefer=prefer, blocked=blocked, incompatible=incompatible, extra_refs=extra_refs
    )


def _warn(problems: Iterable[str]) -> None:
    import logging  # noqa: PLC0415 - listing warns of nothing

    for problem in problems:
        logging.getLogger(__name__).warning(problem)


def protocol_check(kind: str) -> Callable[[Any], str | None]:
    """Return a check against the protocol of a kind, which is imported when it is used."""

    def check(target: Any) -> str | None:
        from policy_constructor.discovery.conformance import protocol_mismatch  # noqa: PLC0415 - as below
        from trainer_core import protocols  # noqa: PLC0415 - listing loads nothing

        return protocol_mismatch(target, getattr(protocols, PROTOCOLS[kind]))

    return check
