"""The checks of what is no component: commands and recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.errors import ConfigError
from trainer_core.discovery.names import ANOTHER_WHEEL
from trainer_core.discovery.recipes import list_recipes
from trainer_core.experiment.loading import load_experiment
from trainer_core.testing.declaration import DeclaredConformance, require
from trainer_core.testing.isolated import call_help

if TYPE_CHECKING:
    from trainer_core.discovery.recipes import Recipe

__all__ = ["CommandConformance", "RecipesConformance"]


class CommandConformance(DeclaredConformance):
    """Checks of a sub-command; its key is `command.NAME`."""

    def test_tc095_help_is_light(self) -> None:
        """`--help` prints text, ends with exit code 0 and imports neither torch nor its like."""
        found = call_help(self.ref().target)
        require(not found.error, f"--help fails: {found.error}")
        require(found.text.strip(), "--help prints nothing")
        require(not found.heavy, f"--help imports {', '.join(found.heavy)}; import them later")


class RecipesConformance(DeclaredConformance):
    """Checks of a folder of recipes; its key is `recipe.NAME`."""

    test_tc003_target_keeps_to_its_protocol = None  # type: ignore[assignment] # a folder, not an object
    test_tc007_is_documented = None  # type: ignore[assignment] # a comment in a file is welcome

    def recipes(self) -> list[Recipe]:
        """Return the experiment files of the folder."""
        return list_recipes([self.ref()])

    def test_tc097_holds_a_recipe(self) -> None:
        """There is a recipe in the folder."""
        require(self.recipes(), f"{self.ref().target} holds no experiment file (.yaml)")

    def test_tc098_recipes_have_no_mistakes(self) -> None:
        """`trainer check` finds no mistake in any of them, wherever it is started.

        Components of other wheels that are not installed here do not count.
        """
        for recipe in self.recipes():
            name = f"{recipe.dist}::{recipe.name.rpartition('::')[2]}"
            problems = load_experiment(name, strict=False).problems
            wrong = [problem for problem in problems if ANOTHER_WHEEL not in problem.message]
            require(not wrong, f"{recipe.name} has mistakes:\n{ConfigError(wrong)}")
