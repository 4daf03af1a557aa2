"""What a user gets from the wheels alone, outside the checkout."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import CleanEnvironment

EXPERIMENT = """\
schema_version: 1
run: {name: first, out_dir: "runs/${run.name}", device: cpu}
model: {sequential: {layers: [{_type_: mlp, dims: [8, 16, 4]}]}}
data: {_type_: random_regression, x_shape: [8], y_shape: [4], batch_size: 16}
io: {_type_: mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
loss: {_type_: torch, fn: {_type_: nn.MSELoss}}
optimizer: {_type_: torch, type: optim_cls.AdamW, kwargs: {lr: 1e-3}}
trainer: {_type_: default, max_steps: 20}
"""


@pytest.mark.parametrize("name", ["policy-constructor", "trainer-core", "experiments-il"])
def test_wheel_ships_types_and_licence(wheels: dict[str, Path], name: str) -> None:
    members = zipfile.ZipFile(wheels[name]).namelist()
    assert f"{name.replace('-', '_')}/py.typed" in members
    assert any(member.endswith("licenses/LICENSE") for member in members)


def test_wheel_of_recipes_ships_yaml(wheels: dict[str, Path]) -> None:
    members = zipfile.ZipFile(wheels["experiments-il"]).namelist()
    assert {"experiments_il/recipes/pick_place.yaml", "experiments_il/recipes/reach.yaml"} <= set(
        members
    )


def test_plugins_list_names_the_wheels(clean_environment: CleanEnvironment, tmp_path: Path) -> None:
    done = clean_environment.run("trainer", "plugins", "list", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plugins = json.loads(done.stdout)["plugins"]
    assert {p["dist"] for p in plugins} == {
        "policy-constructor",
        "trainer-core",
        "experiments-il",
    }
    assert {p["status"] for p in plugins} == {"ok"}


@pytest.mark.parametrize("recipe", ["il/pick_place", "il/reach"])
def test_packaged_recipe_checks_clean(
    clean_environment: CleanEnvironment, tmp_path: Path, recipe: str
) -> None:
    done = clean_environment.run("trainer", "check", recipe, "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"ok": True, "errors": [], "warnings": []}, done.stderr


def test_recipe_that_needs_another_wheel_says_how_to_install_it(
    clean_environment: CleanEnvironment, tmp_path: Path
) -> None:
    done = clean_environment.run("trainer", "check", "il/peg_insert_online", cwd=tmp_path)
    assert done.returncode == 2
    message = "unknown runner 'ray_online'; it comes with another wheel: pip install 'trainer-ray'"
    assert message in done.stderr


def test_console_script_trains_from_another_folder(
    clean_environment: CleanEnvironment, tmp_path: Path
) -> None:
    (tmp_path / "cfg.yaml").write_text(EXPERIMENT)
    done = clean_environment.run("trainer", "run", "cfg.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "first" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 20)


def test_constructor_builds_a_model_alone(
    constructor_alone: CleanEnvironment, tmp_path: Path
) -> None:
    model = {"sequential": {"layers": [{"_type_": "mlp", "dims": [8, 16, 4]}]}}
    code = (
        "import importlib.util, torch; from policy_constructor import build_model\n"
        "assert importlib.util.find_spec('trainer_core') is None\n"
        f"print(tuple(build_model({{'model': {model}}})(torch.zeros(2, 8)).shape))"
    )
    done = constructor_alone.run("python", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "(2, 4)", done.stderr
