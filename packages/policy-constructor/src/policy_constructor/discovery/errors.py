"""What can go wrong between a component's key and its object.

RegistryError(LookupError)
    UnknownComponentError   nothing installed has this key
    ConflictError           two distributions have it
    BlockedError            it is switched off
    IncompatibleError       its wheel was written for another version of ours
    PluginLoadError         its module fails to import, or is not what it claims to be
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.spelling import did_you_mean

if TYPE_CHECKING:
    from policy_constructor.discovery.component import ComponentRef

__all__ = [
    "BlockedError",
    "ConflictError",
    "IncompatibleError",
    "PluginLoadError",
    "RegistryError",
    "UnknownComponentError",
]


class RegistryError(LookupError):
    """A component cannot be had.

    Attributes:
        kind: Kind of the component (`loss`).
        key: Key as it was asked for.
        message: One sentence without a final stop and without the suggestions.
        suggestions: Keys that would work, best first.
    """

    def __init__(
        self, message: str, *, kind: str, key: str, suggestions: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.key = key
        self.suggestions = suggestions

    def __str__(self) -> str:
        """Return the message with its suggestions."""
        return self.message + did_you_mean(self.suggestions)


class UnknownComponentError(RegistryError):
    """Nothing that is installed has this key."""

    def __init__(self, kind: str, key: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(f"unknown {kind} {key!r}", kind=kind, key=key, suggestions=suggestions)


class ConflictError(RegistryError):
    """Two distributions have one key, and nobody said which one is meant.

    Attributes:
        refs: The components that claim the key.
    """

    def __init__(self, kind: str, key: str, refs: tuple[ComponentRef, ...]) -> None:
        self.refs = refs
        providers = " and ".join(f"{ref.wheel} ({ref.target})" for ref in refs)
        dists = sorted({ref.dist for ref in refs})
        if len(dists) > 1:
            choices = " or ".join(repr(f"{dist}::{key}") for dist in dists)
            cure = f"write {choices}, or set plugins.prefer: {{{kind}: {{{key}: {dists[0]}}}}}"
        else:
            cure = "one of the two declarations must go"
        super().__init__(
            f"{kind} {key!r} is provided by {providers}; {cure}",
            kind=kind,
            key=key,
        )


class BlockedError(RegistryError):
    """The component is installed but switched off.

    Attributes:
        ref: The component.
        reason: Who switched it off.
    """

    def __init__(self, ref: ComponentRef, reason: str) -> None:
        self.ref = ref
        self.reason = reason
        super().__init__(
            f"{ref.kind} {ref.key!r} of {ref.wheel} is switched off: {reason}",
            kind=ref.kind,
            key=ref.key,
        )


class IncompatibleError(RegistryError):
    """The component's wheel was written for another version of ours.

    Attributes:
        ref: The component.
        reason: Both versions, in one clause.
    """

    def __init__(self, ref: ComponentRef, reason: str) -> None:
        self.ref = ref
        self.reason = reason
        super().__init__(
            f"{ref.kind} {ref.key!r} of {ref.wheel} cannot be used: {reason}",
            kind=ref.kind,
            key=ref.key,
        )


class PluginLoadError(RegistryError):
    """A component's module fails to import, lacks the attribute or breaks its protocol.

    Attributes:
        ref: The component; its `origin` says where its declaration lies.
    """

    def __init__(self, ref: ComponentRef, reason: str) -> None:
        self.ref = ref
        super().__init__(
            f"{ref.kind} {ref.key!r} of {ref.wheel} cannot be used: {reason}"
            f" (declared as {ref.target!r} in {ref.origin})",
            kind=ref.kind,
            key=ref.key,
        )
