"""Mutual information from neighbours, the autoencoders, and the ranking of episodes."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import digamma
from torch import Tensor, nn

from experiments_il.blocks.vae import ActionVAE, ImageVAE, StateVAE
from experiments_il.commands.score import score_run, write_scores
from experiments_il.losses import L2
from experiments_il.mutual_information import EpisodeScore, ksg_scores, score_episodes
from experiments_il.trainers.mutual_information import MutualInformationEstimatorTrainer
from trainer_core.errors import DatasetError, UserError
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom
from trainer_core.step import StepOptions


def correlated(rho: float, d: int, seed: int, count: int = 1024) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(count, d, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, rho * x + (1 - rho**2) ** 0.5 * w


def reference(first: Tensor, second: Tensor, neighbours: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the definition written out, frame by frame."""
    a, b = first.double().numpy(), second.double().numpy()
    found = []
    for i in range(len(a)):
        near = [np.linalg.norm(each - each[i], axis=1) for each in (a, b)]
        joint = np.sort(np.delete(np.maximum(*near), i))
        terms = []
        for k in neighbours:
            counts = [max(1, int((distance < joint[k - 1]).sum())) for distance in near]
            terms.append(digamma(k) + digamma(len(a)) - sum(digamma(n) for n in counts))
        found.append(np.mean(terms))
    return np.array(found)


@pytest.mark.parametrize(
    ("d", "rho"), [(1, 0.0), (1, 0.5), (1, 0.9), (1, 0.99), (2, 0.5), (2, 0.9)]
)
def test_estimate_is_near_the_information_of_gaussians(d: int, rho: float) -> None:
    estimates = [float(ksg_scores(*correlated(rho, d, seed)).mean()) for seed in range(4)]
    assert sum(estimates) / 4 == pytest.approx(-d / 2 * np.log(1 - rho**2), abs=0.08)


def test_scores_equal_a_loop() -> None:
    x, y = correlated(0.7, 3, 0, count=256)
    assert np.allclose(ksg_scores(x, y).numpy(), reference(x, y, (5, 6, 7)), atol=1e-6)


def test_order_of_frames_does_not_matter() -> None:
    x, y = correlated(0.7, 2, 0, count=200)
    order = torch.randperm(200)
    assert torch.equal(ksg_scores(x[order], y[order]), ksg_scores(x, y)[order])


def test_repeated_frames_have_finite_scores() -> None:
    assert torch.isfinite(ksg_scores(torch.zeros(32, 2), torch.zeros(32, 2))).all()


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        ksg_scores(torch.zeros(7, 1), torch.zeros(7, 1))
    assert str(caught.value) == "7 frames have no 7 neighbours; more are needed"


def test_frames_of_one_group_are_no_neighbours() -> None:
    x, y = correlated(0.7, 2, 0, count=300)
    groups = torch.arange(300) // 100
    scores = ksg_scores(x, y, groups=groups)
    others = torch.cat([torch.tensor([7]), torch.arange(100, 300)])  # of frame 7
    assert float(scores[7]) == pytest.approx(float(ksg_scores(x[others], y[others])[0]))


def test_many_frames_are_scored_part_by_part() -> None:
    x, y = correlated(0.7, 1, 0, count=1100)
    assert np.allclose(ksg_scores(x, y).numpy(), reference(x, y, (5, 6, 7)), atol=1e-6)


def test_single_episode_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(UserError) as caught:
        score_episodes(torch.randn(20, 1), torch.randn(20, 1), torch.zeros(20, dtype=torch.int64))
    assert str(caught.value) == (
        "20 frames have no 7 neighbours in other episodes; more are needed"
    )


