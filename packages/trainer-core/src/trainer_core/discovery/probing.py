"""Imports components in processes of their own: what they do there harms nobody else.

A process takes the components of one wheel, one after the other, and reports each on a line of its
own. One that hangs or ends the process is reported, and another process goes on with the rest.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from policy_constructor.discovery.component import ComponentRef
from trainer_core.discovery.names import PROTOCOLS
from trainer_core.discovery.plugins import protocol_check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["HEAVY", "Outcome", "probe", "serve"]

HEAVY = ("jax", "matplotlib", "numpy", "pandas", "pydantic", "ray", "rich", "tensorflow", "torch")
"""Packages whose import takes a noticeable time."""

_COMMAND = "from trainer_core.discovery.probing import serve; serve()"


class Outcome(NamedTuple):
    """What the import of one component came to.

    Attributes:
        ref: The component.
        status: `ok`, `broken` (it cannot be imported) or `protocol` (it is not what it claims).
        message: What is wrong; empty if nothing is.
        seconds: How long its import took, after those before it in the same wheel.
        heavy: Which packages of `HEAVY` it brought in.
        hooks: Which hooks it implements.
    """

    ref: ComponentRef
    status: str
    message: str = ""
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()


def probe(refs: Iterable[ComponentRef], timeout_s: float) -> list[Outcome]:
    """Import components, the wheels side by side; return the outcomes in the order of `refs`.

    Args:
        refs: What to import; a module without an attribute is imported only.
        timeout_s: How long one component may take.
    """
    wanted = list(refs)
    by_wheel: dict[str, list[ComponentRef]] = {}
    for ref in wanted:
        by_wheel.setdefault(ref.dist, []).append(ref)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        done = pool.map(lambda refs: _probe_wheel(refs, timeout_s), by_wheel.values())
        outcomes = {outcome.ref: outcome for wheel in done for outcome in wheel}
    return [outcomes[ref] for ref in wanted]


def serve() -> None:
    """Be the process: read what to import from stdin, write an outcome for each to stdout."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a plugin prints must not end up among the reports
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    for fields in request["refs"]:
        report.write(json.dumps(_import(ComponentRef(*fields))) + "\n")
        report.flush()
    os._exit(0)  # threads that a plugin left running do not keep the process


def _probe_wheel(refs: Sequence[ComponentRef], timeout_s: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(outcomes) < len(refs):
        outcomes += _probe_in_one_process(refs[len(outcomes) :], timeout_s)
    return outcomes


def _probe_in_one_process(refs: Sequence[ComponentRef], timeout_s: float) -> list[Outcome]:
    """Return the outcomes up to the last one, or to the first that ends or hangs the process."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and no words of others
        [sys.executable, "-c", _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        request = json.dumps({"path": sys.path, "refs": [list(ref) for ref in refs]})
        process.stdin.write(request.encode())
        process.stdin.close()
        outcomes: list[Outcome] = []
        for ref in refs:
            line = _read_line(process.stdout, timeout_s)
            if line is None:
                message = f"its import did not end within {timeout_s:g} s"
                return [*outcomes, Outcome(ref, "broken", message)]
            if not line:
                message = f"its import ended the process with exit code {process.wait()}"
                return [*outcomes, Outcome(ref, "broken", message)]
            outcomes.append(_outcome(ref, json.loads(line)))
        return outcomes
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _read_line(stream: IO[bytes], timeout_s: float) -> bytes | None:
    """Return the next line, empty at the end of the stream; None if it does not come in time."""
    until = time.monotonic() + timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                return None
            part = os.read(stream.fileno(), 1)
            if not part:
                return b""
            line += part
    return line


def _outcome(ref: ComponentRef, found: dict[str, Any]) -> Outcome:
    return Outcome(
        ref,
        found["status"],
        found["message"],
        found["seconds"],
        tuple(found["heavy"]),
        tuple(found["hooks"]),
    )


def _import(ref: ComponentRef) -> dict[str, Any]:
    """Import one component in this process and describe what came of it."""
    before = set(sys.modules)
    began = time.perf_counter()
    status, message = "ok", ""
    hooks: tuple[str, ...] = ()
    try:
        found = _load(ref)
    except BaseException as error:  # noqa: BLE001 - a stranger's module may do anything
        status, message = "broken", f"{type(error).__name__}: {error}"
    else:
        message, hooks = _examine(ref, found)
        status = "protocol" if message else "ok"
    return {
        "status": status,
        "message": message,
        "seconds": time.perf_counter() - began,
        "heavy": [name for name in HEAVY if name in sys.modules and name not in before],
        "hooks": hooks,
    }


def _load(ref: ComponentRef) -> Any:
    found: Any = import_module(ref.module)
    for name in ref.attr.split(".") if ref.attr else ():
        found = getattr(found, name)
    return found


def _examine(ref: ComponentRef, found: Any) -> tuple[str, tuple[str, ...]]:
    """Return what keeps an imported object from being of its kind, and the hooks it implements."""
    if ref.kind == "hook":
        from trainer_core.discovery.hooking import implemented_hooks  # noqa: PLC0415 - costs pluggy

        try:
            return "", implemented_hooks(found)
        except Exception as error:  # noqa: BLE001 - a stranger's object
            return f"{type(error).__name__}: {error}", ()
    if ref.kind in PROTOCOLS:
        return protocol_check(ref.kind)(found) or "", ()
    must_be_called = ref.attr and ref.kind != "recipe"
    return ("" if not must_be_called or callable(found) else f"{found!r} cannot be called"), ()
