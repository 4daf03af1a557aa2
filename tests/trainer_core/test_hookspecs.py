from __future__ import annotations

import inspect
from pathlib import Path

import pluggy
import pytest

from trainer_core import hookimpl, hookspecs

HOOKS = [name for name in hookspecs.__all__ if name.startswith("trainer_")]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "hooks.md"


@pytest.mark.parametrize("name", HOOKS)
def test_reference_lists_hook_with_its_arguments(name: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)

    assert f"## `{name}({arguments})`" in REFERENCE.read_text()


def test_reference_lists_no_other_hooks() -> None:
    assert REFERENCE.read_text().count("\n## `trainer_") == len(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented_in_source(name: str) -> None:
    assert inspect.getdoc(getattr(hookspecs, name))


def test_implementation_takes_a_subset_of_arguments() -> None:
    class Callback:
        @hookimpl
        def trainer_fit_end(self, status: str) -> str:
            return status

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Callback())

    assert manager.hook.trainer_fit_end(state=None, status="completed") == ["completed"]


def test_first_answer_selects_the_runner() -> None:
    class Silent:
        @hookimpl(tryfirst=True)
        def trainer_select_runner(self) -> None:
            return None

    class Chooser:
        @hookimpl
        def trainer_select_runner(self) -> str:
            return "ddp"

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Silent())
    manager.register(Chooser())

    assert manager.hook.trainer_select_runner(config=None) == "ddp"
