"""A loaded policy and an evaluator -> a folder with what came out of it."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.evaluation.latency import MeasuredPolicy, PlanTimes
from trainer_core.checkpoint.layout import step_name
from trainer_core.engine.runfolder import finite_json
from trainer_core.errors import UserError
from trainer_core.protocols import EvaluationContext
from trainer_core.seeding import isolated_rng, set_global_seed
from trainer_core.storage import make_folder, storage_errors, to_json_text, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from experiments_il.evaluation.plan import EvaluationPlan
    from experiments_il.loading import LoadedPolicy, PolicySource

__all__ = ["RESULT", "Played", "choose_folder", "play"]

RESULT = "result.json"
"""Written last: a folder without it holds an evaluation that did not end."""

_EPISODES = "episodes.jsonl"


@dataclass(frozen=True)
class Played:
    """An evaluation that is over.

    Attributes:
        result: What `result.json` holds.
        settings: What `settings.json` holds: the evaluator's spec, and changes of the trainer.
        episodes: The lines of `episodes.jsonl`; empty if the evaluator wrote none.
        folder: Where both are.
    """

    result: dict[str, Any]
    settings: dict[str, Any]
    episodes: list[dict[str, Any]]
    folder: Path

    @property
    def is_partial(self) -> bool:
        """Whether it was interrupted."""
        return bool(self.result["partial"])


def choose_folder(source: PolicySource, label: str, out: Path | None) -> Path:
    """Return the folder for an evaluation; it does not exist, or is empty.

    Args:
        source: The policy.
        label: Name of the evaluator and its task.
        out: The user's choice; None: beside the evaluations of the run.

    Raises:
        UserError: `out` holds something.
    """
    if out is not None:
        with storage_errors(out):
            is_taken = out.is_symlink() or (
                out.exists() and (not out.is_dir() or any(out.iterdir()))
            )
        if is_taken:
            message = f"{out} exists and is not empty; name a new folder with --out"
            raise UserError(message)
        return out
    if source.checkpoint is None:
        first = Path("evaluation") / f"{source.folder.resolve().name}-{label}"
    else:
        root = source.run if source.run is not None else Path()
        first = root / "evaluation" / f"{step_name(source.checkpoint.step)}-{label}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def play(
    loaded: LoadedPolicy,
    plan: EvaluationPlan,
    evaluator: Any,
    folder: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int, str], None],
    interrupted: Callable[[], bool],
) -> Played:
    """Let an evaluator measure a policy, and write `settings.json` and `result.json`.

    Args:
        loaded: The policy.
        plan: What was asked for.
        evaluator: The evaluator of the plan.
        folder: Where its files go.
        device: Where the policy's models are.
        progress: Called as `progress(done, total, text)`.
        interrupted: Asked between episodes; True ends early, with what was played so far.

    Raises:
        TrainerError: The policy does not fit the simulator, that broke down, or the disk refuses.
    """
    reached = (0, 1)

    def report(done: int, total: int, text: str) -> None:
        nonlocal reached
        reached = (done, total)
        progress(done, total, text)

    config = loaded.source.config
    seed = int((config.get("run") or {}).get("seed") or 0)
    times = PlanTimes()
    make_folder(folder)
    settings = {"evaluation": plan.evaluator, "trainer": plan.parameters}
    with _removed_if_empty(folder), isolated_rng(), _measured(loaded.trainer, times):
        set_global_seed(seed)
        context = EvaluationContext(
            trainer=loaded.trainer,
            models=loaded.models,
            normalizer=loaded.normalizer,
            device=device,
            step=loaded.step,
            out_dir=folder,
            seed=seed,
            final=True,
            progress=report,
            interrupted=interrupted,
        )
        found = dict(evaluator.evaluate(context))
    result = finite_json(
        {
            **found,
            "partial": interrupted() and reached[0] < reached[1],
            "latency": times.summarize(),
            "sampling": _describe_sampling(loaded.policy),
            "policy": {
                "folder": str(loaded.source.folder),
                "step": loaded.step,
                "weights": loaded.weights,
            },
        }
    )
    write_atomically(folder / "settings.json", to_json_text(settings))
    write_atomically(folder / RESULT, to_json_text(result))
    return Played(result, settings, _read_episodes(folder), folder)


def _describe_sampling(policy: Any) -> dict[str, Any]:
    """Return how chunks are sampled and executed, as far as the policy says."""
    names = ("solver", "num_inference_steps", "evaluations", "horizon")
    described = {name: getattr(policy, name) for name in names if hasattr(policy, name)}
    with suppress(AttributeError, TypeError):  # a stranger's policy may have settings of its own
        described |= asdict(policy.chunk)
    return described


@contextmanager
def _measured(trainer: Any, times: PlanTimes) -> Iterator[None]:
    """Let the trainer's policies be timed."""
    make_policy = trainer.policy
    vars(trainer)["policy"] = lambda normalizer: MeasuredPolicy(make_policy(normalizer), times)
    try:
        yield
    finally:
        del vars(trainer)["policy"]


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Leave no empty folder behind where nothing could be played."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def _read_episodes(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / _EPISODES).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError):  # an evaluator need not write any
        return []
    return [row for row in rows if isinstance(row, dict)]
