"""A component that the file uses and whose import must fail: said by the check, from source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trainer_core import load_experiment
from trainer_core.discovery.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from policy_constructor.errors import Problem

LOSSES, BLOCKS, OPS = (
    "trainer_core.losses",
    "policy_constructor.blocks",
    "policy_constructor.ops",
)


@pytest.fixture
def wheel(fake_wheel: Callable[..., Path]) -> Path:
    """A wheel whose components are broken, each in its way."""
    losses = {"gone": "kot_gone:Loss", "crooked": "kot_crooked:Loss", "misspelt": "kot_right:Los"}
    groups = {LOSSES: losses, BLOCKS: {"net": "kot_gone:Net"}, OPS: {"half": "kot_gone:half"}}
    modules = {"kot_crooked.py": "def broken(:\n", "kot_right.py": "class Loss: ...\n"}
    return fake_wheel("kot", groups, modules, version="1.2")


def broken(file: Path, overrides: Sequence[str]) -> list[Problem]:
    found = load_experiment(file, overrides, strict=False).problems
    return [problem for problem in found if problem.code == "broken-component"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "there is no module 'kot_gone'"),
        ("crooked", "{site}/kot_crooked.py:1 has a syntax error: invalid syntax"),
        ("misspelt", "there is no 'Los' in kot_right; did you mean 'Loss'?"),
    ],
)
def test_broken_loss_is_an_error_with_wheel_and_cure(
    name: str, reason: str, experiment_file: Path, wheel: Path
) -> None:
    (problem,) = broken(experiment_file, [f"loss._type_={name}"])
    expected = f"loss {name!r} of kot 1.2 cannot be used: " + reason.format(site=wheel)
    assert (problem.path, problem.message) == ("loss._type_", expected)
    assert problem.notes[0] == "mend or upgrade it: pip install --upgrade 'kot'"


def test_broken_block_is_an_error_where_it_is_used(experiment_file: Path, wheel: Path) -> None:
    assert wheel.is_dir()
    (problem,) = broken(experiment_file, ["model={_merge_: replace, _value_: {_type_: net}}"])
    assert problem.path == "model._type_"
    assert problem.message == "block 'net' of kot 1.2 cannot be used: there is no module 'kot_gone'"


def test_broken_op_is_an_error_where_it_is_called(experiment_file: Path, wheel: Path) -> None:
    assert wheel.is_dir()
    step = "{name: h, call: op:half, args: [$x]}"
    graph = "{inputs: [x], nodes: [" + step + "], outputs: [$h]}"
    (problem,) = broken(
        experiment_file, ["model={_merge_: replace, _value_: {graph: " + graph + "}}"]
    )
    assert problem.path == "model.graph.nodes.0.call"
    assert problem.message == "op 'half' of kot 1.2 cannot be used: there is no module 'kot_gone'"


def test_broken_components_that_are_not_used_are_silent(experiment_file: Path, wheel: Path) -> None:
    assert wheel.is_dir()
    loaded = load_experiment(experiment_file, strict=False)
    assert (loaded.problems, loaded.warnings) == ([], [])


def test_editable_wheel_without_its_folder_says_so(
    experiment_file: Path, wheel: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    origin = {"url": gone.as_uri(), "dir_info": {"editable": True}}
    (wheel / "kot-1.2.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    (problem,) = broken(experiment_file, ["loss._type_=gone"])
    reason = f"it was installed from {gone}, which is gone"
    assert problem.message == f"loss 'gone' of kot 1.2 cannot be used: {reason}"
    assert problem.notes[0] == "bring that folder back, or: pip uninstall 'kot'"


def test_misspelt_component_of_an_absent_wheel_of_ours_names_the_wheel(
    experiment_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = discover()
    left = [record for record in plugins.entry_points if record.dist != "trainer-ddp"]
    monkeypatch.setattr(plugins, "entry_points", left)
    plugins.registries = plugins._build()
    loaded = load_experiment(
        experiment_file, ["runner={_type_: dpp}"], plugins=plugins, strict=False
    )
    (problem,) = loaded.problems
    hint = "'ddp' comes with another wheel: pip install 'trainer-ddp'"
    assert problem.message == f"unknown runner 'dpp'; {hint}"
