"""Every policy as one traced program: the same chunks for any number of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.expert_decoder import MLPExpertDecoder, TransformerExpertDecoder
from experiments_il.frames import frame_shape
from policy_constructor import build_model
from trainer_core.deploy.checking import TOLERANCE, compare, on_one_thread
from trainer_core.deploy.formats import FORMATS, trace
from trainer_core.engine.trained import build_acting_trainer
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["params.width=32"]
TWO_STEPS = "trainer.num_inference_steps=2"
POLICIES = [
    ("il/pick_place", [TWO_STEPS]),
    ("il/regression_small", []),
    ("il/vfp_small", [TWO_STEPS]),
    ("il/cfg_vqvae_small", [TWO_STEPS, "trainer.guidance=2.0"]),
    ("il/button_press_images_small", [TWO_STEPS]),
    pytest.param("il/vfp_single_expert_small", [TWO_STEPS], marks=pytest.mark.slow),
    pytest.param("il/vfp_single_expert_depth_small", [TWO_STEPS], marks=pytest.mark.slow),
]
STATS: dict[str, Any] = {
    "observation.state": {"mode": "mean_std", "mean": [1.0] * 39, "std": [2.0] * 39},
    "action": {"mode": "mean_std", "mean": [0.5] * 4, "std": [0.1] * 4},
}


def build_trainer(recipe: str, changes: list[str]) -> Any:
    torch.manual_seed(0)
    loaded = load_experiment(recipe, [*SMALL, *changes])
    models = nn.ModuleDict(
        {
            name: build_model(plan.resolved, section=plan.section)
            for name, plan in loaded.models.items()
        }
    )
    trainer = build_acting_trainer(loaded.resolved.data, models, "cpu", loaded.plugins)
    for parameter in models.parameters():  # fresh output layers are zero and would hide mistakes
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    models.eval()
    return trainer


def batch(size: int) -> dict[str, Tensor]:
    cameras = [f"observation.images.{name}" for name in ("top", "side", "wrist")]
    return {
        "observation.state": 1 + 2 * torch.randn(size, 39),
        "observation.proprioception": torch.randn(size, 4),
        **{key: torch.randint(256, (size, 3, 48, 48), dtype=torch.uint8) for key in cameras},
    }


@pytest.mark.parametrize(("recipe", "changes"), POLICIES)
def test_traced_policy_acts_as_itself_for_any_batch(recipe: str, changes: list[str]) -> None:
    trainer, normalizer = build_trainer(recipe, changes), Normalizer(STATS)
    exportable = trainer.exportable(normalizer, batch(3))
    program = on_one_thread(trace(exportable).module())
    for size in (1, 2, 5):
        inputs = list(trainer.exportable(normalizer, batch(size)).inputs.values())
        assert all(each.shape[0] == size for each in inputs)
        assert compare(on_one_thread(exportable.module), program, inputs, str(size)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "changes"), POLICIES)
def test_program_of_onnx_acts_as_the_policy(
    recipe: str, changes: list[str], tmp_path: Path
) -> None:
    trainer, normalizer, form = build_trainer(recipe, changes), Normalizer(STATS), FORMATS["onnx"]
    exportable = trainer.exportable(normalizer, batch(3))
    form.write(trace(exportable), exportable, tmp_path / form.file)
    program = form.open(tmp_path / form.file)
    for size in (1, 2, 5):
        inputs = list(trainer.exportable(normalizer, batch(size)).inputs.values())
        assert compare(on_one_thread(exportable.module), program, inputs, str(size)) < TOLERANCE


def test_unknown_shape_of_an_observation_is_said() -> None:
    trainer = build_trainer("il/pick_place", [TWO_STEPS])
    with pytest.raises(UserError) as error:
        trainer.exportable(Normalizer(STATS), {})
    assert str(error.value) == (
        "the checkpoint does not tell the shape of 'observation.state': its data set has no "
        "'features' with that key, or an earlier version saved it; go on training for a step to "
        "have it saved again"
    )


@pytest.mark.parametrize(
    ("shape", "steps", "frame"),
    [
        ((39,), 1, (39,)),
        ((1, 39), 1, (39,)),
        ((2, 39), 2, (39,)),
        ((3, 96, 96), 1, (3, 96, 96)),
        ((3, 96, 96), 2, (3, 96, 96)),
        ((1, 3, 96, 96), 1, (3, 96, 96)),
        ((2, 3, 96, 96), 2, (3, 96, 96)),
        ((), 1, ()),
    ],
)
def test_frame_is_what_remains_without_the_history(
    shape: tuple[int, ...], steps: int, frame: tuple[int, ...]
) -> None:
    assert frame_shape(shape, steps) == frame


@pytest.mark.parametrize("kind", [MLPExpertDecoder, TransformerExpertDecoder])
def test_selected_weights_give_each_row_its_own_expert(kind: Any) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"memory_tokens": 2} if kind is MLPExpertDecoder else {"heads": 2}
    decoder = kind(2, 4, experts=3, width=8, memory_width=8, layers=1, **sizes)
    for parameter in decoder.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    x, t, memory = torch.randn(5, 4, 2), torch.rand(5), torch.randn(5, 2, 8)
    chosen = torch.tensor([2, 0, 1, 2, 2])
    weights = decoder.select(chosen)
    found = decoder.step(x, t, decoder.cache(memory, weights), weights)
    expected = decoder(x, t, memory)[torch.arange(5), chosen]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
