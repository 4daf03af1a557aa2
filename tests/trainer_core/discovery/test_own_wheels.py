"""What our other wheels bring is known without them, so that a miss names the one to install."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from trainer_core.discovery.names import COMPONENT_GROUPS, install_hint

ROOT = Path(__file__).parents[3]
OTHERS = ("experiments-il", "trainer-ddp", "trainer-ray")


def declared() -> list[tuple[str, str, str]]:
    """Return (wheel, kind, key) of each component of our wheels besides the two lower ones."""
    found = []
    for wheel in OTHERS:
        text = (ROOT / "packages" / wheel / "pyproject.toml").read_text()
        tables = tomllib.loads(text)["project"]["entry-points"]
        found += [
            (wheel, kinds[0], key)
            for group, kinds in COMPONENT_GROUPS.items()
            for key in tables.get(group, {})
        ]
    return found


@pytest.mark.parametrize(("wheel", "kind", "key"), declared())
def test_component_of_a_missing_wheel_names_it(wheel: str, kind: str, key: str) -> None:
    hint = f"it comes with another wheel: pip install '{wheel}'"
    assert install_hint(key, [kind]) == hint
