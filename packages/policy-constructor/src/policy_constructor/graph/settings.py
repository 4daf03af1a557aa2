"""What the `settings:` of a file allow a model to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from policy_constructor.graph.reporting import describe
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from policy_constructor.config import ResolvedConfig
    from policy_constructor.graph.reporting import Reporter

__all__ = ["SETTINGS_KEYS", "ModelSettings", "Policy", "read_settings"]

Policy: TypeAlias = Literal["strict", "best_effort", "runtime"]
SETTINGS_KEYS = ("strict", "signature_policy", "allow_target", "allowed_import_prefixes")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings that concern model sections.

    Attributes:
        policy: How arguments are checked against signatures. `strict`: all of them, and a block
            whose signature cannot be read is refused; `best_effort`: such a block passes;
            `runtime`: nothing is checked before the call.
        allow_target: Whether `_target_` may import by name.
        prefixes: Packages that `_target_` may import from.
    """

    policy: Policy = "strict"
    allow_target: bool = False
    prefixes: tuple[str, ...] = ()


def read_settings(resolved: ResolvedConfig, policy: Policy, report: Reporter) -> ModelSettings:
    """Return the settings of a file.

    Args:
        resolved: The file.
        policy: Policy where the file says nothing; `settings.strict: false` makes a `strict` one
            `best_effort`.
        report: Receives the problems.
    """
    if resolved.node("settings", "strict") is not None and policy == "strict":
        strict = _read_bool(resolved, "strict", report, default=True)
        policy = "strict" if strict else "best_effort"
    return ModelSettings(
        policy=_read_policy(resolved, policy, report),
        allow_target=_read_bool(resolved, "allow_target", report, default=False),
        prefixes=_read_prefixes(resolved, report),
    )


def _read_bool(resolved: ResolvedConfig, key: str, report: Reporter, *, default: bool) -> bool:
    node = resolved.node("settings", key)
    if node is None or node.poisoned:
        return default
    if not isinstance(node.value, bool):
        message = f"settings.{key} must be true or false, found {describe(node.value)}"
        report.error(("settings", key), message, code="wrong-type")
        return default
    return node.value


def _read_policy(resolved: ResolvedConfig, default: Policy, report: Reporter) -> Policy:
    node = resolved.node("settings", "signature_policy")
    if node is None or node.poisoned:
        return default
    for policy in get_args(Policy):
        if node.value == policy:
            known: Policy = policy
            return known
    report.error(
        ("settings", "signature_policy"),
        f"unknown signature policy {describe(node.value)}",
        code="wrong-type",
        expected=", ".join(get_args(Policy)),
        suggestions=nearest(str(node.value), get_args(Policy)),
    )
    return default


def _read_prefixes(resolved: ResolvedConfig, report: Reporter) -> tuple[str, ...]:
    path = ("settings", "allowed_import_prefixes")
    node = resolved.node(*path)
    if node is None or node.value is None:
        return ()
    items = report.expect_list(node, path, "settings.allowed_import_prefixes")
    return tuple(item.value for item in items or () if isinstance(item.value, str) and item.value)
