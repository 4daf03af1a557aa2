"""Key -> object: a read-only mapping over component references that loads one when it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from policy_constructor.discovery.component import ComponentRef, Family, refs_by_kind
from policy_constructor.discovery.errors import (
    BlockedError,
    ConflictError,
    IncompatibleError,
    PluginLoadError,
    RegistryError,
    UnknownComponentError,
)
from policy_constructor.discovery.metadata import normalize_name, scan
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from policy_constructor.discovery.metadata import EntryPointRecord

    Check: TypeAlias = "type[Any] | Callable[[Any], str | None]"

__all__ = [
    "BlockedError",
    "ComponentRef",
    "ConflictError",
    "Family",
    "IncompatibleError",
    "PluginLoadError",
    "Registry",
    "RegistryError",
    "UnknownComponentError",
    "blocks_registry",
    "build_registries",
    "ops_registry",
]

T = TypeVar("T")
Decorated = TypeVar("Decorated")

_NO_PREFERENCE: dict[str, str] = {}


class Registry(Generic[T]):
    """The components of one kind, by key. Nothing is imported before `load`.

    Every key may be qualified with its distribution: `experiments-il::l2`.

    Args:
        kind: Kind of the components, such as `loss`.
        refs: References found by discovery, conflicting and unusable ones included.
        families: Wildcard declarations; their members are looked up in the module's source.
        prefer: Which distribution provides a key that several have.
        blocked: Reasons by distribution name or by full id (`loss.l2`).
        incompatible: Why a distribution cannot be used with this version of ours, by its name.
        protocol: What a loaded object must be: a Protocol class whose methods it must have, or a
            function that returns what is wrong with it.
    """

    def __init__(
        self,
        kind: str,
        refs: Iterable[ComponentRef] = (),
        families: Iterable[Family] = (),
        *,
        prefer: Mapping[str, str] = _NO_PREFERENCE,
        blocked: Mapping[str, str] = _NO_PREFERENCE,
        incompatible: Mapping[str, str] = _NO_PREFERENCE,
        protocol: Check | None = None,
    ) -> None:
        self.kind = kind
        self.families = tuple(families)
        self.protocol = protocol
        self._prefer = {key: normalize_name(dist) for key, dist in prefer.items()}
        self._blocked = dict(blocked)
        self._incompatible = dict(incompatible)
        self._refs: dict[str, list[ComponentRef]] = {}
        self._loaded: dict[ComponentRef, T] = {}
        for ref in refs:
            self._add(ref)

    def keys(self) -> list[str]:
        """Return the sorted keys declared one by one; families are not unrolled."""
        return sorted(self._refs)

    def known_names(self) -> list[str]:
        """Return all keys, members of families included, read from the modules' source."""
        names = set(self._refs)
        if self.families:
            from policy_constructor.discovery import families  # noqa: PLC0415 - only they need `ast`

            names.update(key for f in self.families for key in families.likely_members(f))
        return sorted(names)

    def refs(self) -> list[ComponentRef]:
        """Return every declared reference in the order of keys, unusable ones included."""
        return [ref for key in self.keys() for ref in self._refs[key]]

    def __iter__(self) -> Iterator[str]:
        """Iterate over `keys()`."""
        return iter(self.keys())

    def __len__(self) -> int:
        """Return the number of declared keys."""
        return len(self._refs)

    def __contains__(self, key: object) -> bool:
        """Whether some declaration has this key, usable or not; members of families count."""
        return isinstance(key, str) and bool(self._claims(*_split(key)))

    def __getitem__(self, key: str) -> T:
        """Return the object itself; the same as `load`."""
        return self.load(key)

    def ref(self, key: str) -> ComponentRef:
        """Return the reference that a key or qualified key means.

        Raises:
            UnknownComponentError: Nothing has the key.
            ConflictError: Several distributions have it and none is preferred.
            BlockedError: The component is switched off.
            IncompatibleError: Its wheel was written for another version of ours.
        """
        dist, name = _split(key)
        claims = self._claims(dist, name)
        if not claims:
            raise UnknownComponentError(self.kind, key, self._suggestions(dist, name))
        open_claims = [ref for ref in claims if self._block_reason(ref) is None]
        if not open_claims:
            raise BlockedError(claims[0], self._block_reason(claims[0]) or "")
        fitting = [ref for ref in open_claims if ref.dist not in self._incompatible]
        if not fitting:
            raise IncompatibleError(open_claims[0], self._incompatible[open_claims[0].dist])
        chosen = self._chosen(name, fitting)
        if len(chosen) > 1:
            raise ConflictError(self.kind, key, tuple(chosen))
        return chosen[0]

    def load(self, key: str) -> T:
        """Import the module of a component and return its object.

        Raises:
            PluginLoadError: The module fails to import (or exits), lacks the attribute, or the
                object breaks the protocol. The cause is chained.
            RegistryError: As for `ref`.
        """
        ref = self.ref(key)
        if ref not in self._loaded:
            self._loaded[ref] = self._load(ref)
        return self._loaded[ref]

    def register(self, key: str) -> Callable[[Decorated], Decorated]:
        """Return a decorator that adds a class or function of a notebook, script or test.

        Decorating the target of an entry point again changes nothing, running a cell again replaces
        the object; another object under an installed key is a conflict when the key is used.
        """

        def add(target: Decorated) -> Decorated:
            described: Any = target
            ref = ComponentRef(
                self.kind,
                key,
                described.__module__,
                described.__qualname__,
                dist=normalize_name(described.__module__.partition(".")[0]),
                source="decorator",
                origin=_file_of(described.__module__),
            )
            same = [old for old in self._refs.get(key, ()) if old.target == ref.target]
            if not same:
                self._add(ref)
            self._loaded[same[0] if same else ref] = cast("T", target)
            return target

        return add

    def status(self, ref: ComponentRef) -> str:
        """Return `ok` or what keeps a component from use; nothing is imported.

        That is `conflict`, `blocked`, `incompatible`, `shadowed` or `invalid`.
        """
        if ref.problem is not None or not ref.attr:
            return "invalid"
        if ref.shadowed:
            return "shadowed"
        if self._block_reason(ref) is not None:
            return "blocked"
        if ref.dist in self._incompatible:
            return "incompatible"
        chosen = self._chosen(ref.key, [r for r in self._claims("", ref.key) if self._may_use(r)])
        if ref not in chosen:
            return "shadowed"
        return "conflict" if len(chosen) > 1 else "ok"

    def _add(self, ref: ComponentRef) -> None:
        same_key = self._refs.setdefault(ref.key, [])
        if ref not in same_key:
            same_key.append(ref)
            same_key.sort(key=lambda r: (r.dist, r.version, r.target, r.origin))

    def _claims(self, dist: str, name: str) -> list[ComponentRef]:
        """Return the usable references to a key, of one distribution if it is given."""
        claims = [
            ref
            for ref in self._refs.get(name, ())
            if ref.problem is None and not ref.shadowed and ref.attr
        ]
        near = [f for f in self.families if name.startswith(f.prefix) and not f.shadowed]
        if near:
            from policy_constructor.discovery import families  # noqa: PLC0415 - only they need `ast`

            claims += [family.to_ref(name) for family in near if families.is_member(family, name)]
        return [ref for ref in claims if not dist or ref.dist == dist]

    def _chosen(self, name: str, claims: list[ComponentRef]) -> list[ComponentRef]:
        preferred = self._prefer.get(name)
        chosen = [ref for ref in claims if ref.dist == preferred]
        return chosen or claims

    def _may_use(self, ref: ComponentRef) -> bool:
        return self._block_reason(ref) is None and ref.dist not in self._incompatible

    def _block_reason(self, ref: ComponentRef) -> str | None:
        return self._blocked.get(ref.full_id) or self._blocked.get(ref.dist)

    def _suggestions(self, dist: str, name: str) -> tuple[str, ...]:
        if dist and (claims := self._claims("", name)):
            return tuple(f"{ref.dist}::{name}" for ref in claims)
        likely = nearest(name, self.known_names(), n=6)
        return tuple(found for found in likely if self._claims("", found))[:3]

    def _load(self, ref: ComponentRef) -> T:
        from importlib import import_module  # noqa: PLC0415 - listing loads nothing

        try:
            found: Any = import_module(ref.module)
            for name in ref.attr.split("."):
                found = getattr(found, name)
        except (Exception, SystemExit) as cause:  # a stranger's module may do anything
            raise PluginLoadError(ref, f"{type(cause).__name__}: {cause}") from cause
        reason = self._protocol_mismatch(found)
        if reason is not None:
            raise PluginLoadError(ref, reason)
        return cast("T", found)

    def _protocol_mismatch(self, found: Any) -> str | None:
        if self.protocol is None:
            return None
        if isinstance(self.protocol, type):
            from policy_constructor.discovery.conformance import (  # noqa: PLC0415 - listing loads nothing
                protocol_mismatch,
            )

            return protocol_mismatch(found, self.protocol)
        return self.protocol(found)


