"""Nothing of an old file is dropped in silence, whatever state the file is in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError
from trainer_core.experiment.migration.migrate import Migrated, migrate

if TYPE_CHECKING:
    from pathlib import Path

PLUGINS = discover()
WORDS = st.integers(0, 10**6).map(lambda number: f"word{number}x")
SCALARS = WORDS | st.sampled_from([None, True, 4, "${params.a}"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def section(known: str, values: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(known.split()) | WORDS
    return st.dictionaries(keys, values, max_size=5) | VALUES


SPECS = section("type params _type_", section("lr batch_size max_steps _type_ windows"))
PER_MODEL = section("head tail", SPECS | section("init freeze"))
FIRST = st.fixed_dictionaries(
    {"train": section("trainer loss epoch max_epochs max_steps save_dir seed project_name", SPECS)},
    optional={
        "plugins": VALUES,
        "model": section(
            "config_path component_config_paths component_build_args component_optims "
            "find_unused_parameters",
            PER_MODEL,
        ),
        "data": section("datamodule batch_size num_workers pin_memory shuffle", SPECS),
    },
)
SECOND = st.fixed_dictionaries(
    {"run": section("name out_dir seed")},
    optional={
        **dict.fromkeys(("trainer", "data", "io", "loss", "optimizer", "scheduler"), SPECS),
        **dict.fromkeys(("callbacks", "loggers", "metrics"), st.lists(SPECS, max_size=2) | VALUES),
        "imports": VALUES,
        "settings": section("strict allow_imports"),
        "model": VALUES,
    },
)


def migrated(folder: Path, text: str) -> Migrated:
    old = folder / "old.yaml"
    old.write_text(text, encoding="utf-8")
    return migrate(old, folder, PLUGINS)


@given(document=FIRST | SECOND, is_flow=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_word_of_the_old_file_is_in_the_new_one(
    document: dict[str, Any], is_flow: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=is_flow or None)
    new = migrated(tmp_path_factory.getbasetemp(), text).text
    assert set(re.findall(r"word\d+x", text)) <= set(re.findall(r"word\d+x", new)), text + new
    yaml.safe_load(new)


def test_parameter_and_engine_key_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = migrated(
        tmp_path,
        "data: {datamodule: {type: x, params: {batch_size: 3}}, batch_size: 4}\n"
        "train: {max_steps: 5, epoch: 7}\n",
    )
    assert "batch_size: 4\n" in found.text
    assert [line.partition(": ")[2] for line in found.report.to_lines()] == [
        "not carried over: data.datamodule.params.batch_size: the engine's key has this name now",
        "note: data._type_: no data set of the name 'x' is installed",
        "not carried over: train.epoch: a run has max_steps or max_epochs, not both",
    ]


def test_tuples_and_merge_keys_are_written_out(tmp_path: Path) -> None:
    text = migrated(
        tmp_path,
        "model:\n"
        "  component_optims:\n"
        "    a: &base {type: adamw, params: {lr: 1e-4, betas: !!python/tuple [0.9, 0.95]}}\n"
        "    b:\n"
        "      <<: *base\n"
        "      params: {lr: 3e-4}  # found by hand\n",
    ).text
    assert "betas: [0.9, 0.95]" in text
    assert "  b:\n    optimizer:\n      _type_: AdamW\n      lr: 3e-4" in text
    assert text.count("found by hand") == 1


def test_resolvers_of_other_systems_are_named(tmp_path: Path) -> None:
    found = migrated(tmp_path, "train: {save_dir: '${oc.env:HOME}/${now:%Y}'}\n")
    assert "out_dir: '${env:HOME}/${now:%Y}'" in found.text
    (line,) = [line for line in found.report.to_lines() if "note: $" in line]
    assert line.endswith("note: ${now:...}: there is no such resolver, only ${env:NAME}")


def test_empty_file_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no section of an experiment file"):
        migrated(tmp_path, "")
