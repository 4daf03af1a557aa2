"""What is refused before a worker starts, each with its reason."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

import trainer_core
from policy_constructor.errors import ConfigError
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.protocols import Runner
from trainer_ray.runner import RayRunner

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 90


def test_the_ray_runner_fits_the_protocol() -> None:
    assert isinstance(RayRunner(), Runner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_workers": 0}, "num_workers is a number of at least 1, not 0"),
        ({"max_failures": -1}, "max_failures is a number of at least 0, not -1"),
        ({"placement": "NEAR"}, "placement is PACK or SPREAD or STRICT_PACK or STRICT_SPREAD, "),
        ({"resources_per_worker": {"CPU": "two"}}, "resources_per_worker.CPU is a number, not "),
        ({"connect_timeout_s": 0}, "connect_timeout_s must be positive, not 0"),
        ({"strategy": "fsdp"}, "strategy: fsdp needs at least two workers"),
        ({"fsdp_wrap": {"a": ["*"]}}, "fsdp_wrap is a key of strategy: fsdp, and this is ddp"),
        ({"resources_per_worker": {}}, "a worker takes something of its machine: "),
    ],
)
def test_what_no_cluster_could_do_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        RayRunner(**given).run(experiment=None)  # type: ignore[arg-type] # refused before
    assert str(caught.value).startswith(f"runner ray: {message}")


NO_URL = "is no folder and no URL that fsspec knows"
REFUSED = {
    "resources_per_worker={CPU: -1}": (
        "resources_per_worker.CPU",
        "resources_per_worker.CPU is 0 or at least 0.0001, not -1",
    ),
    "resources_per_worker={CPU: 0}": (
        "resources_per_worker",
        "a worker takes something of its machine: resources_per_worker.CPU is positive",
    ),
    "resources_per_worker={GPU: 1}": (
        "resources_per_worker.GPU",
        "resources_per_worker.GPU: 1 needs use_gpu: true",
    ),
    "resources_per_worker={TPU: 1}": (
        "resources_per_worker.TPU",
        "the runner ray trains on CPUs and CUDA devices, on no TPU",
    ),
    "use_gpu=true runner.resources_per_worker={GPU: 0}": (
        "resources_per_worker.GPU",
        "use_gpu: true takes a GPU, and resources_per_worker.GPU is 0",
    ),
    "use_gpu=true runner.resources_per_worker={GPU: 1.5}": (
        "resources_per_worker.GPU",
        "resources_per_worker.GPU above 1 is a whole number, not 1.5",
    ),
    "backend=nccl": ("backend", "backend: nccl needs use_gpu: true"),
    "fsdp_wrap={model: ['*']}": (
        "fsdp_wrap",
        "fsdp_wrap is a key of strategy: fsdp, and this is ddp",
    ),
    "strategy=fsdp runner.num_workers=1": (
        "strategy",
        "strategy: fsdp needs at least two workers",
    ),
    "connect_timeout_s=.inf": (
        "connect_timeout_s",
        "connect_timeout_s is at most 1e+09 seconds, not inf",
    ),
    "address=head": (
        "address",
        "address is 'auto', 'host:port' or 'ray://host:port', not 'head'",
    ),
    "address='head:99999'": (
        "address",
        "address is 'auto', 'host:port' or 'ray://host:port', not 'head:99999'",
    ),
    "runtime_env={env_var: {A: b}}": (
        "runtime_env.env_var",
        "Ray has no 'env_var' in a runtime_env; did you mean 'env_vars'?",
    ),
    "runtime_env={env_vars: {A: 1}}": (
        "runtime_env.env_vars.A",
        "an environment variable is a text: write '1'",
    ),
    "storage=s9://bucket/run": (
        "storage",
        f"storage: 's9://bucket/run' {NO_URL}: Protocol not known: s9",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_the_check_of_a_file_names_the_place(experiment_alone: dict[str, Any], change: str) -> None:
    changes = [f"runner.{part}" for part in change.split(" runner.")]
    (problem,) = load_experiment(experiment_alone, changes, strict=False).problems
    path, message = REFUSED[change]
    assert (problem.path, problem.message) == (f"runner.{path}", message)
    assert problem.location is not None


def _run(experiment: dict[str, Any], folder: Path, before: str = "", **environment: str) -> str:
    """Run an experiment in a process of its own that refuses it; return what it says."""
    config = folder / "cfg.yaml"
    config.write_text(json.dumps(experiment))
    program = "import runpy; runpy.run_module('trainer_core', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{program}", "run", str(config)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr  # Ray may add lines of its own
    return said[0]


def test_an_address_without_a_cluster_is_named(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"] |= {"address": "127.0.0.1:9", "connect_timeout_s": 1}
    assert _run(experiment_alone, tmp_path) == (
        "error: runner ray: there is no Ray cluster at address '127.0.0.1:9': nobody answers in "
        "1 s, or nobody who takes this process's token (RAY_AUTH_MODE=token, and the cluster's "
        "RAY_AUTH_TOKEN); `ray status` shows a running one, and without `address` the run has one "
        "of its own"
    )


def test_a_process_without_a_token_is_told_where_to_put_one(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"]["address"] = "127.0.0.1:9"
    home = {"RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    assert _run(experiment_alone, tmp_path, **home) == (
        "error: runner ray: the cluster at '127.0.0.1:9' asks for a token, and this process has "
        "none that it takes: put the cluster's into RAY_AUTH_TOKEN or ~/.ray/auth_token (`ray "
        "get-auth-token` shows that of a machine)"
    )


def test_a_cluster_of_another_version_is_told_from_none(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    line = _run(experiment, tmp_path, before="import ray; ray.__version__ = '2.1.0'")
    python, own = platform.python_version(), version("ray")
    address = experiment["runner"]["address"]
    assert line == (
        f"error: runner ray: the cluster at {address!r} has Ray: {own}, Python: {python}, and this "
        f"process has Ray: 2.1.0, Python: {python}: both have to be the same"
    )


@pytest.mark.slow
def test_a_cluster_with_another_token_does_not_answer(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    line = _run(experiment, tmp_path, RAY_AUTH_TOKEN="0" * 64)
    address = experiment["runner"]["address"]
    assert line == (
        f"error: runner ray: there is no Ray cluster at address {address!r}: nobody answers there "
        "to this process's token (RAY_AUTH_TOKEN); `ray status` shows a running one, and without "
        "`address` the run has one of its own"
    )


def test_a_foreign_machine_without_authentication_is_refused(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"]["address"] = "10.1.2.3:6379"
    assert _run(experiment_alone, tmp_path, RAY_AUTH_MODE="disabled") == (
        "error: runner ray: RAY_AUTH_MODE is not 'token', and 10.1.2.3 is not the loopback "
        "interface: whoever reaches a Ray port there runs code; start the cluster and this run "
        "with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes the token)"
    )


def test_without_ray_the_message_names_the_command() -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from trainer_ray.runner import RayRunner\n"
        "try:\n    RayRunner().run(None)\n"
        "except Exception as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (
        done.stdout.strip()
        == "runner ray needs a package that is not installed: pip install 'ray[train]'"
    )


def test_workers_that_can_never_be_placed_are_refused_at_once(experiment: dict[str, Any]) -> None:
    experiment["runner"] |= {"num_workers": 3, "resources_per_worker": {"CPU": 4}}
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(experiment)
    (problem,) = caught.value.problems
    message = problem.message
    assert problem.path == "runner.num_workers"
    assert "num_workers: 3 with resources_per_worker {CPU: 4} do not fit" in message
    assert "the cluster has room for 2 (" in message
    assert "has CPU: 8)" in message


def test_workers_on_more_machines_than_there_are_are_refused_at_once(
    experiment: dict[str, Any],
) -> None:
    experiment["runner"] |= {"placement": "STRICT_SPREAD"}
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(experiment)
    said = "num_workers: 2 with resources_per_worker {CPU: 1} and placement: STRICT_SPREAD do not"
    assert f"{said} fit: the cluster has room for 1 (" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"pip": 5}, "runtime_env['pip']"), ({"working_dir": "/no/such"}, "/no/such")],
)
def test_what_ray_refuses_of_an_environment_is_told(
    experiment: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], reason: str
) -> None:
    experiment["runner"]["runtime_env"] = wrong
    line = _run(experiment, tmp_path)
    assert line.startswith("error: runner ray: Ray refuses runtime_env: ")
    assert reason in line


@pytest.mark.parametrize("command", [["--help"], ["plugins", "list"], ["check"]])
def test_commands_that_only_read_do_not_import_ray(
    command: list[str], experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment_alone))
    arguments = [*command, str(config)] if command == ["check"] else command
    program = (
        "import atexit, sys\nfrom trainer_core.cli import main\n"
        "names = ('ray', 'torch', 'trainer_ray.cluster', 'trainer_ray.worker')\n"
        "atexit.register(lambda: print([name for name in names if name in sys.modules]))\n"
        f"sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
