"""Component specs: `_type_` and its parameters, held against the block's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import dotted
from policy_constructor.discovery.breakage import find_breakage
from policy_constructor.discovery.errors import RegistryError
from policy_constructor.graph.ir import SpecIR
from policy_constructor.graph.reporting import describe
from policy_constructor.signatures.signature import check_arguments, read_signature
from policy_constructor.source.static import public_names
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from policy_constructor.config.node import Node, Path
    from policy_constructor.discovery.registry import Registry
    from policy_constructor.graph.reporting import Reporter
    from policy_constructor.graph.settings import ModelSettings

__all__ = ["SpecCompiler", "has_prefix", "is_spec"]

_SPEC_KEYS = frozenset({"_type_", "_target_", "_args_", "_kwargs_"})


def is_spec(node: Node) -> bool:
    """Whether a node is a component spec."""
    return isinstance(node.value, dict) and ("_type_" in node.value or "_target_" in node.value)


class SpecCompiler:
    """Turns specs into `SpecIR`, nested ones included; imports none of what they name."""

    def __init__(self, blocks: Registry[Any], settings: ModelSettings, report: Reporter) -> None:
        self.blocks = blocks
        self.settings = settings
        self.report = report

    def compile(self, node: Node, path: Path, skip: frozenset[str] = frozenset()) -> SpecIR | None:
        """Return the IR of a spec, or None after recording what is wrong with it.

        Args:
            node: A mapping with `_type_` or `_target_`.
            path: Its path.
            skip: Keys that are not the block's.
        """
        before = len(self.report.problems)
        found = (
            self._by_target(node, path) if "_target_" in node.value else self._by_type(node, path)
        )
        if found is None:
            return None
        key, target, has_source = found
        self._check(node, path, key, target, has_source=has_source, skip=skip)
        args, kwargs = self._arguments(node, path, skip)
        if len(self.report.problems) > before:
            return None
        return SpecIR(
            key=key,
            target=target,
            args=args,
            kwargs=kwargs,
            imported="_target_" in node.value,
            prefixes=self.settings.prefixes if "_target_" in node.value else (),
            path=dotted(path),
            location=node.mark.to_location() if node.mark else None,
        )

    def _by_type(self, node: Node, path: Path) -> tuple[str, str, bool] | None:
        """Return key, target and whether the target must have source."""
        where = (*path, "_type_")
        name = node.value["_type_"]
        if name.poisoned:
            return None
        if not isinstance(name.value, str):
            message = f"'_type_' names a block, found {describe(name.value)}"
            self.report.error(where, message, code="wrong-type")
            return None
        try:
            ref = self.blocks.ref(name.value)
        except RegistryError as error:
            self.report.error(
                where, error.message, code="unknown-component", suggestions=error.suggestions
            )
            return None
        broken = find_breakage(ref, "block")
        if broken is not None:
            self.report.error(where, broken.message, code="broken-component", notes=(broken.cure,))
            return None
        return name.value, ref.target, ref.source != "decorator"

    def _by_target(self, node: Node, path: Path) -> tuple[str, str, bool] | None:
        """Return the same for an import path, if the settings allow it."""
        where = (*path, "_target_")
        if "_type_" in node.value:
            message = "a spec has '_type_' or '_target_', not both"
            self.report.error(where, message, on="key", code="target")
            return None
        name = node.value["_target_"].value
        if not self.settings.allow_target:
            message = "'_target_' imports by name, which is off"
            expected = "_type_ of an installed block, or settings.allow_target: true"
            self.report.error(where, message, on="key", code="target", expected=expected)
            return None
        module, _, attr = str(name).replace(":", ".").rpartition(".")
        parts = [*module.split("."), attr]
        if not isinstance(name, str) or not all(part.isidentifier() for part in parts):
            message = f"{describe(name)} is no import path"
            self.report.error(where, message, code="target", expected="package.module.Name")
            return None
        if not has_prefix(module, self.settings.prefixes):
            message = f"{name!r} is not under settings.allowed_import_prefixes"
            expected = ", ".join(self.settings.prefixes) or "a prefix there"
            self.report.error(where, message, code="target", expected=expected)
            return None
        return name, f"{module}:{attr}", True

    def _check(
        self,
        node: Node,
        path: Path,
        key: str,
        target: str,
        *,
        has_source: bool,
        skip: frozenset[str],
    ) -> None:
        """Hold the parameters against the signature, as the policy asks."""
        if self.settings.policy == "runtime":
            return
        signature = read_signature(target)
        if signature is not None:
            check_arguments(
                signature,
                node,
                path,
                owner=key,
                supplied=frozenset(),
                skip=skip | _SPEC_KEYS,
                report=self.report.error,
            )
        elif self.settings.policy == "strict" and has_source:
            if "_target_" in node.value and self._is_misspelt(target, (*path, "_target_")):
                return
            expected = "settings.signature_policy: best_effort, which lets it pass"
            message = f"the source of {key!r} cannot be read, so its arguments are unchecked"
            self.report.error(path, message, code="unchecked", expected=expected)

    def _is_misspelt(self, target: str, where: Path) -> bool:
        """Whether an import path is nearly that of something in its module; it is reported."""
        module, _, attr = target.partition(":")
        names = public_names(module)
        near = nearest(attr, names)
        if attr in names or not near:
            return False
        message = f"there is no {attr!r} in {module}"
        self.report.error(where, message, code="target", suggestions=near)
        return True

    def _arguments(
        self, node: Node, path: Path, skip: frozenset[str]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments with nested specs compiled."""
        positional = node.value.get("_args_")
        args = [
            self._value(item, (*path, "_args_", index))
            for index, item in (positional.items() if positional is not None else ())
        ]
        kwargs = {
            key: self._value(item, (*path, key))
            for key, item in node.value.items()
            if key not in _SPEC_KEYS and key not in skip
        }
        extra = node.value.get("_kwargs_")
        for key, item in extra.items() if extra is not None else ():
            kwargs[str(key)] = self._value(item, (*path, "_kwargs_", key))
        return tuple(args), kwargs

    def _value(self, node: Node, path: Path) -> Any:
        if is_spec(node):
            return self.compile(node, path)
        if isinstance(node.value, dict):
            return {key: self._value(item, (*path, key)) for key, item in node.value.items()}
        if isinstance(node.value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return node.value


def has_prefix(module: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module is one of some packages or lies inside one."""
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)
