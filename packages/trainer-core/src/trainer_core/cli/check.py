"""`trainer check`: every mistake of an experiment file at once, without torch."""

from __future__ import annotations

import sys

from policy_constructor.config import sort_problems
from policy_constructor.errors import ConfigError, Problem, render_problem
from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.experiment.loading import LoadedExperiment, load_experiment

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Check a file; return 0 if it may be run, else 2."""
    parser = config_parser("check", "Find every mistake in an experiment file; nothing is run.")
    parser.add_argument("--runner", help="check with this runner in place of the file's")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="import the components, build the model without memory, try the shapes of a batch",
    )
    options = parse_config_line(parser, argv)
    try:
        experiment = load_experiment(
            options.config, options.overrides, strict=False, runner=options.runner
        )
    except ConfigError as error:
        errors, warnings, summary = list(error.problems), [], ""
    else:
        errors = sort_problems([*experiment.problems, *experiment.absent])
        warnings = experiment.warnings
        if options.deep and not errors:
            import gc

            gc.enable()  # a model is no small thing
            from trainer_core.engine.deep_check import deep_check

            errors, found = deep_check(experiment)
            warnings = [*warnings, *found]
        summary = "" if errors else _summary(experiment)
    if options.json:
        import json

        document = {
            "ok": not errors,
            "errors": [problem.to_json() for problem in errors],
            "warnings": [problem.to_json() for problem in warnings],
        }
        print(json.dumps(document, indent=1))
    else:
        for problem in errors:
            print(render_problem(problem), file=sys.stderr)
        for problem in warnings:
            print(render_problem(problem, "warning"), file=sys.stderr)
        print(summary or _count(errors, options.config), file=sys.stderr if errors else sys.stdout)
    return 2 if errors else 0


def _count(errors: list[Problem], config: str) -> str:
    return f"{len(errors)} {'error' if len(errors) == 1 else 'errors'} in {config}"


def _summary(experiment: LoadedExperiment) -> str:
    models = ", ".join(experiment.models)
    return f"{experiment.source}: ok ({models}: {experiment.component_count} components)"
