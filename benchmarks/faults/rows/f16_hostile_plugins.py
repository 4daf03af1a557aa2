"""F16: installed wheels that are broken or hostile."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.faults import runs
from benchmarks.faults.forks import run_forked
from benchmarks.faults.table import Tally

from trainer_core.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "broken wheel: every command survives and names it"
MODULES = {
    "raising": "raise RuntimeError('no')\n",
    "exiting": "raise SystemExit(3)\n",
    "ending": "import os\nos._exit(7)\n",
    "endless": "while True:\n    pass\n",
    "crooked": "def broken(:\n",
    "recursive": "def f(): f()\nf()\n",
    "empty": "",
    "no_protocol": "class Odd: ...\n",
    "noisy": "import sys\nprint('x' * 100000)\nsys.stderr.write('y')\nclass Odd: ...\n",
    "twin": "class Odd:\n    def build(self): ...\n",
}
COMMANDS = {
    "plugins list": ["plugins", "list"],
    "check": ["check", "exp.json"],
    "plugins check": ["plugins", "check", "WHEEL", "--timeout", "3"],
    "use it": ["check", "use.json"],
}


def run(budget: Budget) -> RowResult:
    """Install each wheel alone and run each command in a process of its own."""
    cases = [(module, command) for module in MODULES for command in COMMANDS]
    tally = Tally("F16", TITLE, len(cases))
    for module, command in budget.sample(cases, least=4):
        if not budget.has_time():
            break
        folder = budget.folder / f"{module}-{command.replace(' ', '-')}"
        _install(folder, module)
        log = folder / "log.txt"
        wheel = f"zoo-{module.replace('_', '-')}"
        arguments = [wheel if word == "WHEEL" else word for word in COMMANDS[command]]
        code = run_forked(partial(_run, folder, arguments), log)
        tally.add(_judge(module, command, code, log.read_text()), f"{module}, trainer {command}")
    return tally.result("loading, exiting, hanging, lying and duplicate wheels")


def _install(folder: Path, module: str) -> None:
    wheel = f"zoo-{module.replace('_', '-')}"
    info = folder / f"{wheel.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 1.0\n")
    key = "torch" if module == "twin" else f"zoo_{module}"
    entry = f"[trainer_core.losses]\n{key} = zoo_{module}:Odd\n"
    (info / "entry_points.txt").write_text(entry)
    (folder / f"zoo_{module}.py").write_text(MODULES[module])
    config = runs.small_run()
    config["loss"]["_type_"] = "trainer-core::torch"
    (folder / "exp.json").write_text(json.dumps(config))
    config["loss"] = {"_type_": f"{wheel}::{key}"}
    (folder / "use.json").write_text(json.dumps(config))


def _run(folder: Path, arguments: list[str]) -> int:
    sys.path.insert(0, str(folder))
    changed = [str(folder / word) if word.endswith(".json") else word for word in arguments]
    return main(changed)


def _judge(module: str, command: str, code: int, output: str) -> str:
    """Say what went wrong; whether a wheel is at fault shows only where it is imported."""
    if code not in {0, 1, 2}:
        return f"it ended with {code}: {output[-300:]}"
    if "Traceback" in output:
        return f"a traceback: {output[-300:]}"
    if command == "check" and code:
        return f"a file that does not use it was refused: {output[-300:]}"
    if command == "plugins check" and f"zoo-{module.replace('_', '-')}" not in output:
        return "it was not named"
    return ""
