"""`pytest --trainer-conformance=DIST`: the checks of every component that a wheel declares.

pytest loads this module in every run of every environment that has trainer-core. It imports
nothing but pytest; the rest is imported when the option is given.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

__all__: list[str] = []

_OPTION, _FILE_OPTION, _FILE = "trainer_conformance", "trainer_conformance_file", "conformance.yaml"
_LEFT_OUT = pytest.StashKey[list[str]]()
_WORKERS_KEY = "trainer_conformance_left_out"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    group = parser.getgroup("trainer-core")
    group.addoption(
        "--trainer-conformance",
        dest=_OPTION,
        metavar="DIST",
        action="append",
        default=[],
        help="check the components of an installed wheel, and run only that if no path is given",
    )
    group.addoption(
        "--trainer-conformance-file",
        dest=_FILE_OPTION,
        metavar="FILE",
        help=f"parameters for the checks, by component (default: {_FILE} in the root folder, "
        "else the one in the wheel's package)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect nothing else unless paths are given."""
    if config.getoption(_OPTION) and config.args_source is not config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the checks before others choose among the items."""
    left_out: list[str] = []
    for dist in config.getoption(_OPTION):
        module, lines = _make_module(session, config, dist)
        left_out += lines
        items.extend(item for item in session.genitems(module) if isinstance(item, pytest.Item))
    config.stash[_LEFT_OUT] = left_out


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send what was left out from a process of pytest-xdist to the one that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKERS_KEY] = session.config.stash.get(_LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of pytest-xdist left out; all of them collect the same."""
    lines = getattr(node, "workeroutput", {}).get(_WORKERS_KEY, [])
    node.config.stash[_LEFT_OUT] = lines or node.config.stash.get(_LEFT_OUT, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which checks the wheel declares not to hold, and what has no checks."""
    lines = config.stash.get(_LEFT_OUT, [])
    if lines:
        terminalreporter.section("not checked by the conformance kit")
        for line in lines:
            terminalreporter.write_line(line)


class _ConformanceModule(pytest.Module):
    """A module that exists only as the classes of checks of one wheel."""

    classes: dict[str, type]

    def _getobj(self) -> ModuleType:
        module = ModuleType(self.name)
        vars(module).update(self.classes)
        return module


def _make_module(
    session: pytest.Session, config: pytest.Config, dist: str
) -> tuple[pytest.Collector, list[str]]:
    from trainer_core.testing.collection import collect  # noqa: PLC0415 - only with the option

    given = config.getoption(_FILE_OPTION)
    file = Path(given) if given else config.rootpath / _FILE
    try:
        collected = collect(dist, file if given or file.is_file() else None)
    except (OSError, ValueError) as error:
        message = f"--trainer-conformance: {error}"
        raise pytest.UsageError(message) from error
    module = _ConformanceModule.from_parent(
        session, path=config.rootpath / dist, nodeid=f"conformance/{dist}", name=dist
    )
    module.classes = dict(collected.classes)
    return module, collected.left_out