def test_clean_episodes_rank_above_noisy_ones() -> None:
    x, y = correlated(0.95, 1, 0)
    y[512:] = torch.randn(512, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    episodes = torch.arange(1024) // 64
    scores = score_episodes(x, y, episodes, batch=512)
    assert {each.episode for each in scores[:8]} == set(range(8))
    assert [each.n for each in scores] == [64] * 16


def test_smooth_episode_that_contradicts_all_others_ranks_last() -> None:
    starts = 0.3 * torch.randn(10, 1, 2, generator=torch.Generator().manual_seed(0))
    states = starts + torch.linspace(0, 2, 60).reshape(1, 60, 1)
    actions = states.clone()
    actions[3] += 1.0
    episodes = torch.arange(600) // 60
    scores = score_episodes(states.reshape(600, 2), actions.reshape(600, 2), episodes)
    assert scores[-1].episode == 3


def test_scale_of_a_latent_does_not_matter() -> None:
    x, y = correlated(0.7, 2, 0)
    episodes = torch.arange(1024) // 64
    plain, scaled = (score_episodes(x * s, y / s, episodes) for s in (1.0, 8.0))
    assert [each.score for each in plain] == pytest.approx([each.score for each in scaled])


def test_repeated_states_have_finite_scores() -> None:
    x, y = torch.zeros(64, 1), torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    scores = score_episodes(x, y, torch.arange(64) // 16)
    assert all(np.isfinite(each.score) for each in scores)


def make_trainer(**settings: Any) -> MutualInformationEstimatorTrainer:
    torch.manual_seed(0)
    vaes = {"state_vae": StateVAE(6, 1, 4, [64]), "action_vae": ActionVAE(2, 4, 3, [64])}
    models = nn.ModuleDict(vaes)
    optimizer = torch.optim.Adam(models.parameters(), 3e-3)
    settings = {"loss": None} | settings
    return MutualInformationEstimatorTrainer(
        models, {"default": optimizer}, device="cpu", **settings
    )


def make_batch(size: int = 64, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(size, 2, generator=generator)
    mixing = torch.linspace(-1, 1, 12).reshape(2, 6)
    pad = torch.arange(4).expand(size, 4) >= 2 + torch.arange(size).unsqueeze(1) % 3
    action = hidden.unsqueeze(1).expand(size, 4, 2)
    return {"observation.state": hidden @ mixing, "action": action, "action_is_pad": pad}


def context(size: int = 64) -> StepContext:
    return StepContext(0, 10, 0, KeyedRandom(0, 0, total=size))


def train(trainer: MutualInformationEstimatorTrainer, steps: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for step in range(steps):
        batch = make_batch(seed=step)
        metrics = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=step)
    return metrics


def test_without_divergence_states_are_rebuilt() -> None:
    metrics = train(make_trainer(beta=0.0), 300)
    variance = float(make_batch(1000)["observation.state"].var(dim=0).sum())
    assert float(metrics["state_vae_error"]) < 0.05 * variance


def test_strong_divergence_empties_the_latent() -> None:
    metrics = train(make_trainer(beta=1000.0), 200)
    assert float(metrics["state_vae_kl"]) < 0.05


def test_padded_actions_change_nothing() -> None:
    trainer, batch = make_trainer(), make_batch()
    pad = batch["action_is_pad"].unsqueeze(-1)
    other = batch | {"action": torch.where(pad, float("nan"), batch["action"])}
    losses = [trainer.compute_losses(each, context())[0] for each in (batch, other)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(trainer.embed(batch)[1], trainer.embed(other)[1])


def test_told_losses_have_the_total_as_their_mean() -> None:
    told: list[Tensor] = []
    where = context()
    where.listener = told.append
    total, _ = make_trainer().compute_losses(make_batch(), where)
    torch.testing.assert_close(told[0].mean(), total.detach())
    assert told[0].shape == (64,)


def test_two_micro_batches_equal_one_batch() -> None:
    gradients = []
    for parts in (1, 2):
        trainer = make_trainer()
        trainer.configure(StepOptions(grad_accum_steps=parts))
        trainer.compute_gradients(make_batch(), epoch=0, iterations=0)
        gradients.append([p.grad for p in trainer.models.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_images_are_embedded_beside_states() -> None:
    models = nn.ModuleDict({"camera_vae": ImageVAE(8, 3, [4, 8]), "action_vae": ActionVAE(2, 4, 3)})
    trainer = MutualInformationEstimatorTrainer(
        models, {}, None, "cpu", cameras={"observation.images.top": "camera_vae"}
    )
    batch = make_batch(5)
    image = torch.randint(255, (5, 1, 3, 8, 8), dtype=torch.uint8)
    batch |= {"observation.images.top": image}
    assert trainer.embed(batch)[0].shape == (5, 3)
    total, metrics = trainer.compute_losses(batch, context(5))
    assert torch.isfinite(total)
    assert sorted(metrics) == [
        "action_vae_error",
        "action_vae_kl",
        "camera_vae_error",
        "camera_vae_kl",
    ]


def test_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^size 10 is no multiple of 8 \(stages: 3\)$"):
        ImageVAE(10)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"shape \(2, 5\), the autoencoder was built for \(B, 1, 6\)$"
    ):
        StateVAE(6)(torch.zeros(2, 5), torch.zeros(2, 12))
    with pytest.raises(ValueError, match=r"the autoencoder was built for \(3, 8, 8\)$"):
        ImageVAE(8)(torch.zeros(2, 3, 16, 16), torch.zeros(2, 16))


def test_own_loss_section_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        make_trainer(loss=L2())
    assert str(caught.value) == "this trainer brings its own loss; remove the `loss:` section"


def test_trainer_without_observation_is_refused() -> None:
    models = nn.ModuleDict({"action_vae": ActionVAE(2, 4, 3)})
    with pytest.raises(UserError) as caught:
        MutualInformationEstimatorTrainer(models, {}, None, "cpu")
    assert str(caught.value) == (
        "models: needs 'state_vae', or trainer.cameras an image's autoencoder"
    )


def test_missing_observation_is_named() -> None:
    with pytest.raises(DatasetError) as caught:
        make_trainer().embed({"action": torch.zeros(2, 4, 2)})
    assert str(caught.value) == "the batch has no observation.state; it has action"


def test_folder_without_checkpoint_is_named(tmp_path: Any) -> None:
    with pytest.raises(UserError) as caught:
        score_run(tmp_path)
    assert str(caught.value) == f"{tmp_path} has no checkpoint; give the folder of a run"


def test_folder_that_is_not_there_is_named_with_its_neighbours(tmp_path: Any) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError) as caught:
        score_run(tmp_path / "rums")
    assert str(caught.value) == (
        f"{tmp_path}/rums: no such folder; give the folder of a run; "
        f"did you mean '{tmp_path}/runs'?"
    )


def test_run_of_a_policy_is_refused_before_torch_is_imported(tmp_path: Any) -> None:
    step = tmp_path / "checkpoints/step-000000004"
    step.mkdir(parents=True)
    (step / "config.resolved.yaml").write_text("trainer: {_type_: trainer.default}\n")
    (step / "MANIFEST.json").write_text("{}")
    code = (
        "import sys\nfrom experiments_il.commands.score import check_run\n"
        "from pathlib import Path\n"
        "try:\n    check_run(Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == (
        f"{tmp_path} was trained by default; episodes are scored by a run of "
        "mutual_information_estimator_trainer False\n"
    )


def test_share_to_keep_must_be_one(tmp_path: Any) -> None:
    with pytest.raises(UserError) as caught:
        write_scores([EpisodeScore(0, 1.0, 2, 0.1)], tmp_path / "scores.json", keep=0.0)
    assert str(caught.value) == "--keep must be above 0 and at most 1, got 0"
