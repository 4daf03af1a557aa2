"""CPU time of the commands that read only, against an interpreter that does nothing.

    python benchmarks/startup.py [ROUNDS]

Fresh processes, interleaved so that a busy machine slows all alike; medians of user + system time.
"200" has 200 further distributions on the path, 20 of them plugins with five components each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

EXPERIMENT = """\
run: {name: startup, out_dir: runs/startup}
model:
  sequential:
    inputs: [x]
    layers:
      - {_type_: nn.Linear, in_features: 8, out_features: 64}
      - {_type_: nn.ReLU}
      - {_type_: nn.Linear, in_features: 64, out_features: 1}
data: {_type_: random_regression, x_shape: [8], y_shape: [1], batch_size: 32}
io: {_type_: mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
loss: {_type_: torch, fn: {_type_: nn.MSELoss}}
optimizer: {_type_: optim_cls.AdamW, lr: 1e-3}
scheduler: {_type_: torch, type: CosineAnnealingLR}
trainer: {_type_: default, max_steps: 1000}
callbacks: [{_type_: ema}, {_type_: model_checkpoint}]
"""
RECIPES = ("il/pick_place", "il/vfp_small")  # the first one met, and the largest
CLI = "import sys; from trainer_core.cli import main; sys.exit(main())"
IMPORTS = "import pydantic, yaml"
TARGETS = {"--help": 7.0, "plugins list": 7.0, "plugins list, 200": 7.0}


def write_distributions(folder: Path, count: int) -> None:
    """Write installed distributions: a quarter have entry points, every tenth is a plugin."""
    for number in range(count):
        info = folder / f"package{number}-1.{number}.dist-info"
        info.mkdir(parents=True)
        requires = "Requires-Dist: numpy\nRequires-Dist: trainer-core>=0.1,<1\n"
        (info / "METADATA").write_text(f"Name: package{number}\nVersion: 1.{number}\n{requires}")
        if number % 10 == 0:
            keys = "\n".join(f"key{number}_{i} = package{number}:X{i}" for i in range(5))
            (info / "entry_points.txt").write_text(f"[trainer_core.losses]\n{keys}\n")
        elif number % 4 == 0:
            (info / "entry_points.txt").write_text("[console_scripts]\ntool = package:main\n")


def cpu_seconds(command: list[str], path: str | None, compiled: str) -> float:
    """Return the CPU time of one fresh process.

    Args:
        command: What it runs.
        path: A folder of distributions on its path.
        compiled: Folder of compiled modules, as an installed package has them.
    """
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables |= {"PYTHONPATH": path} if path else {}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=variables
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        message = process.stderr.read().decode() if process.stderr else ""
        sys.exit(f"{' '.join(command)} failed: {message}")
    if process.stderr:
        process.stderr.close()
    return usage.ru_utime + usage.ru_stime


def main(rounds: int) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder) / "experiment.yaml"
        experiment.write_text(EXPERIMENT)
        crowd = str(Path(folder) / "site")
        write_distributions(Path(crowd), 200)
        python = [sys.executable]
        commands = {
            "python -c pass": [*python, "-c", "pass"],
            IMPORTS: [*python, "-c", "import pydantic, yaml"],
            "--help": [*python, "-c", CLI, "--help"],
            "--version": [*python, "-c", CLI, "--version"],
            "plugins list": [*python, "-c", CLI, "plugins", "list"],
            "plugins list, 200": [*python, "-c", CLI, "plugins", "list", "--json"],
            "config show": [*python, "-c", CLI, "config", "show", str(experiment)],
            "check": [*python, "-c", CLI, "check", str(experiment)],
            "check, 200": [*python, "-c", CLI, "check", str(experiment)],
        }
        for recipe in RECIPES:
            commands |= {
                f"check {recipe}{crowded}": [*python, "-c", CLI, "check", recipe]
                for crowded in ("", ", 200")
            }
        times: dict[str, list[float]] = {name: [] for name in commands}
        compiled = str(Path(folder) / "compiled")
        for number in range(rounds + 1):
            for name, command in commands.items():
                path = crowd if name.endswith("200") else None
                seconds = cpu_seconds(command, path, compiled)
                if number:  # the first process of each kind compiles the modules
                    times[name].append(seconds)
    imports = statistics.median(times[IMPORTS])
    bare = statistics.median(times["python -c pass"])
    print(
        f"{'command':<26}{'CPU ms':>8}{'x bare':>8}{'goal':>8}{'x imports':>11}{'goal':>8}"
        f"   (median of {rounds})"
    )
    for name, measured in times.items():
        median = statistics.median(measured)
        goal = f"<= {TARGETS[name]:g}" if name in TARGETS else ""
        most = "<= 4" if name.startswith("check") else ""
        print(
            f"{name:<26}{median * 1e3:>8.1f}{median / bare:>8.2f}{goal:>8}"
            f"{median / imports:>11.2f}{most:>8}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
