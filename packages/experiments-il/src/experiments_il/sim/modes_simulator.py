"""What Meta-World with an obstacle gives and takes, known without importing it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from experiments_il.sim.evaluation_check import check
from experiments_il.sim.recorded import describe
from experiments_il.sim.simulators import METAWORLD

__all__ = ["METAWORLD_MODES", "TASKS", "check_metaworld_modes", "describe_metaworld_modes"]

TASKS = ("button-press-topdown-v3", "reach-v3")
"""Tasks whose goals lie beyond the obstacle."""

METAWORLD_MODES = replace(
    METAWORLD,
    name="metaworld_modes",
    title="Meta-World with an obstacle",
    tasks=TASKS,
    environment="experiments_il.sim.modes:DetourEnvironment",
    experts={
        "scripted": "experiments_il.sim.modes:either_way",
        "left": "experiments_il.sim.modes:left_way",
        "right": "experiments_il.sim.modes:right_way",
    },
)
"""Meta-World tasks with a pillar in the way; `scripted` passes it on either side, by chance."""

describe_metaworld_modes = partial(describe, simulator=METAWORLD_MODES)
check_metaworld_modes = partial(check, simulator=METAWORLD_MODES)
