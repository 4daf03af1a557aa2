"""The single-expert trainers: cameras that are dropped, frozen depth features, the L1 loss."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder
from experiments_il.blocks.info import InfoEmbedder
from experiments_il.losses import L1, L2
from experiments_il.trainers.vfp_single_expert import (
    VFPSingleExpertDepthTrainer,
    VFPSingleExpertTrainer,
)
from trainer_core.errors import UserError
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom

CAMERAS = ["left", "right"]
WIDTH, SIZE = 8, 2000


class Average(nn.Module):
    """A backbone of one weight: images `(B, T, C, h, w)` to one token of their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return (self.scale * image.float().mean(dim=(1, 2, 3, 4), keepdim=True)).flatten(1)[
            ..., None
        ]


def make_models(depth: bool = False, droppable: bool = True) -> nn.ModuleDict:
    torch.manual_seed(0)
    sources = dict.fromkeys([*CAMERAS, *(["left.depth"] if depth else [])], 1)
    embedder = InfoEmbedder(sources, WIDTH, droppable=CAMERAS if droppable else ())
    models = {"left_net": Average(), "right_net": Average(), "info_embedder": embedder}
    models["action_decoder"] = MLPActionDecoder(2, 4, len(sources), WIDTH, 16)
    if depth:
        models["depth"] = nn.Sequential(Average(), nn.Dropout(0.5)).requires_grad_(False)
    return nn.ModuleDict(models)


def make(kind: type[VFPSingleExpertTrainer], models: nn.ModuleDict, **settings: Any) -> Any:
    trained = [p for p in models.parameters() if p.requires_grad]
    optimizers = {"default": torch.optim.Adam(trained, 1e-2)}
    cameras = {camera: f"{camera}_net" for camera in CAMERAS}
    arguments: dict[str, Any] = {"loss": L2(), "n_action_steps": 2} | settings
    return kind(models, optimizers, device="cpu", cameras=cameras, **arguments)


def make_batch(size: int = SIZE) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = {camera: torch.randn(size, 1, 3, 2, 2, generator=generator) + 3 for camera in CAMERAS}
    return images | {"action": torch.randn(size, 4, 2, generator=generator)}


def context(total: int = SIZE, start: int = 0, training: bool = True) -> StepContext:
    random = KeyedRandom(0, 0, total=total, start=start)
    return StepContext(0, 1, 0, random, training)


def test_cameras_are_dropped_at_their_rate() -> None:
    trainer = make(VFPSingleExpertTrainer, make_models(), camera_drop=0.3)
    plain, memory = trainer.encode(make_batch()), trainer.encode(make_batch(), context())
    lost = (plain != memory).any(dim=-1)
    error = 3 * (0.15 * 0.85 / SIZE) ** 0.5
    assert lost.float().mean(dim=0).tolist() == pytest.approx([0.15, 0.15], abs=error)
    assert not lost.all(dim=1).any()


def test_dropped_cameras_do_not_depend_on_how_a_batch_is_cut() -> None:
    trainer = make(VFPSingleExpertTrainer, make_models(), camera_drop=0.3)
    batch = make_batch(8)
    half = {key: value[4:] for key, value in batch.items()}
    whole = trainer.encode(batch, context(8))
    assert torch.equal(trainer.encode(half, context(8, start=4)), whole[4:])


def test_no_camera_is_dropped_while_validating() -> None:
    trainer = make(VFPSingleExpertTrainer, make_models(), camera_drop=0.9)
    batch = make_batch(8)
    kept = {key: value.clone() for key, value in batch.items()}
    assert torch.equal(trainer.encode(batch, context(8, training=False)), trainer.encode(batch))
    trainer.encode(batch, context(8))
    assert all(torch.equal(batch[key], kept[key]) for key in kept)


def test_swapped_cameras_make_another_memory() -> None:
    trainer = make(VFPSingleExpertTrainer, make_models())
    batch = make_batch(4)
    swapped = batch | {"left": batch["right"], "right": batch["left"]}
    assert not torch.allclose(trainer.encode(batch), trainer.encode(swapped))


def test_backbone_as_wide_as_the_memory_still_counts() -> None:
    embedder = InfoEmbedder({"left": WIDTH}, WIDTH, hidden=True, layers=1, heads=2)
    tokens = torch.randn(2, 3, WIDTH, requires_grad=True)
    embedder({"left": tokens}).square().sum().backward()
    assert tokens.grad is not None
    assert float(tokens.grad.abs().sum()) > 0


def test_depth_model_stays_frozen_and_in_eval_mode() -> None:
    models = make_models(depth=True).train()
    trainer = make(VFPSingleExpertDepthTrainer, models, depth_models={"left": "depth"})
    assert trainer.encode(make_batch(4)).shape == (4, 3, WIDTH)
    trainer.train_step(make_batch(4), epoch=0, total_epochs=1, iterations=0)
    assert not models["depth"].training
    assert all(p.grad is None for p in models["depth"].parameters())
    assert trainer.observation_keys == ("left", "right")


@pytest.mark.parametrize("loss", [L1(), L2()])
def test_both_losses_learn_one_chunk(loss: nn.Module) -> None:
    trainer = make(VFPSingleExpertTrainer, make_models(), loss=loss)
    batch = {key: value[:1].expand(16, *value.shape[1:]) for key, value in make_batch(1).items()}
    first = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=0)["loss"]
    for _ in range(150):  # always the same noise
        metrics = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=0)
    assert float(metrics["loss"]) < 0.3 * float(first)


@pytest.mark.parametrize(
    ("kind", "models", "settings", "message"),
    [
        (
            VFPSingleExpertDepthTrainer,
            make_models(),
            {},
            (
                "this trainer needs trainer.depth_models: an observation key with the frozen "
                "component of models: that makes depth tokens of it"
            ),
        ),
        (
            VFPSingleExpertDepthTrainer,
            make_models(depth=True).requires_grad_(True),
            {"depth_models": {"left": "depth"}},
            "the depth model must not be trained: set models.depth.freeze to true",
        ),
        (
            VFPSingleExpertTrainer,
            make_models(depth=True),
            {"depth_models": {"left": "deth"}},
            (
                "models: needs a component 'deth' (images of 'left' to tokens; "
                "trainer.depth_models names it); it has left_net, right_net, info_embedder, "
                "action_decoder, depth; is 'depth' meant to be 'deth'?"
            ),
        ),
    ],
)
def test_unfit_parts_are_named(
    kind: type[VFPSingleExpertTrainer],
    models: nn.ModuleDict,
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError) as caught:
        make(kind, models, **settings)
    assert str(caught.value) == message


def test_dropping_without_cameras_is_refused() -> None:
    models = make_models()
    models["state_encoder"] = nn.Identity()
    with pytest.raises(UserError) as caught:
        VFPSingleExpertTrainer(models, {}, L2(), "cpu", camera_drop=0.1)
    assert str(caught.value) == "camera_drop needs trainer.cameras: there is no camera to drop"


def test_camera_that_may_not_be_missing_is_named() -> None:
    trainer = make(VFPSingleExpertTrainer, make_models(droppable=False), camera_drop=0.9)
    with pytest.raises(Exception, match=r"^the tokens of 'left' may not be missing: droppable of"):
        trainer.encode(make_batch(8), context(8))
