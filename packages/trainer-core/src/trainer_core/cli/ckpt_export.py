"""`trainer ckpt export`: the policy alone, to be built again (no torch here) or as one program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.checkpoint.exporting import AveragedWeights, averaged_kind, export_policy
from trainer_core.checkpoint.inventory import checkpoint_folders, describe_checkpoint, problem_of
from trainer_core.checkpoint.layout import step_name
from trainer_core.checkpoint.ranking import read_best
from trainer_core.cli.ckpt_common import ckpt_parser, human_size, progress_bar
from trainer_core.errors import UserError
from trainer_core.experiment.schema import ComponentSection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Write the best checkpoint of a run, else the newest whole one, or the one that is named."""
    parser = ckpt_parser(
        "export", "Write weights, normalisation and model files into one folder, to be used alone."
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make")
    parser.add_argument("--step", type=int, help="this checkpoint; default: the best, else newest")
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="take the averaged weights; default: if there are any",
    )
    parser.add_argument(
        "--format",
        choices=["native", "onnx", "pt2"],
        default="native",
        help="native: model files and weights, built again by policy-constructor (default); onnx, "
        "pt2: one program, compared with the policy and timed",
    )
    options = parser.parse_args(argv)
    folder = _choose(options.run, options.step)
    if options.format != "native":
        return _export_program(folder, options)
    with progress_bar(f"verifying {folder.name}", describe_checkpoint(folder).bytes) as progress:
        about = export_policy(
            folder,
            options.out,
            averaged=_averaged(folder, options.ema),
            drop=ComponentSection.ENGINE_KEYS,
            progress=progress,
        )
    size = human_size(sum(entry["bytes"] for entry in about["files"].values()))
    print(f"{options.out}: step {about['step']}, {about['weights']} weights, {size}")
    return 0


def _averaged(folder: Path, wanted: bool | None) -> Callable[[], AveragedWeights] | None:
    """Return what gives the averaged weights of a checkpoint; None to take the trained ones.

    Raises:
        UserError: They are asked for, and there are none.
    """
    kind = averaged_kind(folder) if wanted is not False else ""
    if wanted and not kind:
        msg = f"{folder} has no averaged weights: the run had no cb.ema"
        raise UserError(msg)

    def load() -> AveragedWeights:
        from safetensors.torch import save

        from trainer_core.checkpoint.layout import read_manifest
        from trainer_core.checkpoint.reader import Checkpoint
        from trainer_core.checkpoint.snapshot import unique_tensors
        from trainer_core.engine.trained import load_components

        models, found = load_components(Checkpoint(folder, read_manifest(folder)))

        def component(name: str) -> tuple[bytes, dict[str, str]]:
            tensors, aliases = unique_tensors(models[name])
            contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
            return save(contiguous), aliases

        return AveragedWeights(found, component)

    return load if kind else None


def _export_program(folder: Path, options: argparse.Namespace) -> int:
    """Write the whole policy as one program; print how it compares with the policy itself."""
    from trainer_core.checkpoint.reader import open_checkpoint
    from trainer_core.deploy.program import export_program

    if options.ema is not None:
        msg = f"--ema and --no-ema are of --format native; {options.format} takes what acts best"
        raise UserError(msg)
    about = export_program(open_checkpoint(folder), options.out, options.format)
    size = human_size(sum(entry["bytes"] for entry in about["files"].values()))
    difference = about["check"]["largest_difference"]
    print(
        f"{options.out / about['file']}: step {about['step']}, {about['weights']} weights, {size}\n"
        f"largest difference from the policy itself: {difference:.1e} "
        f"(at most {about['check']['tolerance']:g}; 1, 2 and 5 samples)\n"
    )
    print(f"{'one sample, one thread':<24}{'p50 ms':>9}{'p95 ms':>9}")
    for row in about["latency"]:
        print(f"{row['what']:<24}{row['p50_ms']:>9.3f}{row['p95_ms']:>9.3f}")
    return 0


def _choose(run: Path, step: int | None) -> Path:
    folders = checkpoint_folders(run)
    if folders == [run]:
        return run
    best = read_best(folders[0].parent)
    wanted = step if step is not None else best[0] if best is not None else None
    if wanted is not None:
        found = [folder for folder in folders if folder.name == step_name(wanted)]
        if not found:
            msg = f"{run} has no checkpoint of step {wanted}; see trainer ckpt ls {run}"
            raise UserError(msg)
        return found[0]
    whole = next((folder for folder in folders if not problem_of(folder)), None)
    if whole is None:
        msg = f"no checkpoint of {run} is whole; see trainer ckpt verify {run}"
        raise UserError(msg)
    return whole
