"""Machines that would not train alike are told from one another, and in what they differ."""

from __future__ import annotations

import copy
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_ray.cluster import require_token
from trainer_ray.options import Options
from trainer_ray.software import (
    describe_software,
    explain_environment,
    software_differences,
    with_wheels,
)

if TYPE_CHECKING:
    from pathlib import Path

PART = """
from trainer_core.datasets import RandomRegression

class Mine(RandomRegression):
    pass
"""


@pytest.fixture
def described(
    dropout_experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What is told of a machine whose run has a data set of a wheel `mine`."""
    info = tmp_path / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trainer_core.datasets]\nmine = mine:Mine\n")
    (tmp_path / "site" / "mine.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path / "site")
    dropout_experiment["data"]["_type_"] = "mine"
    return describe_software(load_experiment(dropout_experiment))


def test_versions_and_wheels_of_the_run_are_told(described: dict[str, Any]) -> None:
    libraries = {"Python": platform.python_version(), "ray": version("ray")}
    assert described["versions"] == {**libraries, "torch": version("torch")}
    assert sorted(described["wheels"]) == [
        "mine",
        "policy-constructor",
        "trainer-core",
        "trainer-ray",
    ]
    assert described["wheels"]["mine"]["version"] == "1.0"


def test_the_same_machine_differs_in_nothing(described: dict[str, Any]) -> None:
    assert software_differences(described, copy.deepcopy(described)) == []


def test_each_difference_is_a_clause(described: dict[str, Any]) -> None:
    other = {**copy.deepcopy(described), "host": "another machine"}
    other["versions"] |= {"Python": "3.9.1", "ray": "2.1", "torch": "1.0"}
    other["wheels"]["mine"] = {"version": "2.0", "digest": ""}
    other["wheels"]["trainer-core"]["digest"] = ""
    del other["wheels"]["trainer-ray"]
    core, own = version("trainer-core"), version("trainer-ray")
    assert software_differences(described, other) == [
        f"Python is {platform.python_version()} where the run was started, and 3.9.1 here",
        f"ray is {version('ray')} where the run was started, and 2.1 here",
        f"torch is {version('torch')} where the run was started, and 1.0 here",
        "mine is 1.0 where the run was started, and 2.0 here",
        f"trainer-core {core} has other files here",
        f"trainer-ray is {own} where the run was started, and not used here",
    ]


def test_a_changed_file_of_the_same_version_is_noticed(
    described: dict[str, Any], dropout_experiment: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "site" / "mine.py").write_text(PART + "# changed\n")
    now = describe_software(load_experiment(dropout_experiment))
    assert software_differences(described, now) == []
    elsewhere = {**now, "host": "another machine"}
    assert software_differences(described, elsewhere) == ["mine 1.0 has other files here"]


def test_a_cluster_that_obeys_without_a_token_has_to_be_on_loopback() -> None:
    options = Options()
    require_token(options, ["127.0.0.1"], is_open=True)
    require_token(options, ["127.0.0.1", "10.1.2.3"], is_open=False)
    with pytest.raises(UserError, match=r"'token', and 10\.1\.2\.3 is not the loopback interface"):
        require_token(options, ["127.0.0.1", "10.1.2.3"], is_open=True)


def test_the_wheels_of_a_run_travel_by_name_and_version(
    dropout_experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_experiment(dropout_experiment)
    given = {"env_vars": {"A": "1"}, "pip": "auto"}
    own = ("policy-constructor", "trainer-core", "trainer-ray")
    for name in own:  # the same as wheels
        info = tmp_path / "site" / f"{name.replace('-', '_')}-7.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 7.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert with_wheels(loaded, {"pip": ["numpy"]}) == {"pip": ["numpy"]}
    assert with_wheels(loaded, given) == {
        "env_vars": {"A": "1"},
        "pip": [f"{name}==7.0" for name in own],
    }


def test_sources_cannot_travel_as_wheels(
    dropout_experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "trainer_core-7.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trainer-core\nVersion: 7.0\n")
    (info / "direct_url.json").write_text('{"url": "file:///a", "dir_info": {"editable": true}}')
    for name in ("policy_constructor", "trainer_ray"):
        folder = info.with_name(f"{name}-7.0.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 7.0\n")
    loaded = load_experiment(dropout_experiment)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(UserError, match=r"trainer-core is used from its sources in file:///a: "):
        with_wheels(loaded, {"pip": "auto"})


def test_a_wheel_that_a_machine_cannot_have_is_named() -> None:
    told = (
        "Could not create the actor because its associated runtime env failed to be created.\n"
        "[Node 10.77.0.2] Traceback (most recent call last):\n"
        "ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[18] failed\n"
        "    ERROR: Could not find a version that satisfies the requirement mine==1.0\n"
        "    ERROR: No matching distribution found for mine==1.0\n"
    )
    assert explain_environment("ray", "the worker died") is None
    assert str(explain_environment("ray", told)) == (
        "runner ray: a machine cannot make the runtime_env: No matching distribution found for "
        "mine==1.0; where pip looks there is said by PIP_FIND_LINKS, PIP_INDEX_URL and "
        "PIP_CONSTRAINT of the process that was started with `ray start`"
    )
