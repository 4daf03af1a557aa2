"""What both runners are told about their cluster, and what is wrong with that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.distributed.options import RunnerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.distributed.options import Fault

__all__ = ["ClusterOptions"]

_ADDRESS = re.compile(r"(ray://)?(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535
_RUNTIME_ENV = (
    "conda",
    "config",
    "container",
    "env_vars",
    "excludes",
    "image_uri",
    "java_jars",
    "nsight",
    "pip",
    "py_executable",
    "py_modules",
    "uv",
    "working_dir",
    "worker_process_setup_hook",
)


@dataclass(frozen=True)
class ClusterOptions(RunnerOptions):
    """Where the cluster is, and what its processes need.

    Attributes:
        address: A running cluster; empty: a new one on this machine.
        connect_timeout_s: How long to wait for the cluster, in seconds.
        runtime_env: Ray's description of what the workers need.
    """

    address: str = ""
    connect_timeout_s: float = 60.0
    runtime_env: dict[str, Any] = field(default_factory=dict)

    def faults(self) -> Iterator[Fault]:
        """Yield what no cluster could do."""
        yield from super().faults()
        yield from self.no_times(("connect_timeout_s",))
        if not _is_address(self.address):
            what = f"address is 'auto', 'host:port' or 'ray://host:port', not {self.address!r}"
            yield ("address",), what
        for key in self.runtime_env:
            near = () if key in _RUNTIME_ENV else nearest(str(key), _RUNTIME_ENV)
            if near:  # others may be of Ray's plugins
                what = f"Ray has no {key!r} in a runtime_env{did_you_mean(near)}"
                yield ("runtime_env", key), what
        variables = self.runtime_env.get("env_vars")
        for name, value in variables.items() if isinstance(variables, Mapping) else ():
            if not isinstance(value, str):
                place = ("runtime_env", "env_vars", name)
                yield place, f"an environment variable is a text: write {str(value)!r}"


def _is_address(text: str) -> bool:
    if text in {"", "auto"}:
        return True
    found = _ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found["port"]) <= _LAST_PORT
