"""`--disable-plugin` and `--no-third-party`: the command line's words for two variables.

They are put into the environment, so that the processes of a run find the same components.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trainer_core.discovery.blocking import DISABLE, ONLY

if TYPE_CHECKING:
    import argparse

__all__ = ["add_switches", "apply_switches"]


def add_switches(parser: argparse.ArgumentParser) -> None:
    """Add the options that switch plugins off."""
    parser.add_argument(
        "--disable-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="do not use a wheel, or a component such as loss.l2; may be repeated",
    )
    parser.add_argument(
        "--no-third-party", action="store_true", help="use no wheel but trainer-core's own family"
    )


def apply_switches(options: argparse.Namespace) -> None:
    """Switch off what the options name, here and in the processes that are started from here."""
    if options.disable_plugin:
        names = [os.environ.get(DISABLE, ""), *options.disable_plugin]
        os.environ[DISABLE] = ",".join(name for name in names if name)
        _warn_of_idle(options.disable_plugin)
    if options.no_third_party:
        os.environ[ONLY] = ""


def _warn_of_idle(names: list[str]) -> None:
    """Say which names switch nothing off: a slip here would leave a wheel in use."""
    from trainer_core.discovery.plugins import discover
    from trainer_core.experiment.plugin_choices import find_idle_names

    for name, near in find_idle_names(names, discover()):
        hint = f"; did you mean {near[0]!r}?" if near else ""
        line = f"warning: --disable-plugin: nothing that is installed is called {name!r}{hint}"
        print(line, file=sys.stderr)
