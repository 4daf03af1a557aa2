"""The order of goals in a Meta-World environment, open to random access."""

from __future__ import annotations

from typing import Any

import gymnasium

__all__ = ["GoalSequence"]


class GoalSequence(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gives episode k the k-th goal of the environment's seed, in a fixed order.

    `reset()` moves on to the next episode; `reset(options={"episode": k})` starts episode k, which
    is the same whatever was played before. After 50 goals the sequence starts again.

    Args:
        env: A Meta-World `MT1` environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        env.get_wrapper_attr("toggle_sample_tasks_on_reset")(False)
        self._goals = list(env.get_wrapper_attr("tasks"))
        self._set_goal = env.get_wrapper_attr("set_task")
        self.episode = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episode, or the one that `options["episode"]` names.

        Args:
            seed: Passed on; Meta-World ignores it.
            options: `{"episode": k}` or None.

        Returns:
            The observation, float64 `(39,)`, and an empty mapping.
        """
        self.episode = (options or {}).get("episode", self.episode + 1)
        self._set_goal(self._goals[self.episode % len(self._goals)])
        return self.env.reset(seed=seed)
