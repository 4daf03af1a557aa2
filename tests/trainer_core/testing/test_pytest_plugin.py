"""`pytest --trainer-conformance=DIST`: what it collects and says, and what it costs the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "numpy", "pydantic", "yaml", "policy_constructor")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run pytest in the test's folder; return its exit code and all it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        code = pytest.main(["-q", "-p", "no:cacheprovider", *arguments])
        printed = capsys.readouterr()
        return int(code), printed.out + printed.err

    return run


def test_unrelated_run_imports_nothing_of_ours_but_the_plugin(tmp_path: Path) -> None:
    plugin = "trainer_core.testing.pytest_plugin"
    code = (
        f"import pytest, sys; pytest.main(['--co', '-q', '-p', '{plugin}'])\n"
        "ours = {name for name in sys.modules if name.startswith('trainer_core')}\n"
        f"print(sorted(ours | set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # what others import is theirs
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == str(["trainer_core", "trainer_core.testing", plugin])


def test_option_checks_each_component_of_the_wheel(tmp_path: Path, run_pytest: Run) -> None:
    (tmp_path / "test_unrelated.py").write_text("def test_unrelated() -> None: ...\n")
    code, text = run_pytest("--trainer-conformance=trainer-ray", "--co")
    assert code == 0, text
    for check in (
        "Test_runner_ray::test_tc080_trains_as_the_local_runner_does",
        "Test_runner_ray_online::test_tc082_refusal_is_the_users_to_read",
    ):
        assert f"conformance/trainer-ray::{check}" in text
    assert "test_unrelated" not in text


def test_paths_are_run_besides_the_checks(tmp_path: Path, run_pytest: Run) -> None:
    (tmp_path / "test_mine.py").write_text("def test_mine() -> None: ...\n")
    wheel = "--trainer-conformance=trainer-ddp"
    _, text = run_pytest(wheel, "test_mine.py", "-k", "mine or tc008")
    assert "2 passed" in text, text


def test_file_in_the_folder_counts_before_the_one_of_the_wheel(
    tmp_path: Path, run_pytest: Run
) -> None:
    (tmp_path / "conformance.yaml").write_text("runner.ray_online: {refuses: another reason}\n")
    check = "Test_runner_ray_online and tc082"
    code, text = run_pytest("--trainer-conformance=trainer-ray", "-k", check)
    assert code == 1
    assert "Test_runner_ray_online::test_tc082_refusal_is_the_users_to_read" in text
    assert "not 'another reason'" in text


def test_run_names_what_it_left_out(run_pytest: Run) -> None:
    _, text = run_pytest("--trainer-conformance=trainer-core", "-k", "nothing")
    assert "log.wandb TC065, TC066, TC067: checked in a process of its own" in text
    assert "optim_cls.*: the kit has no checks for its kind" in text


def test_component_without_values_is_named_and_not_failed(tmp_path: Path, run_pytest: Run) -> None:
    (tmp_path / "conformance.yaml").write_text("")
    code, text = run_pytest("--trainer-conformance=policy-constructor", "-k", "mlp or op_add")
    assert code == 0, text
    numbers = "TC005, TC006, TC009, TC070, TC071, TC072"
    assert f"block.mlp {numbers}: it needs dims; give small values: params: {{...}}" in text
    assert "op.add TC086: say what it takes: inputs: [[2, 3], [2, 3]]" in text


def test_processes_of_xdist_report_what_was_left_out(tmp_path: Path) -> None:
    arguments = ["--trainer-conformance=policy-constructor", "-n", "1", "-k", "op_add", "-q"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("block.nn.*: the kit has no checks for its kind") == 1


def test_checks_are_done_in_the_folder_that_prepare_wrote(run_pytest: Run) -> None:
    code, text = run_pytest("--trainer-conformance=experiments-il", "-k", "data_lerobot and tc03")
    assert code == 0, text
    assert "4 passed" in text


def test_unknown_wheel_is_a_usage_error(tmp_path: Path, run_pytest: Run) -> None:
    code, text = run_pytest("--trainer-conformance=trainer-dpd")
    assert code == 4
    message = "no installed wheel 'trainer-dpd' declares a component; did you mean 'trainer-ddp'?"
    assert f"ERROR: --trainer-conformance: {message}" in text


def test_misspelt_component_of_the_settings_is_named(tmp_path: Path, run_pytest: Run) -> None:
    (tmp_path / "conformance.yaml").write_text("runner.dpd: {}\n")
    _, text = run_pytest("--trainer-conformance=trainer-ddp")
    assert "unknown component 'runner.dpd'; did you mean 'runner.ddp'?" in text
