"""References to components that discovery found; making one imports nothing of the component."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from policy_constructor.discovery.metadata import EntryPointRecord

__all__ = ["ComponentRef", "Family", "refs_by_kind"]


class ComponentRef(NamedTuple):
    """Where a component comes from and where its object is.

    Attributes:
        kind: Kind (`loss`), the first part of the full id.
        key: Name within the kind (`l2`, `nn.Linear`).
        module: Module that holds the object.
        attr: Dotted name inside the module; empty for a module itself.
        dist: Distribution that declares it, PEP 503-normalised; of a decorated object its package.
        version: Version of that distribution; empty when there is none.
        source: `entry-point`, `hook` or `decorator`.
        origin: Folder of the metadata, or the file, that declares it.
        shadowed: An earlier distribution of the same name hides this one.
        problem: What is wrong with the declaration; such a component cannot be used.
    """

    kind: str
    key: str
    module: str
    attr: str
    dist: str
    version: str = ""
    source: str = "entry-point"
    origin: str = ""
    shadowed: bool = False
    problem: str | None = None

    @property
    def target(self) -> str:
        """`module:attr`, or `module`."""
        return f"{self.module}:{self.attr}" if self.attr else self.module

    @property
    def full_id(self) -> str:
        """`kind.key`."""
        return f"{self.kind}.{self.key}"

    @property
    def wheel(self) -> str:
        """Distribution and version, as messages name them."""
        return f"{self.dist} {self.version}".rstrip()


class Family(NamedTuple):
    """A wildcard declaration: `nn.* = torch.nn` makes a component of each class of a module.

    Attributes:
        kind: Kind of its members.
        prefix: What the members' keys begin with (`nn.`); may be empty.
        module: Module whose public names are the members.
        dist: Distribution that declares it.
        version: Version of that distribution.
        source: As in `ComponentRef`.
        origin: As in `ComponentRef`.
        shadowed: As in `ComponentRef`.
    """

    kind: str
    prefix: str
    module: str
    dist: str
    version: str = ""
    source: str = "entry-point"
    origin: str = ""
    shadowed: bool = False

    @property
    def pattern(self) -> str:
        """The key as it was declared: `nn.*`."""
        return f"{self.prefix}*"

    def to_ref(self, key: str) -> ComponentRef:
        """Return the reference of one member; whether it exists is not asked."""
        return ComponentRef(
            kind=self.kind,
            key=key,
            module=self.module,
            attr=key[len(self.prefix) :],
            dist=self.dist,
            version=self.version,
            source=self.source,
            origin=self.origin,
            shadowed=self.shadowed,
        )


def refs_by_kind(
    records: Iterable[EntryPointRecord], groups: Mapping[str, Sequence[str]]
) -> tuple[list[ComponentRef], list[Family]]:
    """Turn the records of some groups into component references and families.

    Args:
        records: What `metadata.scan` returned.
        groups: Kinds of each group. A name belongs to the first of them, unless it begins with
            another one: in a group of (`optim_factory`, `optim_cls`) the name `optim_cls.*` is the
            family `*` of the kind `optim_cls`.
    """
    refs: list[ComponentRef] = []
    families: list[Family] = []
    for record in records:
        if record.group not in groups:
            continue
        kind, key = _kind_and_key(record.name, groups[record.group])
        module, _, attr = record.value.partition(":")
        problem = record.problem
        if problem is None and key.endswith("*"):
            if not attr and key in {"*", f"{key[:-2]}.*"}:
                families.append(
                    Family(
                        kind,
                        key[:-1],
                        module,
                        record.dist,
                        record.version,
                        origin=record.path,
                        shadowed=record.shadowed,
                    )
                )
                continue
            problem = f"{record.name!r} = {record.value!r} is not 'prefix.* = module'"
        refs.append(
            ComponentRef(
                kind,
                key,
                module,
                attr,
                record.dist,
                record.version,
                origin=record.path,
                shadowed=record.shadowed,
                problem=problem,
            )
        )
    return refs, families


def _kind_and_key(name: str, kinds: Sequence[str]) -> tuple[str, str]:
    first, dot, rest = name.partition(".")
    if dot and first in kinds:
        return first, rest
    return kinds[0], name
