"""What a hook plugin adds components with."""

from __future__ import annotations

from policy_constructor.discovery.component import ComponentRef
from trainer_core.discovery.names import COMPONENT_GROUPS

__all__ = ["Registrar"]


class Registrar:
    """Takes the lazy references that `trainer_register_components` adds.

    Args:
        dist: Distribution of the hook plugin.
        version: Its version.
    """

    def __init__(self, dist: str = "", version: str = "") -> None:
        self.dist = dist
        self.version = version
        self.refs: list[ComponentRef] = []

    def add(self, kind: str, key: str, target: str) -> None:
        """Add a component as `module:attribute`; nothing is imported.

        Raises:
            ValueError: The kind is unknown or the target is not `module:attribute`.
        """
        module, _, attr = target.partition(":")
        if kind not in {kind for kinds in COMPONENT_GROUPS.values() for kind in kinds}:
            msg = f"unknown kind of component {kind!r}"
            raise ValueError(msg)
        if not module or not attr:
            msg = f"{target!r} is not 'module:attribute'"
            raise ValueError(msg)
        self.refs.append(
            ComponentRef(kind, key, module, attr, self.dist, self.version, source="hook")
        )
