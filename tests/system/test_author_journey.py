"""A stranger's whole way: new package, edit, wheel, install, check, kit, run, uninstall."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.system.conftest import CleanEnvironment

WRITTEN = "(prediction - target).square().mean()"
EDITED = "nn.functional.huber_loss(prediction, target)"
EXPERIMENT = """\
schema_version: 1
run: {name: journey, out_dir: "runs/${run.name}", device: cpu}
model: {_type_: mlp, dims: [4, 8, 1]}
data: {_type_: random_regression, x_shape: [4], y_shape: [1], batch_size: 16}
io: {_type_: mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
loss: {_type_: huber, weight: 0.5}
optimizer: {_type_: optim_cls.AdamW, lr: 1e-2}
trainer: {_type_: default, max_steps: 20}
"""


def test_author_goes_from_nothing_to_a_run_and_back(
    workshop: CleanEnvironment, tmp_path: Path
) -> None:
    began_s = _cpu_of_children_s()
    before = _listed(workshop, tmp_path)

    _succeed(
        workshop.run("trainer", "plugins", "new", "acme-huber", "--kind", "loss", cwd=tmp_path)
    )
    project = tmp_path / "acme-huber"
    source = project / "src" / "acme_huber" / "losses.py"
    text = source.read_text(encoding="utf-8")
    assert WRITTEN in text
    source.write_text(text.replace(WRITTEN, EDITED), encoding="utf-8")

    workshop.build_and_install(project)
    row = {"kind": "loss", "key": "huber", "dist": "acme-huber", "version": "0.1.0"}
    row |= {"target": "acme_huber.losses:Huber", "status": "ok"}
    assert [plugin for plugin in _listed(workshop, tmp_path) if plugin not in before] == [row]
    _succeed(workshop.run("trainer", "plugins", "check", "acme-huber", cwd=tmp_path))

    by_name = "--trainer-conformance=acme-huber"
    kit = workshop.run("python", "-m", "pytest", "-v", by_name, "tests", cwd=project)
    for each in ("tests/test_huber.py::Test_loss_huber", "conformance/acme-huber::Test_loss_huber"):
        assert f"{each}::test_tc040_loss_is_a_finite_scalar PASSED" in _succeed(kit)

    (tmp_path / "cfg.yaml").write_text(EXPERIMENT, encoding="utf-8")
    _succeed(workshop.run("trainer", "run", "cfg.yaml", cwd=tmp_path))
    run = tmp_path / "runs" / "journey"
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert "acme-huber" in (run / "plugins.json").read_text()

    workshop.uninstall("acme-huber")
    assert _listed(workshop, tmp_path) == before
    refused = workshop.run("trainer", "check", "cfg.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "unknown loss 'huber'" in refused.stderr
    assert _cpu_of_children_s() - began_s < 60


def _listed(environment: CleanEnvironment, cwd: Path) -> list[dict[str, Any]]:
    done = environment.run("trainer", "plugins", "list", "--json", cwd=cwd)
    plugins: list[dict[str, Any]] = json.loads(done.stdout)["plugins"]
    return plugins


def _succeed(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed; it must have ended well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _cpu_of_children_s() -> float:
    """Return the processor time of all finished child processes, whatever else the machine does."""
    times = os.times()
    return times.children_user + times.children_system
