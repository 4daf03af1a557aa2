"""What a run leaves behind besides its metrics and checkpoints."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from policy_constructor.config import Node, to_yaml
from policy_constructor.discovery.registry import RegistryError
from policy_constructor.graph.ir import SpecIR
from trainer_core.checkpoint.layout import list_steps
from trainer_core.discovery.fingerprint import record_wheels
from trainer_core.engine.environment import describe_environment
from trainer_core.engine.runlock import hold_again
from trainer_core.storage import make_folder, storage_errors, to_json_text, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from policy_constructor.graph.ir import GraphIR
    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["RunFolder", "describe_plugins", "finite_json", "public_config", "resolved_yaml"]

_log = logging.getLogger(__name__)

_OWN = (
    "checkpoints",
    "evaluation",
    "metrics.jsonl",
    "summary.json",
    "report.html",
    "loss_curve.png",
    "profile",
    "tensorboard",
)


class RunFolder:
    """The folder of one run.

    Args:
        path: `run.out_dir`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.texts: dict[str, str] = {}

    def open(self, loaded: LoadedExperiment | None, *, kept_step: int | None) -> None:
        """Make the folder and describe the run in it.

        Args:
            loaded: The experiment; None if it was put together in Python.
            kept_step: The step of this folder that the run goes on from: what came after it moves
                to `previous/`. None: the run begins elsewhere, and all that is here moves.

        Raises:
            StorageError: It cannot be written.
        """
        make_folder(self.path)
        with storage_errors(self.path):
            (self.path / "traceback.log").unlink(missing_ok=True)
        if kept_step is None:
            self._set_aside([self.path / name for name in _OWN])
        else:
            later = [*list_steps(self.checkpoints), *list_steps(self.path / "evaluation")]
            self._set_aside([entry for step, entry in later if step > kept_step])
        plugins = describe_plugins(loaded) if loaded is not None else {}
        environment = describe_environment(plugins.get("wheels", {}))
        self.texts = {"environment.json": to_json_text(environment)}
        if loaded is not None:
            self.texts["config.resolved.yaml"] = resolved_yaml(loaded)
            self.texts["plugins.json"] = to_json_text(plugins)
        for name, text in self.texts.items():
            write_atomically(self.path / name, text)

    def require_place(self) -> None:
        """Make the folder again if someone removed it while the run writes there.

        Raises:
            StorageError: It cannot be made, or another run is in its place by now.
        """
        if not hold_again(self.path) or all((self.path / name).exists() for name in self.texts):
            return
        for name, text in self.texts.items():
            write_atomically(self.path / name, text)
        _log.warning("%s was removed during the run, which goes on in a new folder", self.path)

    def own_step(self, checkpoint: Checkpoint | None) -> int | None:
        """Return the step of a checkpoint that lies in this folder; None for any other."""
        if checkpoint is None or checkpoint.path.resolve().parent != self.checkpoints.resolve():
            return None
        return checkpoint.step

    def evaluation_folder(self, step: int) -> Path:
        """Return `evaluation/step-000000120`; it need not exist."""
        return self.path / "evaluation" / f"step-{step:09d}"

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`; numbers that are not finite are null.

        Raises:
            StorageError: It cannot be written.
        """
        write_atomically(self.path / "summary.json", to_json_text(finite_json(summary)))

    def write_evaluation(
        self, step: int, result: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> None:
        """Write `evaluation/step-.../result.json`, which marks the evaluation as done.

        Args:
            step: Optimizer steps done.
            result: What the evaluator returned.
            settings: What the file says about the evaluator.
        """
        folder = make_folder(self.evaluation_folder(step))
        write_atomically(folder / "settings.json", to_json_text(settings))
        write_atomically(folder / "result.json", to_json_text(finite_json(result)))

    def read_evaluation(
        self, step: int, settings: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the result of an evaluation that was finished with these settings, or None."""
        folder = self.evaluation_folder(step)
        try:
            found = json.loads((folder / "settings.json").read_bytes())
            result = json.loads((folder / "result.json").read_bytes())
        except (OSError, ValueError):
            return None
        is_same = isinstance(result, dict) and found == settings
        return result if is_same else None

    def _set_aside(self, entries: list[Path]) -> None:
        there = [entry for entry in entries if entry.exists()]
        if not there:
            return
        previous = self.path / "previous"
        number = 1
        while (target := previous / f"{number:03d}").exists():
            number += 1
        for entry in there:
            place = target / entry.relative_to(self.path)
            make_folder(place.parent)
            with storage_errors(place):
                entry.rename(place)


def resolved_yaml(loaded: LoadedExperiment) -> str:
    """Return the experiment as one file that runs again: includes merged, model files put in.

    Values from the environment stay `${env:...}`: they may be secrets.
    """
    root = loaded.resolved.root
    models = root.child("models")
    if models is not None and models.is_mapping:
        merged = {name: _inline_model(loaded, str(name), node) for name, node in models.items()}
        root = Node({**root.value, "models": Node(merged)})
    return to_yaml(root, redact_env=True)


def public_config(loaded: LoadedExperiment) -> dict[str, Any]:
    """Return the resolved file as plain data for loggers, with `${env:...}` as it was written."""
    data: dict[str, Any] = _public(loaded.resolved.root)
    return data


def _public(node: Node) -> Any:
    if node.from_env and node.expression is not None:
        return node.expression
    if node.is_mapping:
        return {key: _public(child) for key, child in node.items()}
    return [_public(child) for _, child in node.items()] if node.is_list else node.value


def _inline_model(loaded: LoadedExperiment, name: str, node: Node) -> Node:
    plan = loaded.models.get(name)
    if plan is None or plan.resolved is loaded.resolved:
        return node
    body = plan.resolved.node(*plan.section)
    if body is None:
        return node
    kept = {key: child for key, child in node.value.items() if key not in {"config", "params"}}
    return Node({**body.value, **kept})


def describe_plugins(loaded: LoadedExperiment) -> dict[str, Any]:
    """Return the components that a run uses and the wheels they come from."""
    refs = set()
    for name in _type_names(loaded.config.model_dump(mode="json")):
        try:
            refs.add(loaded.plugins.find(name))
        except RegistryError:  # a bare name inside a free mapping: it is no component
            continue
    for plan in loaded.models.values():
        for spec in _specs(plan.graph):
            try:
                refs.add(loaded.plugins.find(spec.key, ("block",)))
            except RegistryError:  # `_target_`, which is not discovered
                continue
    rows = [
        {"kind": r.kind, "key": r.key, "dist": r.dist, "version": r.version, "target": r.target}
        for r in sorted(refs)
    ]
    dists = {row["dist"]: row["version"] for row in rows}
    hooks = loaded.plugins.usable(loaded.plugins.hooks)
    return {
        "schema": 1,
        "distributions": dists,
        "plugins": rows,
        "hooks": sorted(f"{ref.dist}::{ref.key}" for ref in hooks),
        **record_wheels(loaded.plugins, [*dists, *(ref.dist for ref in hooks)]),
    }


def _type_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        name = value.get("_type_")
        if isinstance(name, str):
            yield name
        for child in value.values():
            yield from _type_names(child)
    elif isinstance(value, list):
        for child in value:
            yield from _type_names(child)


def _specs(graph: GraphIR) -> Iterator[SpecIR]:
    bodies = [module.body for module in graph.modules]
    for body in [*bodies, *([graph.block] if graph.block is not None else [])]:
        if isinstance(body, SpecIR):
            yield body
        else:
            yield from _specs(body)


def finite_json(value: Any) -> Any:
    """Return JSON data with null for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite_json(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(child) for child in value]
    if value is None or isinstance(value, str | int | bool):
        return value
    return finite_json(value.item()) if hasattr(value, "item") else str(value)
