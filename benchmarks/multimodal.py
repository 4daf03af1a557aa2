"""Do policies keep several equally good ways apart? Toys, and a Meta-World task past an obstacle.

    OMP_NUM_THREADS=1 python -m benchmarks.multimodal             everything
    OMP_NUM_THREADS=1 python -m benchmarks.multimodal --parts toy

Flow matching, VFP, CFG-VQ-VAE and regression at 1, 2 and 10 sampling steps, latents drawn from the
prior. Writes `benchmarks/results/multimodal.md`, the raw rows beside it and pictures of the toys'
chunks, anew after each row. Rows that are in the work folder already are not measured again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.multimodal_page import to_page
from benchmarks.multimodal_rows import measure, metaworld_jobs, toy_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS = ("metaworld-both", "metaworld-either", "toy")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--toy-seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="in Meta-World")
    parser.add_argument("--tasks", nargs="+", default=["reach-v3"], help="in Meta-World")
    parser.add_argument("--episodes", type=int, default=50, help="per trained policy")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="kept rows")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the page")
    options = parser.parse_args()
    work = options.work.resolve()
    of_parts = {"toy": toy_jobs(options.toy_seeds)} | {
        part: metaworld_jobs(part, options.seeds, options.tasks, options.episodes, work)
        for part in PARTS[:2]
    }
    rows = _kept(options.out)
    for part in options.parts:
        for job in of_parts[part]:
            row = measure(job, work)
            rows = [each for each in rows if _identity(each) != _identity(row)] + [row]
            print(f"{job.name}: {_brief(row)}", flush=True)
            _write(rows, options.out, work)


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["part"], row["task"], row["policy"], row["seed"]


def _brief(row: dict[str, Any]) -> str:
    off = ", ".join(f"{each['off_mode']:.3f}" for each in row["steps"].values())
    return f"off-mode {off} at {', '.join(row['steps'])} steps, {row['training_cpu_s']:.0f} CPU s"


def _kept(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the page that is there: parts may be measured one after the other."""
    path = out / "multimodal.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return rows


def _write(rows: Sequence[dict[str, Any]], out: Path, work: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    # What was asked for names folders of one machine: it stays in the work folder.
    told = [{key: value for key, value in row.items() if key != "request"} for row in rows]
    ordered = sorted(told, key=lambda row: (row["part"], row["task"], row["seed"]))
    (out / "multimodal.json").write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    (out / "multimodal.md").write_text(to_page(ordered), encoding="utf-8")
    for modes in ("2", "4"):
        _draw(modes, work, out / f"multimodal-toy-{modes}.png")


def _draw(modes: str, work: Path, path: Path) -> None:
    """Draw 150 chunks of each policy at each number of steps, of the first seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    found = {}
    for policy in ("regression", "flow matching", "VFP", "CFG-VQ-VAE"):
        run = work / "runs" / f"toy-{modes}-{policy.replace(' ', '-')}-seed-0"
        for file in run.glob("evaluation/*/chunks.npz"):
            found[policy] = np.load(file)
    if not found:
        return
    steps = list(next(iter(found.values())))
    size = (1.7 * len(steps), 2.0 * len(found))
    figure, axes = plt.subplots(len(found), len(steps), figsize=size, squeeze=False)
    for row, (policy, chunks) in zip(axes, found.items(), strict=True):
        for axis, name in zip(row, steps, strict=True):
            axis.plot(chunks[name][:150, :, 0].T, chunks[name][:150, :, 1].T, lw=0.4, c="C0")
            axis.set(xlim=(-1.6, 1.6), ylim=(-1.4, 1.4), xticks=[], yticks=[])
            count = name.removeprefix("steps_")
            axis.set_title(f"{policy}, {count} step{'s' * (count != '1')}", fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
