"""A mixture holds what its data sets hold, in their shares, in one schema."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.experiments_il.data.synthetic import write_lerobot

from experiments_il.data.export import export
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.file_factories import RobomimicFactory
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.mixture import MixtureFactory
from experiments_il.data.mixture_shapes import describe
from policy_constructor.errors import ConfigError
from trainer_core.checkpoint.data_description import describe_data
from trainer_core.discovery.plugins import discover
from trainer_core.errors import DatasetError
from trainer_core.experiment.loading import load_experiment
from trainer_core.instantiate import instantiate
from trainer_core.normalize import Normalizer
from trainer_core.sampling import SampleOrder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset

    from policy_constructor.errors import Problem

WINDOW: dict[str, Any] = {"windows": {"action": [0, 3]}}


def two(make_dataset: MakeDataset, **parameters: Any) -> dict[str, Any]:
    """Return a set of 6 frames and one of 20; `action` of the second is an episode long."""
    return {
        name: LeRobotFactory(str(make_dataset(lengths, name)), **parameters)
        for name, lengths in (("small", (2, 4)), ("large", (20,)))
    }


def build(datasets: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return MixtureFactory(datasets, **parameters).build({}, {})


def test_every_sample_is_in_an_epoch_once(make_dataset: MakeDataset) -> None:
    datasets = two(make_dataset, **WINDOW)
    mixture = build(datasets)["dataset"]
    batch = mixture.__getitems__(range(len(mixture)))
    assert len(mixture) == 26
    assert batch["dataset_index"].tolist() == [0] * 6 + [1] * 20
    for name, rows in (("small", slice(0, 6)), ("large", slice(6, 26))):
        alone = datasets[name].build({}, {})["dataset"]
        whole = alone.__getitems__(range(len(alone)))
        assert set(whole) == set(batch) - {"dataset_index"}
        for key, values in whole.items():
            torch.testing.assert_close(batch[key][rows], values, rtol=0, atol=0)


def test_samples_are_where_they_were_asked_for(make_dataset: MakeDataset) -> None:
    mixture = build(two(make_dataset))["dataset"]
    batch = mixture.__getitems__([25, 0, 6, 5])
    assert batch["dataset_index"].tolist() == [1, 0, 1, 0]
    assert batch["index"].tolist() == [19, 0, 0, 5]


@pytest.mark.parametrize("weights", [{"small": 1, "large": 1}, {"small": 3, "large": 1}])
def test_shares_are_those_of_the_weights(
    make_dataset: MakeDataset, weights: dict[str, float]
) -> None:
    mixture = build(two(make_dataset), weights=weights)["dataset"]
    order = SampleOrder(len(mixture), seed=3)
    batch = mixture.__getitems__(order.indices(0, len(mixture)))
    share = float((batch["dataset_index"] == 0).float().mean())
    assert share == pytest.approx(weights["small"] / sum(weights.values()))
    for number, length in ((0, 6), (1, 20)):
        counts = np.bincount(batch["index"][batch["dataset_index"] == number], minlength=length)
        assert len(counts) == length
        assert counts.max() - counts.min() <= 1 <= counts.min()


def test_other_names_and_widths_become_the_same(tmp_path: Path, make_dataset: MakeDataset) -> None:
    export(write_lerobot(tmp_path / "lab"), tmp_path / "sim.hdf5", "robomimic")
    datasets = {
        "narrow": LeRobotFactory(str(make_dataset((3,), "narrow", camera=True)), **WINDOW),
        "wide": RobomimicFactory(str(tmp_path / "sim.hdf5"), windows={"action": [0, 3]}),
    }
    rename = {"wide": {"action": "control"}, "narrow": {"observation.state": "control"}}
    mixture = build(
        datasets, rename=rename, pad={"control": 5}, keys=["timestamp", "episode_index"]
    )["dataset"]
    assert mixture.keys == ("timestamp", "episode_index", "dataset_index")
    with pytest.raises(DatasetError) as caught:
        build(datasets, rename=rename, pad={"control": 5}, keys=["control"])
    assert str(caught.value) == (
        "'control' is float32 [5] in 'narrow' and float32 [3, 5] in 'wide'; "
        "use pad, rename it, or leave it out of keys"
    )


def test_padded_values_end_in_zeros(make_dataset: MakeDataset) -> None:
    mixture = build(two(make_dataset), pad={"observation.state": 4})["dataset"]
    assert mixture[3]["observation.state"].tolist() == [3, -3, 0, 0]


def test_masks_are_renamed_with_their_keys(make_dataset: MakeDataset) -> None:
    rename = {name: {"action": "control"} for name in ("small", "large")}
    batch = build(two(make_dataset, **WINDOW), rename=rename, keys=["control"])["dataset"][5]
    assert batch["control_is_pad"].tolist() == [False, True, True]
    assert set(batch) == {"control", "control_is_pad", "dataset_index"}


def test_merged_statistics_are_those_of_the_samples(make_dataset: MakeDataset) -> None:
    normalize = {"observation.state": "mean_std", "action": "min_max"}
    built = build(
        two(make_dataset, normalize=normalize),
        weights={"small": 1, "large": 1},
        pad={"observation.state": 3},
    )
    mixture, statistics = built["dataset"], built["norm_stats"]
    state = mixture.__getitems__(range(len(mixture)))["observation.state"].double()
    # 6 samples do not divide 20: the shares are exact, a sample more or less is not
    np.testing.assert_allclose(statistics["observation.state"]["mean"], state.mean(0), atol=0.1)
    np.testing.assert_allclose(
        statistics["observation.state"]["std"], state.std(0, correction=0), rtol=0.02
    )
    assert (statistics["action"]["min"], statistics["action"]["max"]) == ([0.0], [9.5])


def test_each_data_set_is_normalised_with_its_own_statistics(make_dataset: MakeDataset) -> None:
    datasets = two(make_dataset, normalize={"observation.state": "min_max"})
    built = build(datasets, statistics="large", pad={"observation.state": 3})
    normalizer = Normalizer(built["norm_stats"])
    batch = normalizer.normalize(built["dataset"].__getitems__(range(26)))
    for number in (0, 1):
        state = batch["observation.state"][batch["dataset_index"] == number]
        torch.testing.assert_close(state.amin(0), torch.tensor([-1.0, -1.0, 0.0]))
        torch.testing.assert_close(state.amax(0), torch.tensor([1.0, 1.0, 0.0]))


def test_validation_is_that_of_the_data_sets(make_dataset: MakeDataset, tmp_path: Path) -> None:
    lab = write_lerobot(tmp_path / "lab", (3, 4, 5))
    datasets = {
        "lab": LeRobotFactory(str(lab.root), val_fraction=0.3),
        "other": LeRobotFactory(str(open_lerobot(make_dataset()).root)),
    }
    built = build(datasets, keys=["index"])
    assert len(built["val_dataset"]) == len(datasets["lab"].build({}, {})["val_dataset"])
    assert built["val_dataset"].keys == ("index", "dataset_index")


def test_mixture_can_be_sent_to_another_process(make_dataset: MakeDataset) -> None:
    normalize = {"observation.state": "mean_std"}
    mixture = build(two(make_dataset, normalize=normalize), statistics="small")["dataset"]
    copy = pickle.loads(pickle.dumps(mixture))
    wanted, found = mixture.__getitems__([1, 20]), copy.__getitems__([1, 20])
    torch.testing.assert_close(found["observation.state"], wanted["observation.state"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"keys": ["acton"]}, "'small' has no key 'acton'; it has action, "),
        ({"rename": {"small": {"acton": "a"}}}, "rename: 'small' has no key 'acton'; did you mean"),
        ({"pad": {"observation.state": 1}}, "pad: 'observation.state' of 'small' is 2 wide, more"),
        ({"weights": {"small": 1, "large": 1e-7}}, "weights: an epoch with all 20 samples of"),
    ],
)
def test_data_sets_that_do_not_fit_are_said(
    make_dataset: MakeDataset, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        build(two(make_dataset), **parameters)
    assert str(caught.value).startswith(message)


def test_different_ways_of_normalising_are_said(make_dataset: MakeDataset) -> None:
    datasets = two(make_dataset, normalize={"action": "min_max"})
    datasets["plain"] = LeRobotFactory(str(make_dataset((2,), "plain")))
    with pytest.raises(DatasetError) as caught:
        build(datasets)
    assert str(caught.value) == (
        "normalize: 'action' has min_max in 'small' and nothing in 'plain'; say the same for all"
    )


def test_names_that_are_not_there_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        MixtureFactory({"lab": None}, weights={"lap": 1}, rename={"sim": {}}, statistics="all")
    assert [problem.path for problem in caught.value.problems] == [
        "data.rename.sim",
        "data.weights.lap",
        "data.statistics",
    ]


def test_different_frame_rates_are_refused_unless_asked_for(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    root = make_dataset((3,))
    export(open_lerobot(root), tmp_path / "demos.hdf5", "robomimic")
    datasets = {
        "lab": LeRobotFactory(str(root), **WINDOW),
        "sim": RobomimicFactory(str(tmp_path / "demos.hdf5"), fps=25, **WINDOW),
    }
    with pytest.raises(DatasetError) as caught:
        build(datasets)
    assert str(caught.value) == (
        "the data sets have different frame rates (frames/s: 'lab' 10, 'sim' 25): a window of "
        "frames is another time in each; record or convert them at one rate, or say "
        "'mixed_fps: true'"
    )
    assert len(build(datasets, mixed_fps=True, keys=["action"])["dataset"]) == 6


def test_padded_dimensions_are_told(make_dataset: MakeDataset) -> None:
    parameters: dict[str, Any] = {"pad": {"observation.state": 4}, "pad_masks": True}
    datasets = two(make_dataset)
    whole = build(datasets, **parameters)["dataset"]
    chosen = build(datasets, keys=["observation.state"], **parameters)["dataset"]
    for mixture in (whole, chosen):
        mask = mixture.__getitems__([0, 7])["observation.state_dim_is_pad"]
        assert mask.tolist() == [[False, False, True, True]] * 2


def mixture_of(root: Path, **parameters: Any) -> dict[str, Any]:
    member = {"_type_": "lerobot", "root": str(root), **WINDOW}
    return {"datasets": {"a": member, "b": {**member, "_type_": "data.lerobot"}}, **parameters}


def test_members_need_no_prefix(make_dataset: MakeDataset) -> None:
    spec = {"_type_": "mixture", **mixture_of(make_dataset())}
    factory = instantiate(spec, discover(), kind="data")
    assert len(factory.build({}, {})["dataset"]) == 30


def test_static_check_knows_the_kind_of_members(make_dataset: MakeDataset) -> None:
    root = make_dataset()

    def check(name: str) -> list[Problem]:
        member = f"{{_type_: {name}, root: {root}, windows: {{action: [0, 8]}}}}"
        data = f"{{_merge_: replace, _type_: mixture, datasets: {{a: {member}}}, batch_size: 4}}"
        changed = [f"data={data}", "evaluation=null"]
        found = load_experiment("il/reach", changed, strict=False).problems
        return [problem for problem in found if problem.path.startswith("data.")]

    assert check("lerobot") == []
    (problem,) = check("lerobt")
    assert (problem.path, problem.suggestions) == ("data.datasets.a._type_", ("lerobot",))


def test_keys_of_a_mixture_are_known_without_reading(make_dataset: MakeDataset) -> None:
    parameters = mixture_of(
        make_dataset(),
        rename={"a": {"action": "control"}, "b": {"action": "control"}},
        pad={"observation.state": 5},
        pad_masks=True,
    )
    shapes = describe(parameters, lambda *said: pytest.fail(str(said)))
    spec = {"_type_": "mixture", **parameters}
    batch = instantiate(spec, discover(), kind="data").build({}, {})["dataset"].__getitems__([0])
    assert shapes == {key: tuple(values.shape[1:]) for key, values in batch.items()}
    said: list[Any] = []
    describe({**parameters, "keys": ["control", "grip"]}, lambda *each: said.append(each))
    assert said == [(("keys", 1), "'a' has no key 'grip'", ())]


def test_order_in_runs_is_refused_in_a_mixture(make_dataset: MakeDataset) -> None:
    with pytest.raises(DatasetError) as caught:
        build(two(make_dataset, order="chunked"))
    assert str(caught.value) == (
        "'small' has an order of its own (order: chunked), which a mixture cannot keep; use "
        "order: shuffled, with cache: jpeg or uint8 for its videos"
    )


def test_mixture_tells_what_its_batches_hold(make_dataset: MakeDataset) -> None:
    mixture = build(two(make_dataset, **WINDOW))["dataset"]
    batch = mixture.__getitems__([0, 5, 20])
    told = describe_data(mixture)["keys"]
    assert set(told) == set(batch) == set(mixture.keys)
    for key, values in batch.items():
        assert told[key]["shape"] == list(values.shape[1:])
        assert told[key]["dtype"] == str(values.dtype).removeprefix("torch.")
