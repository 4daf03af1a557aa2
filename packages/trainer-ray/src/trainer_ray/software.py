"""What a machine would train with: versions, and a digest of the files of each wheel of the run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.engine.runfolder import describe_plugins
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = [
    "describe_software",
    "explain_environment",
    "require_same_software",
    "software_differences",
    "with_wheels",
]

_LIBRARIES = ("ray", "torch")
_OWN = {
    "policy-constructor": {"policy_constructor"},
    "trainer-core": {"trainer_core"},
    "trainer-ray": {"trainer_ray"},
}
_SUFFIXES = (".py", ".so", ".yaml", ".json")


def describe_software(loaded: LoadedExperiment) -> dict[str, Any]:
    """Return what has to be the same on every machine of a run, as JSON data.

    Returns:
        `host`: the name of this machine; `versions` of Python, Ray and torch; for each wheel that
        the run has components or hooks of, and for those of the runner itself, its `version` and a
        `digest` of its files and of its table of entry points.
    """
    plugins = describe_plugins(loaded)
    tables = {dist: wheel["entry_points"] for dist, wheel in plugins["wheels"].items()}
    hooks = loaded.plugins.usable(loaded.plugins.hooks)
    targets = [(row["dist"], row["target"]) for row in plugins["plugins"]]
    packages = _packages([*targets, *((ref.dist, ref.target) for ref in hooks)])
    wheels = {
        dist: {"version": _version(dist), "digest": _digest(tops, tables.get(dist, ""))}
        for dist, tops in sorted(packages.items())
    }
    versions = {name: _version(name) for name in _LIBRARIES}
    versions = {"Python": platform.python_version(), **versions}
    return {"host": platform.node(), "versions": versions, "wheels": wheels}


def require_same_software(there: Mapping[str, Any], loaded: LoadedExperiment) -> None:
    """Refuse a machine that would not train as the one where the run was started.

    Args:
        there: What `describe_software` returned there.
        loaded: The experiment, loaded here.

    Raises:
        UserError: They differ; the message names the machine, and in what.
    """
    differences = software_differences(there, describe_software(loaded))
    if not differences:
        return
    import ray  # noqa: PLC0415 - only to say where

    where = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call] # Ray leaves it so
    msg = f"the machine {where} has other software:\n  " + "\n  ".join(differences)
    raise UserError(msg)


def with_wheels(loaded: LoadedExperiment, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `runtime_env` in which `pip: auto` stands for the wheels of the run.

    Args:
        loaded: The experiment.
        runtime_env: As in the file.

    Raises:
        UserError: A wheel has no version that others could install: it is used from its sources.
    """
    if runtime_env.get("pip") != "auto":
        return dict(runtime_env)
    wheels = describe_software(loaded)["wheels"]
    for name in wheels:
        folder = _sources(name)
        if folder:
            msg = (
                "runner ray: runtime_env.pip: auto installs the wheels of the run by name and "
                f"version on every machine, and {name} is used from its sources in {folder}: build "
                "wheels (hatch build), or install the same sources on every machine"
            )
            raise UserError(msg)
    pinned = [f"{name}=={wheel['version']}" for name, wheel in wheels.items()]
    return {**runtime_env, "pip": pinned}


def explain_environment(runner: str, told: str) -> UserError | None:
    """Return why a machine could not make the `runtime_env` of a run; None if that is not told.

    Args:
        runner: Name of the runner.
        told: What Ray says of workers that could not be started: pages, with what pip wrote.
    """
    if "runtime env failed to be created" not in told:
        return None
    reasons = re.findall(r"ERROR: (.+)", told) or re.findall(r"(?m)^(\S*Error: .+)", told)
    reason = reasons[-1].strip() if reasons else "Ray does not say why"
    msg = (
        f"runner {runner}: a machine cannot make the runtime_env: {reason}; where pip looks there "
        "is said by PIP_FIND_LINKS, PIP_INDEX_URL and PIP_CONSTRAINT of the process that was "
        "started with `ray start`"
    )
    return UserError(msg)


def _sources(dist: str) -> str | None:
    try:
        text = importlib.metadata.distribution(dist).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return "this folder"
    origin = json.loads(text) if text else {}
    return str(origin["url"]) if origin.get("dir_info", {}).get("editable") else None


def software_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return in what two machines differ, one clause for each.

    On one machine, only versions count: whoever edits a file while a run starts may do so.

    Args:
        there: What the machine has where the run was started.
        here: What another one has.
    """
    with_files = there["host"] != here["host"]
    found = [
        f"{name} is {version} where the run was started, and {here['versions'].get(name)} here"
        for name, version in there["versions"].items()
        if here["versions"].get(name) != version
    ]
    for name, wheel in there["wheels"].items():
        other = here["wheels"].get(name)
        if other is None or other["version"] != wheel["version"]:
            has = "not used" if other is None else other["version"]
            found.append(f"{name} is {wheel['version']} where the run was started, and {has} here")
        elif with_files and other["digest"] != wheel["digest"]:
            found.append(f"{name} {wheel['version']} has other files here")
    return found


def _packages(targets: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the importable names of the wheels of a run."""
    used = {name: set(packages) for name, packages in _OWN.items()}
    for dist, target in targets:
        top = target.partition(":")[0].partition(".")[0]
        if top not in _LIBRARIES:  # gigabytes, and their versions are compared
            used.setdefault(dist, set()).add(top)
    return used


def _version(dist: str) -> str:
    try:
        return importlib.metadata.version(dist)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _digest(packages: Iterable[str], table: str) -> str:
    """Return a digest of the names and contents of the files of packages, installed or editable."""
    digest = hashlib.sha256(table.encode())
    for package in sorted(packages):
        for name, file in sorted(_files(package)):
            digest.update(f"{package}/{name}".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(package: str) -> Iterator[tuple[str, Path]]:
    spec = find_spec(package)
    if spec is None:
        return
    if spec.submodule_search_locations is None and spec.origin:
        yield package, Path(spec.origin)
    for root in spec.submodule_search_locations or ():
        for file in Path(root).rglob("*"):
            if file.suffix in _SUFFIXES:
                yield file.relative_to(root).as_posix(), file
