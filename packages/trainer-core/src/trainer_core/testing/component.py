"""The checks of every component: its parameters, building it, sending it to another process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from policy_constructor.config import resolve_config
from policy_constructor.discovery.errors import RegistryError
from policy_constructor.errors import ConfigError
from policy_constructor.signatures.signature import check_arguments, read_signature
from trainer_core.experiment.check import SUPPLIED
from trainer_core.instantiate import instantiate
from trainer_core.testing.declaration import Conformance, checks_of, installed, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from policy_constructor.signatures.signature import Signature

__all__ = ["ComponentConformance"]

_UNBUILT = frozenset(checks_of(Conformance)) | {"TC004"}
_NOBODYS = "no_component_has_this_parameter"
_GIVE_VALUES = "give small values: params in conformance.yaml, or of the test class"


class ComponentConformance(Conformance):
    """Checks of a component of any kind; the kinds with a class of their own have more.

    Attributes:
        kind: The kind that the key must be of; empty takes any.
    """

    kind: ClassVar[str] = ""

    @classmethod
    def spec(cls) -> dict[str, Any]:
        """Return the component as an experiment file writes it."""
        return {"_type_": cls.key, **cls.params}

    @classmethod
    def unprepared(cls) -> dict[str, str]:
        """Return all checks that build it, if it has required parameters without a value."""
        try:
            ref = cls.ref()
        except RegistryError:
            return {}  # each check says so
        signature = read_signature(ref.target)
        given = {*cls.params, *SUPPLIED.get(ref.kind, ())}
        parameters = signature.parameters if signature else {}
        missing = [name for name, each in parameters.items() if each.required and name not in given]
        if not missing:
            return {}
        reason = f"it needs {', '.join(missing)}; give small values: params: {{...}}"
        return dict.fromkeys(checks_of(cls).keys() - _UNBUILT, reason)

    def build(self, folder: Path) -> Any:
        """Build the component; `folder` is empty and may be written to."""
        del folder
        return instantiate(self.spec(), installed())

    def to_send(self, folder: Path) -> Any:
        """Return what a runner would send to another process; the component by default."""
        return self.build(folder)

    def signature(self) -> Signature:
        """Return what the component accepts, read from its source."""
        found = read_signature(self.ref().target)
        if found is None:
            msg = f"the source of {self.ref().target} does not tell its parameters"
            raise AssertionError(msg)
        return found

    def complaints(self, params: Mapping[str, Any]) -> list[str]:
        """Return what `trainer check` says about these parameters."""
        ref = self.ref()
        resolved = resolve_config({"component": dict(params)})
        node = resolved.node("component")
        found: list[str] = []
        if node is not None:
            check_arguments(
                self.signature(),
                node,
                ("component",),
                owner=ref.full_id,
                report=lambda _path, message, /, **_: found.append(message),
                supplied=SUPPLIED.get(ref.kind, frozenset()),
            )
        return found

    def test_tc004_parameters_are_read_from_source(self) -> None:
        """The parameters are known without importing the module, and are a closed list."""
        ref, signature = self.ref(), self.signature()
        require(not self.kind or ref.kind == self.kind, f"{self.key} is no {self.kind}")
        require(not signature.problem, f"{ref.target}: {signature.problem}")
        message = f"{ref.target} takes **kwargs: a misspelt parameter would pass unseen"
        require(not signature.accepts_any_keyword, message)

    def test_tc005_unknown_parameter_is_refused(self) -> None:
        """An unknown parameter is refused before anything is built, and good ones are not."""
        complaints = self.complaints(self.params)
        require(not complaints, f"{complaints}; {_GIVE_VALUES}")
        found = self.complaints({**self.params, _NOBODYS: 0})
        expected = f"{self.ref().full_id} has no parameter {_NOBODYS!r}"
        require(found == [expected], f"expected {expected!r}, found {found}")

    def test_tc006_builds_on_the_cpu(self, tmp_path: Path) -> None:
        """It can be built on a machine without a GPU, from its parameters alone."""
        try:
            built = self.build(tmp_path)
        except ConfigError as error:
            problems = "; ".join(problem.message for problem in error.problems)
            msg = f"{problems}; {_GIVE_VALUES}"
            raise AssertionError(msg) from error
        require(built is not None, f"{self.key} builds to None")

    def test_tc009_can_be_sent_to_another_process(self, tmp_path: Path) -> None:
        """What is built can be pickled: a runner may send it to a worker."""
        torch.save(self.to_send(tmp_path), io.BytesIO())
