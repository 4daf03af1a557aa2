"""The table of episodes fits its terminal."""

import io

import pytest
from rich.console import Console

from experiments_il.commands.episode_table import episode_grid, episode_lines

ROWS = [
    {"episode": n, "success": n % 3 > 0, "steps": 40 + n, "return": 100.25 * n} for n in range(50)
]


def test_each_episode_has_a_line_in_a_pipe() -> None:
    lines = episode_lines([*ROWS[:2], {"episode": 2, "success": False, "error": "it fell"}])
    assert lines == [
        "episode  success  steps  return",
        "      0       no     40     0.0",
        "      1      yes     41   100.2",
        "      2   broken               ",
    ]


@pytest.mark.parametrize(("width", "lines"), [(30, 51), (80, 26), (120, 18)])
def test_wide_terminals_have_episodes_side_by_side(width: int, lines: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(episode_grid(ROWS, width))
    shown = stream.getvalue().splitlines()
    assert len(shown) == lines
    assert max(map(len, shown)) <= max(width, 31)


def test_evaluator_without_episodes_has_no_table() -> None:
    assert episode_lines([{"score": 1.0}]) == []
