from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from trainer_core.cli import main
from trainer_core.experiment.loading import load_experiment

Capture = pytest.CaptureFixture[str]
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "migrate.md"

FIRST = """\
# the arm in the lab
plugins:
  - training.components.loss  # ours
# models
model:
  # three of them
  component_config_paths:
    head: models/head.yaml
  component_build_args:
    head: {init: true, freeze: no, depth: 3}
  component_optims:
    head:
      type: adamw  # the usual one
      params:
        lr: 1e-4   # found by hand
        fused_: 1
data:
  datamodule: {type: Random_Regression, params: {x_shape: [8], y_shape: [1], size: 1_000}}
  batch_size: 16
  pin_memory: yes
train:
  epoch: 2
  # every ten epochs
  save_every: 10
  save_dir: runs/lab
  loss: {type: torch, params: {fn: {_type_: nn.MSELoss}}}
  trainer: {type: default_trainer}
"""
SECOND = """\
defaults: [base.yaml]
imports: [extensions.parts]
settings: {strict: true, allow_imports: true}
run: {name: second, out_dir: "runs/${run.name}", deterministic: on}
data:
  _type_: data.random_regression
  steps_per_epoch: 20  # short
  batch_size: 32
  x_shape: [8]
  y_shape: [1]
model:
  sequential:
    layers:
      - _type_: mlp  # small
        dims: [8, 16, 1]
loss: {_type_: loss.torch, fn: {_type_: nn.MSELoss}}
io: {_type_: io.mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
optimizer: {_type_: optim_factory.torch, type: optim_cls.AdamW, kwargs: {lr: 1.0e-3}}
trainer: {_type_: trainer.default, max_epochs: 2, val_every_n_epochs: 1}
loggers:
  - _type_: log.stdout
    every_n_steps: 10
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models", "new"):
        Path(name).mkdir()
    Path("models/head.yaml").write_text("model: {_type_: mlp, dims: [8, 64, 1]}\n")
    Path("base.yaml").write_text("params: {}\n")


def migrate(text: str, capsys: Capture, output: str = "new.yaml") -> tuple[str, list[str]]:
    Path("old.yaml").write_text(text)
    assert main(["config", "migrate", "old.yaml", "--output", output]) == 0
    return Path(output).read_text(), capsys.readouterr().err.splitlines()


def test_first_generation_becomes_our_sections(capsys: Capture) -> None:
    text, _ = migrate(FIRST, capsys, "new/new.yaml")
    assert text == (
        "# the arm in the lab\n"
        "schema_version: 1\n"
        "\n"
        "run:\n"
        "  name: old\n"
        "  out_dir: runs/lab\n"
        "\n"
        "# models\n"
        "models:\n"
        "  head:\n"
        '    config: "../models/head.yaml"\n'
        "    init: true\n"
        "    freeze: false\n"
        "    optimizer:\n"
        "      _type_: AdamW  # the usual one\n"
        "      lr: 1e-4  # found by hand\n"
        "      # not carried over from line 16: optim_cls.AdamW has no parameter 'fused_'; "
        "the nearest is 'fused'\n"
        "      #   fused_: 1\n"
        "    # not carried over from line 10: there is no such setting any more\n"
        "    #   depth: 3\n"
        "\n"
        "data:\n"
        "  _type_: random_regression\n"
        "  x_shape: [8]\n"
        "  y_shape: [1]\n"
        "  size: 1000\n"
        "  batch_size: 16\n"
        "  # not carried over from line 20: the loader sets this itself\n"
        "  #   pin_memory: yes\n"
        "\n"
        "loss: {_type_: torch, fn: {_type_: nn.MSELoss}}\n"
        "\n"
        "trainer:\n"
        "  _type_: default\n"
        "  max_epochs: 2\n"
        "  # not carried over from line 24: a run saves by time and at its end; "
        "cb.model_checkpoint has every_n_steps\n"
        "  #   # every ten epochs\n"
        "  #   save_every: 10\n"
        "\n"
        "# not carried over from line 2: components come from installed wheels; "
        "'trainer plugins list' shows them\n"
        "#   plugins:\n"
        "#     - training.components.loss  # ours\n"
        "# comment from line 6: three of them\n"
    )


def test_what_is_lost_or_renamed_is_reported_with_its_line(capsys: Capture) -> None:
    _, errors = migrate(FIRST, capsys)
    assert [line.split(": ")[:3] for line in errors] == [
        ["old.yaml:2", "not carried over", "plugins"],
        ["old.yaml:10", "not carried over", "model.component_build_args.head.depth"],
        ["old.yaml:13", "note", "models.head.optimizer._type_"],
        ["old.yaml:16", "not carried over", "models.head.optimizer.fused_"],
        ["old.yaml:18", "note", "data._type_"],
        ["old.yaml:20", "not carried over", "data.pin_memory"],
        ["old.yaml:24", "not carried over", "train.save_every"],
        ["old.yaml:25", "note", "train.save_dir"],
        ["old.yaml:27", "note", "trainer._type_"],
    ]


def test_second_generation_passes_the_check(capsys: Capture) -> None:
    text, errors = migrate(SECOND, capsys)
    experiment = load_experiment("new.yaml")
    assert experiment.config.data.component["size"] == 640
    assert experiment.config.run.deterministic is True
    assert "      - _type_: mlp  # small\n        dims: [8, 16, 1]\n" in text
    assert "  size: 640  # short\n" in text
    assert [line.split(": ")[2] for line in errors] == [
        "imports",
        "settings.allow_imports",
        "data.steps_per_epoch",
        "trainer.val_every_n_epochs",
        "loggers.0.every_n_steps",
    ]


def test_summary_says_what_is_left_to_do(capsys: Capture) -> None:
    Path("old.yaml").write_text(SECOND)
    assert main(["config", "migrate", "old.yaml", "--output", "new.yaml"]) == 0
    assert capsys.readouterr().out == (
        "new.yaml: written; 4 values kept as comments; "
        "'trainer check new.yaml' finds nothing to mend\n"
    )


def test_text_goes_to_stdout_without_output(capsys: Capture) -> None:
    Path("old.yaml").write_text(SECOND)
    assert main(["config", "migrate", "old.yaml"]) == 0
    assert capsys.readouterr().out.startswith("schema_version: 1\n")


def test_component_that_is_not_installed_is_noted(capsys: Capture) -> None:
    _, errors = migrate("loss: {_type_: loss.magic, a: 1}\n", capsys)
    assert errors == [
        "old.yaml:1: note: loss._type_: no loss of the name 'loss.magic' is installed"
    ]


def test_numbers_of_frames_become_windows(capsys: Capture) -> None:
    params = "{root: a, action_horizon: 40, obs_proprio_history: 3}"
    text, errors = migrate(f"data: {{datamodule: {{type: lerobot, params: {params}}}}}", capsys)
    assert (
        "data:\n"
        "  _type_: lerobot\n"
        "  root: a\n"
        "  windows:\n"
        "    action: [0, 40]\n"
        "    observation.state: [-2, 1]\n"
    ) in text
    where = "old.yaml:1: note: data.datamodule.params"
    assert errors == [
        f"{where}.action_horizon: is the window of action now",
        f"{where}.obs_proprio_history: is the window of observation.state now",
    ]


def test_section_of_the_wrong_kind_is_kept_as_a_comment(capsys: Capture) -> None:
    text, errors = migrate("train: {loss: 3, epoch: 1}\nmodel: [head.yaml]\n", capsys)
    assert [line.split(": ", 2)[2] for line in errors] == [
        "train.loss: this must be a mapping",
        "model: this must be a mapping",
    ]
    assert "#   model: [head.yaml]\n" in text


def test_page_shows_what_the_command_writes(capsys: Capture) -> None:
    old, new = re.findall(
        r"^```(?:text|yaml)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert migrate(old, capsys)[0] == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "error: old.yaml has no section of an experiment file of an earlier generation"),
        ("train: [\n", "old.yaml:2:1: error: "),
        ("train: {}\ntrain: {}\n", "old.yaml:2:1: error: train: the key 'train' occurs twice"),
        (None, "error: cannot read old.yaml: No such file or directory"),
    ],
)
def test_file_that_cannot_be_migrated_is_exit_code_2(
    text: str | None, message: str, capsys: Capture
) -> None:
    if text is not None:
        Path("old.yaml").write_text(text)
    assert main(["config", "migrate", "old.yaml", "--output", "new.yaml"]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert not Path("new.yaml").exists()


def test_existing_file_is_not_overwritten(capsys: Capture) -> None:
    Path("old.yaml").write_text(SECOND)
    Path("new.yaml").write_text("mine")
    assert main(["config", "migrate", "old.yaml", "--output", "new.yaml"]) == 2
    assert Path("new.yaml").read_text() == "mine"
    assert capsys.readouterr().err == (
        "error: new.yaml exists already; give another name or remove it\n"
    )


def test_type_written_alone_becomes_a_component(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text("train: {trainer: default, loss: l2, epoch: 3}\n")
    assert main(["config", "migrate", str(tmp_path / "old.yaml")]) == 0
    new = yaml.safe_load(capsys.readouterr().out)
    assert new["trainer"] == {"_type_": "default", "max_epochs": 3}
    assert new["loss"] == {"_type_": "l2"}
