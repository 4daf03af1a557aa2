"""A sample of the corpus of mistakes; its long form is `benchmarks/check_corpus.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.corpus import Corpus, Verdict

ROOT = Path(__file__).parents[3]
EVERY = 16
DAMAGED = 60


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    corpus = Corpus(tmp_path_factory.mktemp("corpus"))
    return [corpus.judge(mistake) for mistake in corpus.mistakes()[::EVERY]]


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def test_corpus_holds_at_least_four_hundred_mistakes(tmp_path: Path) -> None:
    mistakes = Corpus(tmp_path).mistakes()
    assert len(mistakes) >= 400
    assert len({mistake.kind for mistake in mistakes}) == 9


def test_right_files_have_no_problems(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    assert [corpus.problems(file.name) for file in corpus.files] == [[] for _ in corpus.files]


def test_every_mistake_is_rejected_or_rightly_accepted(verdicts: list[Verdict]) -> None:
    wrong = [(v.mistake.file, v.mistake.kind, v.mistake.key) for v in verdicts if not v.is_right]
    assert wrong == []


def test_reported_line_is_the_mistaken_one(verdicts: list[Verdict]) -> None:
    assert share([v.on_line for v in verdicts if v.problems]) >= 0.95


def test_first_suggestion_is_the_right_spelling(verdicts: list[Verdict]) -> None:
    assert share([v.is_first for v in verdicts if v.problems and v.mistake.wanted]) >= 0.95


def test_every_problem_is_a_record_for_machines(verdicts: list[Verdict]) -> None:
    records = [problem.to_json() for verdict in verdicts for problem in verdict.problems]
    assert json.dumps(records, allow_nan=False)
    assert all(record["line"] and record["code"] != "invalid" for record in records)


def test_random_damage_gives_problems_and_no_exception(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    damages = [corpus.damage(seed) for seed in range(DAMAGED)]
    assert [damage.error for damage in damages if damage.error] == []
    assert max(damage.seconds for damage in damages) < 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whole_corpus_reaches_its_goals() -> None:
    command = [sys.executable, "-m", "benchmarks.check_corpus", "--damaged", "10000"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
