"""The page of recipes names every recipe, with its trainer."""

from __future__ import annotations

from pathlib import Path

import experiments_il.recipes

ROOT = Path(__file__).parents[2]
FOLDER = Path(experiments_il.recipes.__file__).parent


def test_page_has_every_recipe_and_no_other() -> None:
    page = (ROOT / "docs/reference/recipes.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `il/")]
    named = {part.strip().strip("`") for row in rows for part in row.split(",")}
    assert named == {f"il/{path.stem}" for path in FOLDER.glob("*.yaml")}
