"""What a command that only reads leaves out of the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import trainer_core
from trainer_core import api

EXPERIMENT = Path(__file__).parent / "data" / "experiment.yaml"
HEAVY = {"torch", "numpy", "rich", "wandb", "matplotlib", "pyarrow", "ray"}
LIGHT = HEAVY | {"experiments_il", "pydantic", "yaml", "pluggy", "importlib_metadata"}
COMMANDS = [
    (["--help"], LIGHT | {"argparse"}),
    (["--version"], LIGHT | {"argparse"}),
    (["plugins", "list"], LIGHT),
    (["plugins", "list", "--json"], LIGHT),
    (["config", "show", str(EXPERIMENT)], HEAVY | {"experiments_il", "pydantic", "pluggy"}),
    (["config", "show", str(EXPERIMENT), "--sources"], HEAVY | {"experiments_il", "pluggy"}),
    (["config", "explain", str(EXPERIMENT), "run.seed"], HEAVY | {"experiments_il", "pluggy"}),
    (["config", "schema"], HEAVY | {"experiments_il", "pluggy"}),
    (["config", "migrate", str(EXPERIMENT)], HEAVY | {"experiments_il", "pluggy"}),
    (["check", str(EXPERIMENT)], HEAVY | {"experiments_il", "pluggy"}),
    (["check", "il/pick_place"], HEAVY | {"pluggy"}),  # its data set names a light description
    (["check", "nothing.yaml"], HEAVY | {"experiments_il", "pluggy"}),
    (["ckpt", "ls", "nothing"], HEAVY | {"experiments_il", "pluggy"}),
    (["run", "--help"], HEAVY),
    (["run", str(EXPERIMENT), "run.seed=x"], HEAVY),
]
MODULES = [
    "trainer_core",
    "trainer_core.api",
    "trainer_core.cli",
    "trainer_core.experiment.loading",
    "trainer_core.hookspecs",
    "trainer_core.discovery.plugins",
    "trainer_core.protocols",
    "trainer_core.run",
    "trainer_core.experiment.schema",
    "policy_constructor",
    "policy_constructor.graph.compiler",
    "policy_constructor.config",
    "policy_constructor.discovery.registry",
    "policy_constructor.signatures.signature",
    "experiments_il",
    "trainer_ddp",
    "trainer_ray",
]
AFTER = "import json, sys; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh interpreter; return the top-level modules it leaves loaded."""
    command = [sys.executable, "-c", f"{code}\n{AFTER}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "forbidden"), COMMANDS, ids=[" ".join(c[:2]) for c, _ in COMMANDS]
)
def test_reading_command_imports_nothing_heavy(arguments: list[str], forbidden: set[str]) -> None:
    code = f"from trainer_core.cli import main\nmain({arguments!r})"

    assert loaded_after(code) & forbidden == set()


def test_importing_modules_imports_nothing_heavy() -> None:
    assert loaded_after("\n".join(f"import {name}" for name in MODULES)) & HEAVY == set()


def test_public_names_are_sorted_and_exist() -> None:
    names = trainer_core.__all__

    assert sorted(names) == names
    assert all(getattr(trainer_core, name) is not None for name in names)
    assert set(names) <= set(dir(trainer_core))


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'trainer_core' has no attribute 'rnu'"):
        trainer_core.rnu  # noqa: B018 - reading the attribute is what is tested


def test_run_stays_a_function_once_its_module_is_imported() -> None:
    from trainer_core.instantiate import instantiate
    from trainer_core.run import run

    assert trainer_core.run is run
    assert trainer_core.instantiate is instantiate


def test_contract_names_are_sorted_and_versioned() -> None:
    assert sorted(api.__all__) == api.__all__
    assert api.API_VERSION == "1.0"
