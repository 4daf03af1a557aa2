"""What the names of a section refer to: inputs, modules, values, ops; in order, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import dotted
from policy_constructor.discovery.breakage import find_breakage
from policy_constructor.discovery.errors import RegistryError
from policy_constructor.graph.forward import CallSignature, check_call, read_forward, read_function
from policy_constructor.graph.ir import GraphIR, SpecIR, StepIR
from policy_constructor.graph.names import name_problem
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.config.node import Path
    from policy_constructor.discovery.registry import Registry
    from policy_constructor.graph.calls import CallDecl, RefUse
    from policy_constructor.graph.reporting import Reporter
    from policy_constructor.graph.schema import SectionDecl
    from policy_constructor.graph.settings import Policy

__all__ = ["link"]


def link(
    section: SectionDecl,
    bodies: Mapping[str, SpecIR | GraphIR | None],
    ops: Registry[Any],
    report: Reporter,
    policy: Policy,
) -> list[StepIR]:
    """Return the steps of a section after looking up every name in it.

    Args:
        section: The section as it was read.
        bodies: The compiled modules; None for one that has a problem of its own.
        ops: Ops to choose from.
        report: Receives the problems.
        policy: `runtime` leaves the arguments of calls unchecked.
    """
    linker = _Linker(section, bodies, ops, report, policy)
    linker.declare_names()
    steps = [linker.link_call(call) for call in section.calls]
    linker.link_outputs()
    linker.check_use()
    return steps


class _Linker:
    """Goes through the calls in order and knows which values exist by then."""

    def __init__(
        self,
        section: SectionDecl,
        bodies: Mapping[str, SpecIR | GraphIR | None],
        ops: Registry[Any],
        report: Reporter,
        policy: Policy,
    ) -> None:
        self.section = section
        self.bodies = bodies
        self.ops = ops
        self.report = report
        self.checks_calls = policy != "runtime"
        self.available: set[str] = {item.name for item in section.inputs}
        self.given = {name.name for call in section.calls for name in call.outs}
        self.used_values: set[str] = set()
        self.used_modules: set[str] = set()
        self.signatures: dict[str, CallSignature | None] = {}
        self.names_are_clear = section.complete

    def declare_names(self) -> None:
        """Check every name that the section gives: legal, and given once."""
        owners: dict[str, str] = {}
        for item, path in zip(self.section.inputs, self.section.input_paths, strict=True):
            self._declare(item.name, "input", "an input", path, owners)
        for name, (_, path) in self.section.modules.items():
            self._declare(name, "module", "a module", path, owners, on="key")
        for call in self.section.calls:
            own: dict[str, str] = {}
            for value in call.outs:
                on = "key" if value.path == call.path else "value"
                what = f"a value of {_place(call)}"
                self._declare(value.name, "value", what, value.path, owners, on=on)
                own[value.name] = what
            if call.name and call.name not in own:
                self._declare(call.name, "value", "a node", call.path, owners, on="key")

    def _declare(
        self,
        name: str,
        kind: str,
        what: str,
        path: Path,
        owners: dict[str, str],
        on: str = "value",
    ) -> None:
        problem = name_problem(name, kind)
        if problem is None and name in owners:
            problem = f"name {name!r} is taken: it is {owners[name]} already"
        if problem is not None:
            self.report.error(path, problem, on=on, code="name")
            self.names_are_clear = False
        owners.setdefault(name, what)

    def link_call(self, call: CallDecl) -> StepIR:
        """Look up what a call refers to and check its arguments."""
        for ref in call.refs:
            self._use(ref, call)
        if call.kind == "module":
            self._link_module(call)
        elif call.kind == "op":
            self._link_op(call)
        self.available.update(name.name for name in call.outs)
        return StepIR(
            name=call.name,
            kind=call.kind or "op",
            callee=call.callee,
            args=tuple(call.args),
            kwargs=call.kwargs,
            out=call.out,
            path=dotted(call.path),
            location=call.node.mark.to_location() if call.node.mark else None,
        )

    def _use(self, ref: RefUse, call: CallDecl) -> None:
        self.used_values.add(ref.name)
        if ref.name in self.available:
            return
        if ref.name in {name.name for name in call.outs}:
            message = f"Forward reference to '${ref.name}': a call cannot use its own result"
            self.report.error(ref.path, message, code="forward-reference")
        elif ref.name in self.given:
            message = f"Forward reference to '${ref.name}': it is computed later"
            self.report.error(ref.path, message, code="forward-reference")
        else:
            self._unknown(ref, f"unknown reference '${ref.name}'", self.available)

    def _unknown(self, ref: RefUse, message: str, known: set[str]) -> None:
        if not self.section.complete:
            return
        notes: tuple[str, ...] = ()
        if ref.name in self.section.modules:
            notes = (f"{ref.name!r} is a module; a call of it gives a value",)
        near = tuple(f"${name}" for name in nearest(ref.name, sorted(known)))
        self.report.error(
            ref.path, message, code="unknown-reference", suggestions=near, notes=notes
        )

    def _link_module(self, call: CallDecl) -> None:
        self.used_modules.add(call.callee)
        if call.callee not in self.section.modules:
            self.names_are_clear = False
            if self.section.complete or self.section.modules:
                self.report.error(
                    (*call.path, "call"),
                    f"unknown module {call.callee!r}",
                    code="unknown-module",
                    suggestions=nearest(call.callee, self.section.modules),
                )
            return
        body = self.bodies[call.callee]
        if call.callee not in self.signatures:
            self.signatures[call.callee] = _signature_of(body)
        signature = self.signatures[call.callee]
        if signature is not None and self.checks_calls:
            key = body.key if isinstance(body, SpecIR) else "graph"
            check_call(call, signature, f"{call.callee!r} ({key})", self.report)

    def _link_op(self, call: CallDecl) -> None:
        try:
            ref = self.ops.ref(call.callee)
        except RegistryError as error:
            self.report.error(
                (*call.path, "call"),
                error.message,
                code="unknown-component",
                suggestions=error.suggestions,
            )
            return
        broken = find_breakage(ref, "op")
        if broken is not None:
            place = (*call.path, "call")
            self.report.error(place, broken.message, code="broken-component", notes=(broken.cure,))
            return
        signature = read_function(ref.target) if self.checks_calls else None
        if signature is not None:
            check_call(call, signature, f"op {call.callee!r}", self.report)

    def link_outputs(self) -> None:
        """Check that every output is a value of the section."""
        for output in self.section.outputs:
            self.used_values.add(output.name)
            if output.name not in self.available:
                message = f"output '${output.name}' is no value of the graph"
                self._unknown(output, message, self.available)

    def check_use(self) -> None:
        """Refuse modules that nothing calls; warn of values and inputs that nothing uses."""
        if not self.names_are_clear:
            return
        for name, (_, path) in self.section.modules.items():
            if name not in self.used_modules:
                message = f"module {name!r} is never called; its parameters would never train"
                self.report.error(path, message, on="key", code="unused-module")
        for item, path in zip(self.section.inputs, self.section.input_paths, strict=True):
            if item.name not in self.used_values:
                self.report.warn(path, f"input {item.name!r} is never used", code="unused")
        for call in self.section.calls:
            if not self.used_values.intersection(name.name for name in call.outs):
                self.report.warn(call.path, f"nothing uses {_place(call)}", code="unused")


def _place(call: CallDecl) -> str:
    return f"node {call.name!r}" if "nodes" in call.path else f"step {call.name!r}"


def _signature_of(body: SpecIR | GraphIR | None) -> CallSignature | None:
    """Return how a module is called, where that can be known."""
    if isinstance(body, SpecIR):
        return read_forward(body.target)
    if body is None or body.return_kind == "block":
        return None
    return CallSignature(body.inputs, body.inputs, frozenset(body.inputs))
