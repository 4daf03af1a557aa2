from __future__ import annotations

from policy_constructor.config import Mark, Node, Source, sort_problems
from policy_constructor.config.report import CLI, MAX_PROBLEMS, Report
from policy_constructor.errors import Problem


def collect() -> list[Problem]:
    """One problem in each of: the command line, a nested include, the main file, nowhere."""
    main = Source("z.yaml")
    base = Source("b.yaml", included_from=Mark(main, 4, 7))
    deep = Source("a.yaml", included_from=Mark(base, 2, 1))
    late = Source("c.yaml", included_from=Mark(main, 4, 20))
    report = Report()
    for source in (Source(CLI), late, deep, base, main):
        report.add(Mark(source, 1, 1), source.name)
    report.add(Mark(main, 1, 1), "z.yaml")
    report.add(None, "nowhere")
    return report.problems


def test_problems_stand_in_the_order_of_inclusion() -> None:
    found = [problem.message for problem in sort_problems(collect())]
    assert found == ["nowhere", "z.yaml", "b.yaml", "a.yaml", "c.yaml", "<cli>"]


def test_repeated_problem_is_kept_once() -> None:
    problem = Problem("twice", path="a")
    assert sort_problems([problem, problem, Problem("twice", path="b")]) == [
        problem,
        Problem("twice", path="b"),
    ]


def test_problems_beyond_the_limit_are_counted() -> None:
    report = Report()
    for number in range(MAX_PROBLEMS + 3):
        report.add(None, f"{number}")
    found = report.sorted()
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].message == "3 more mistakes are not shown"


def test_spellings_are_compared_within_a_budget() -> None:
    report = Report()
    assert report.similar("width", ["widht"]) == ("widht",)
    assert report.similar("width", ["widht"] * 20_000) == ()


def test_poisoned_value_is_reported_and_cleared() -> None:
    report, node = Report(), Node(3)
    report.poison(node, "bad", ("a", 0), code="x")
    assert report.problems == [Problem("bad", path="a.0", code="x")]
    assert (node.value, node.poisoned) == (None, True)
