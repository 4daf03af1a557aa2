"""Which wheels were written for another version of ours; read from their requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.discovery.metadata import normalize_name, read_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.discovery.metadata import EntryPointRecord

__all__ = ["Mismatch", "find_mismatches", "running_versions", "unmet"]


class Mismatch(NamedTuple):
    """A wheel that asks for another version of ours than the one that runs.

    Attributes:
        requirement: What it asks for: `trainer-core>=2,<3`.
        running: What runs: `trainer-core 0.1.0`.
    """

    requirement: str
    running: str

    def __str__(self) -> str:
        """Return one clause that names both versions."""
        return f"it requires {self.requirement}, and this is {self.running}"


def running_versions() -> dict[str, str]:
    """Return the versions of the wheels that carry the contract with plugins."""
    import policy_constructor  # noqa: PLC0415 - the package itself imports nothing
    import trainer_core  # noqa: PLC0415

    return {
        "trainer-core": trainer_core.__version__,
        "policy-constructor": policy_constructor.__version__,
    }


def unmet(requires: Iterable[str]) -> Mismatch | None:
    """Return the first `Requires-Dist` on ours that the running version does not satisfy."""
    ours = [text for text in requires if text.lstrip().lower().startswith(("trainer", "policy"))]
    if not ours:
        return None
    from trainer_core.discovery.versions import is_within, requirement  # noqa: PLC0415 - costs `re`

    running = running_versions()
    for text in ours:
        name, wanted = requirement(text)
        name = normalize_name(name)
        if name in running and not is_within(running[name], wanted):
            return Mismatch(f"{name}{wanted}", f"{name} {running[name]}")
    return None


def find_mismatches(records: Iterable[EntryPointRecord]) -> dict[str, Mismatch]:
    """Return the wheels that do not fit, by name; each METADATA file is read once."""
    places = {record.path: record.dist for record in records if not record.shadowed}
    found = {
        dist: unmet(read_headers(path).get("requires-dist", [])) for path, dist in places.items()
    }
    return {dist: mismatch for dist, mismatch in found.items() if mismatch is not None}