def build_registries(
    records: Iterable[EntryPointRecord],
    groups: Mapping[str, Sequence[str]],
    *,
    prefer: Mapping[str, Mapping[str, str]] | None = None,
    blocked: Mapping[str, str] = _NO_PREFERENCE,
    incompatible: Mapping[str, str] = _NO_PREFERENCE,
    protocols: Mapping[str, Check] | None = None,
    extra_refs: Iterable[ComponentRef] = (),
) -> dict[str, Registry[Any]]:
    """Return a registry for each kind of some entry-point groups.

    Args:
        records: What `metadata.scan` returned.
        groups: Kinds of each group, as `component.refs_by_kind` takes them.
        prefer: Preferred distributions by kind and key.
        blocked: Reasons by distribution or full id.
        incompatible: Reasons by distribution.
        protocols: What the objects of a kind must be.
        extra_refs: References from hooks.
    """
    refs, families = refs_by_kind(records, groups)
    refs += extra_refs
    return {
        kind: Registry(
            kind,
            [ref for ref in refs if ref.kind == kind],
            [family for family in families if family.kind == kind],
            prefer=(prefer or {}).get(kind, {}),
            blocked=blocked,
            incompatible=incompatible,
            protocol=(protocols or {}).get(kind),
        )
        for kinds in groups.values()
        for kind in kinds
    }


def blocks_registry(records: Iterable[EntryPointRecord] | None = None) -> Registry[Any]:
    """Return the installed blocks: classes of modules, and functions that return one."""
    found = scan() if records is None else records
    return build_registries(found, {"policy_constructor.blocks": ("block",)})["block"]


def ops_registry(records: Iterable[EntryPointRecord] | None = None) -> Registry[Any]:
    """Return the installed ops: functions of tensors and values."""
    found = scan() if records is None else records
    return build_registries(found, {"policy_constructor.ops": ("op",)})["op"]


def _split(key: str) -> tuple[str, str]:
    """Return (distribution, name); the distribution is empty for a bare key."""
    dist, separator, name = key.partition("::")
    return (normalize_name(dist), name) if separator else ("", key)


def _file_of(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or "<interactive>"
