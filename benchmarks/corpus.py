"""Runs `trainer check` over damaged files in this process and judges what it says."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.damage import damaged
from benchmarks.mistakes import single_mistakes
from benchmarks.yaml_text import YamlText

from trainer_core.discovery.plugins import discover
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.mistakes import Mistake

    from policy_constructor.errors import Problem

__all__ = ["Corpus", "Damage", "Verdict", "peak_memory_mb"]

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "packages/experiments-il/src/experiments_il/recipes"
EXPERIMENT = ROOT / "tests/trainer_core/data/experiment.yaml"


@dataclass(frozen=True)
class Verdict:
    """What `trainer check` said about one damaged file.

    Attributes:
        mistake: The mistake.
        problems: The errors.
        seconds: CPU time.
        is_right: Rejected, or accepted where that is right.
        on_line: Whether the mistaken line is reported, and none that has nothing to do with it.
        is_first: Whether the first suggestion on that line is the right spelling.
    """

    mistake: Mistake
    problems: tuple[Problem, ...]
    seconds: float
    is_right: bool
    on_line: bool
    is_first: bool


@dataclass(frozen=True)
class Damage:
    """What became of one randomly damaged file.

    Attributes:
        seed: Makes the same damage again.
        file: The file that was damaged.
        data: What it held.
        problems: How many errors were reported.
        seconds: CPU time.
        error: An exception that came out; empty as it should be.
    """

    seed: int
    file: str
    data: bytes
    problems: int
    seconds: float
    error: str


class Corpus:
    """Copies of the right files in a folder, damaged one at a time.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = discover()
        self.files = [self._copy(path, RECIPES) for path in sorted(RECIPES.rglob("*.yaml"))]
        self.files.append(self._copy(EXPERIMENT, EXPERIMENT.parent))

    def mistakes(self) -> list[Mistake]:
        """Return every single mistake, without those that damage a file in the same way."""
        found = {(m.file, m.text): m for file in self.files for m in single_mistakes(file)}
        originals = {file.name: file.text for file in self.files}
        return [m for m in found.values() if m.text != originals[m.file]]

    def judge(self, mistake: Mistake) -> Verdict:
        """Check a damaged file and put the right one back."""
        path = self.folder / mistake.file
        original = path.read_text()
        path.write_text(mistake.text)
        started = time.process_time()
        try:
            problems = tuple(self.problems(mistake.file))
        finally:
            path.write_text(original)
        return _verdict(mistake, problems, time.process_time() - started)

    def damage(self, seed: int) -> Damage:
        """Check a file with random damage; whatever is wrong with it is a problem, no exception."""
        name, data = damaged(self.files, Random(seed))
        path = self.folder / name
        original = path.read_bytes()
        path.write_bytes(data)
        problems, error = 0, ""
        started = time.process_time()
        try:
            problems = len(self.problems(name))
        except Exception as raised:  # noqa: BLE001 - what this looks for
            error = f"{type(raised).__name__}: {raised}"
        seconds = time.process_time() - started
        path.write_bytes(original)
        return Damage(seed, name, data, problems, seconds, error)

    def problems(self, name: str) -> list[Problem]:
        """Return the errors of a file, checked as part of an experiment if it is a model file."""
        experiment, overrides = self._experiment_of(name)
        path = self.folder / experiment
        return load_experiment(path, overrides, plugins=self.plugins, strict=False).problems

    def _copy(self, path: Path, base: Path) -> YamlText:
        target = self.folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        target.write_text(text)
        return YamlText(str(path.relative_to(base)), text)

    def _experiment_of(self, name: str) -> tuple[str, list[str]]:
        """Return the experiment that uses a file, and what makes it do so."""
        if "/" not in name:
            return name, []
        experiments = [file for file in self.files if "/" not in file.name]
        for file in experiments:
            if name in file.text:
                return file.name, []
        for file in sorted(experiments, key=lambda each: "defaults:" in each.text):
            for entry in file.entries:
                if entry.path[-1] == "config" and entry.path[-2] in name:
                    component = ".".join(entry.path[:-1])
                    with_params = any(e.path == (*entry.path[:-1], "params") for e in file.entries)
                    dropped = [f"~{component}.params"] if with_params else []
                    return file.name, [f"{component}.config={self.folder / name}", *dropped]
        message = f"no experiment uses {name}"
        raise LookupError(message)


def peak_memory_mb() -> float:
    """Return the most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _verdict(mistake: Mistake, problems: tuple[Problem, ...], seconds: float) -> Verdict:
    reported = [place for problem in problems for place in _places(problem, mistake.file)]
    allowed = mistake.lines | mistake.explained
    on_line = bool(mistake.lines & set(reported)) and allowed.issuperset(reported)
    first = next(_suggested(mistake, problems), "")
    return Verdict(
        mistake,
        problems,
        seconds,
        is_right=bool(problems) or mistake.may_pass,
        on_line=on_line,
        is_first=first == mistake.wanted
        or first.endswith(f".{mistake.wanted}")
        or mistake.wanted.endswith(f".{first}"),
    )


def _places(problem: Problem, file: str) -> Iterator[int]:
    """Yield the line of a problem; a problem of another file is on no line of this one."""
    place = problem.location
    yield place.line if place is not None and place.file.endswith(file) else 0


def _suggested(mistake: Mistake, problems: tuple[Problem, ...]) -> Iterator[str]:
    for problem in problems:
        if problem.suggestions and mistake.lines & set(_places(problem, mistake.file)):
            yield problem.suggestions[0]
