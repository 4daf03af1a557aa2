"""The names that a mixture's parameters give to its data sets; without torch and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["MERGED", "WrongName", "different_rates", "wrong_names"]

MERGED = "merged"


class WrongName(NamedTuple):
    """A name that no data set of the mixture has, or one that lacks its weight.

    Attributes:
        place: Keys of the parameter.
        message: What is wrong.
        suggestions: Nearest right spellings.
        is_key: Whether it is a key of a mapping, not a value.
    """

    place: tuple[str, ...]
    message: str
    suggestions: tuple[str, ...] = ()
    is_key: bool = True


def wrong_names(
    datasets: Collection[str],
    *,
    weights: Mapping[str, object],
    rename: Mapping[str, object],
    statistics: str,
) -> Iterator[WrongName]:
    """Yield the names that do not fit; parameters are those of `mixture`."""
    if not datasets:
        yield WrongName(("datasets",), "expected at least one data set", is_key=False)
    for parameter, given in (("rename", rename), ("weights", weights)):
        for name in given:
            if name not in datasets:
                near = nearest(name, datasets)
                yield WrongName((parameter, name), f"there is no data set '{name}'", near)
    missing = [name for name in datasets if name not in weights]
    if weights and missing and not any(name not in datasets for name in weights):
        yield WrongName(("weights",), f"'{missing[0]}' has no weight", is_key=False)
    if statistics != MERGED and statistics not in datasets:
        message = f"expected 'merged' or a data set, found {statistics!r}"
        near = nearest(statistics, [MERGED, *datasets])
        yield WrongName(("statistics",), message, near, is_key=False)


def different_rates(rates: Mapping[str, float | None]) -> str | None:
    """Return what to say of data sets that differ in frames per second; None if they do not.

    Args:
        rates: By the name of the data set; None where it is not known.
    """
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if len(set(known.values())) <= 1:
        return None
    said = ", ".join(f"'{name}' {rate:g}" for name, rate in known.items())
    return (
        f"the data sets have different frame rates (frames/s: {said}): a window of frames is "
        "another time in each; record or convert them at one rate, or say 'mixed_fps: true'"
    )
