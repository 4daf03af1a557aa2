"""Which sub-commands there are: our own by table, those of other wheels by entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from policy_constructor.discovery.component import ComponentRef

__all__ = ["COMMANDS", "Command", "dispatch", "help_text"]


class Command(NamedTuple):
    """One of our own commands.

    Attributes:
        usage: What follows `trainer` on the command line.
        module: The module whose `main(argv)` does it.
        summary: Its line in the help.
    """

    usage: str
    module: str
    summary: str


COMMANDS = {
    ("run",): Command(
        "run CONFIG [a.b=c ...]", "trainer_core.cli.run", "train as the file says, or go on"
    ),
    ("report",): Command(
        "report RUN [RUN ...]", "trainer_core.cli.report", "write one page about a run, or several"
    ),
    ("check",): Command(
        "check CONFIG [a.b=c ...]", "trainer_core.cli.check", "find every mistake in a file"
    ),
    ("config", "show"): Command(
        "config show CONFIG", "trainer_core.cli.config_show", "print the resolved file"
    ),
    ("config", "explain"): Command(
        "config explain CONFIG KEY",
        "trainer_core.cli.config_explain",
        "tell the history of one value",
    ),
    ("config", "schema"): Command(
        "config schema", "trainer_core.cli.config_schema", "write a JSON Schema for editors"
    ),
    ("config", "migrate"): Command(
        "config migrate OLD",
        "trainer_core.cli.config_migrate",
        "turn an older file into one of ours",
    ),
    ("config", "recipes"): Command(
        "config recipes", "trainer_core.cli.config_recipes", "list the recipes that wheels bring"
    ),
    ("model", "show"): Command(
        "model show CONFIG", "trainer_core.cli.model_show", "show a model's parts and graph"
    ),
    ("ckpt", "ls"): Command(
        "ckpt ls RUN", "trainer_core.cli.ckpt_ls", "list the checkpoints of a run"
    ),
    ("ckpt", "verify"): Command(
        "ckpt verify RUN", "trainer_core.cli.ckpt_verify", "find damaged checkpoints"
    ),
    ("ckpt", "prune"): Command(
        "ckpt prune RUN", "trainer_core.cli.ckpt_prune", "delete all but the newest and the best"
    ),
    ("ckpt", "export"): Command(
        "ckpt export RUN OUT", "trainer_core.cli.ckpt_export", "write the policy alone, to be used"
    ),
    ("plugins", "list"): Command(
        "plugins list", "trainer_core.cli.plugins_list", "list what is installed"
    ),
    ("plugins", "info"): Command(
        "plugins info NAME", "trainer_core.cli.plugins_info", "describe a component or a wheel"
    ),
    ("plugins", "check"): Command(
        "plugins check [WHEEL]", "trainer_core.cli.plugins_check", "import it all and report"
    ),
    ("plugins", "new"): Command(
        "plugins new NAME --kind KIND", "trainer_core.cli.plugins_new", "write a plugin's package"
    ),
}


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` begin with; return its exit code."""
    for words, command in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            return _load(f"{command.module}:main")(list(arguments[len(words) :]))
    installed = installed_commands()
    dist, _, name = arguments[0].rpartition("::")
    claims = [ref for ref in installed if ref.key == name and dist in {"", ref.dist}]
    if claims:
        return _run_installed(_single(claims), list(arguments[1:]))
    _require_usable(name)
    return _unknown(arguments, [ref.key for ref in installed])


def help_text() -> str:
    """Return the text of `trainer --help`."""
    rows = [(command.usage, command.summary) for command in COMMANDS.values()]
    rows += [(f"{ref.key} ...", f"from {ref.wheel}") for ref in installed_commands()]
    lines = "\n".join(f"  trainer {usage:<30}{summary}" for usage, summary in rows)
    return (
        "Train robot-learning policies from one YAML file.\n\n"
        f"{lines}\n\n"
        "CONFIG is a file or the name of a recipe, such as il/pick_place; a.b=c changes a value.\n"
        "Each command has its own --help. trainer --version prints the version.\n"
        "Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 75 interrupted and saved."
    )


def installed_commands() -> list[ComponentRef]:
    """Return the commands of other wheels; our own names are taken."""
    from trainer_core.discovery.plugins import discover

    plugins = discover()
    return plugins.usable(plugins.commands, "conflict")


def _single(claims: list[ComponentRef]) -> ComponentRef:
    from trainer_core.errors import UserError

    if len(claims) == 1:
        return claims[0]
    wheels = " and ".join(ref.wheel for ref in claims)
    choices = " or ".join(f"'trainer {ref.dist}::{ref.key}'" for ref in claims)
    msg = f"command {claims[0].key!r} is provided by {wheels}; write {choices}"
    raise UserError(msg)


def _require_usable(name: str) -> None:
    """Say why a command that is installed cannot be used.

    Raises:
        UserError: It is switched off, or of a wheel for another version.
    """
    from trainer_core.discovery.plugins import discover
    from trainer_core.errors import UserError

    plugins = discover()
    for ref in plugins.commands:
        if ref.key == name and plugins.status(ref) in {"blocked", "incompatible"}:
            msg = f"command {name!r} of {ref.wheel} cannot be used: {plugins.reason(ref)}"
            raise UserError(msg)


def _run_installed(ref: ComponentRef, arguments: list[str]) -> int:
    from policy_constructor.discovery.registry import PluginLoadError

    try:
        main = _load(ref.target)
    except (Exception, SystemExit) as error:  # a stranger's module may do anything
        raise PluginLoadError(ref, f"{type(error).__name__}: {error}") from error
    return main(arguments)


def _load(target: str) -> Callable[[list[str]], int]:
    from importlib import import_module

    module, _, attribute = target.partition(":")
    found: Callable[[list[str]], int] = getattr(import_module(module), attribute)
    return found


def _group_help(group: str) -> str:
    rows = [command for words, command in COMMANDS.items() if words[0] == group]
    lines = "\n".join(f"  trainer {row.usage:<30}{row.summary}" for row in rows)
    return f"{lines}\n\nEach command has its own --help."


def _unknown(arguments: Sequence[str], installed: Sequence[str]) -> int:
    from difflib import get_close_matches

    from trainer_core.errors import UserError

    known = [" ".join(words) for words in COMMANDS] + list(installed)
    group = [name for name in known if name.split(" ")[0] == arguments[0]]
    if group and arguments[1:2] in (["-h"], ["--help"]):
        print(_group_help(arguments[0]))
        return 0
    if group:
        words = [name.split(" ")[1] for name in group]
        near = get_close_matches(arguments[1], words, 1) if arguments[1:] else []
        hint = f"; did you mean 'trainer {arguments[0]} {near[0]}'?" if near else ""
        msg = f"'trainer {arguments[0]}' needs one of: {', '.join(words)}{hint}"
        raise UserError(msg)
    near = get_close_matches(" ".join(arguments[:2]), known, 1) or get_close_matches(
        arguments[0], known, 1
    )
    hint = f"; did you mean 'trainer {near[0]}'?" if near else "."
    msg = f"unknown command {arguments[0]!r}{hint} See trainer --help"
    raise UserError(msg)
