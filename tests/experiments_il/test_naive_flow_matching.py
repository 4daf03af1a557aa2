"""The flow-matching trainer: its loss, its components, its policy."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder, TransformerActionDecoder
from experiments_il.blocks.info import InfoEmbedder
from experiments_il.blocks.resnet import SmallResNet
from experiments_il.blocks.state import StateEncoder
from experiments_il.losses import L2
from experiments_il.trainers.naive_flow_matching import NaiveFlowMatchingPolicyTrainer
from trainer_core.errors import DatasetError, UserError
from trainer_core.normalize import Normalizer
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom
from trainer_core.step import StepOptions

STATE, IMAGE = "observation.state", "observation.images.top"
HORIZON, ACTION, WIDTH = 4, 2, 16


def make_models(camera: bool = False, decoder: str = "mlp", causal: bool = False) -> nn.ModuleDict:
    torch.manual_seed(0)
    sources = {STATE: WIDTH} | ({IMAGE: 8} if camera else {})
    models: dict[str, nn.Module] = {
        "state_encoder": StateEncoder(3, WIDTH, hidden=[32]),
        "info_embedder": InfoEmbedder(sources, WIDTH),
        "action_decoder": MLPActionDecoder(ACTION, HORIZON, 2 if camera else 1, WIDTH, width=128)
        if decoder == "mlp"
        else TransformerActionDecoder(ACTION, HORIZON, WIDTH, layers=2, heads=2, causal=causal),
    }
    if camera:
        models["backbone"] = SmallResNet(8, channels=[16], grid=1)
    return nn.ModuleDict(models)


def make_trainer(
    models: nn.ModuleDict | None = None, **options: Any
) -> NaiveFlowMatchingPolicyTrainer:
    models = models or make_models()
    optimizer = torch.optim.AdamW(models.parameters(), lr=1e-3)
    arguments: dict[str, Any] = {"loss": L2(), "n_action_steps": 2, "device": "cpu"} | options
    return NaiveFlowMatchingPolicyTrainer(models, {"default": optimizer}, **arguments)


def make_batch(size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pad = torch.arange(HORIZON).expand(size, HORIZON) >= 1 + torch.arange(size).unsqueeze(1) % 4
    return {
        STATE: torch.randn(size, 3, generator=generator),
        "action": torch.randn(size, HORIZON, ACTION, generator=generator),
        "action_is_pad": pad,
        "index": torch.arange(size),
    }


def make_context(count: int, start: int = 0, total: int | None = None) -> StepContext:
    random = KeyedRandom(0, 0, total=total or count, start=start, count=count)
    return StepContext(step=0, total_steps=10, epoch=0, random=random)


def test_new_network_pays_the_variance_of_the_target() -> None:
    batch = make_batch()
    loss, _ = make_trainer().compute_losses(batch, make_context(8))
    noise = make_context(8).random.normal(HORIZON, ACTION, stream="flow.noise")
    error = (batch["action"] - noise)[~batch["action_is_pad"]].square().mean()
    assert torch.allclose(loss, error)


def test_padded_actions_change_nothing() -> None:
    models = make_models(decoder="transformer", causal=True)
    for parameter in models.parameters():
        nn.init.normal_(parameter, std=0.1)
    batch, other = make_batch(), make_batch()
    other["action"] = torch.where(other["action_is_pad"].unsqueeze(-1), 9.0, other["action"])
    trainer = make_trainer(models)
    losses = [trainer.compute_losses(b, make_context(8))[0] for b in (batch, other)]
    assert torch.equal(losses[0], losses[1])


def test_told_losses_have_the_loss_as_their_mean_over_real_actions() -> None:
    told: list[Tensor] = []
    batch, where = make_batch(), make_context(8)
    where.listener = told.append
    loss, _ = make_trainer().compute_losses(batch, where)
    real = (~batch["action_is_pad"]).sum(1)
    torch.testing.assert_close((told[0] * real).sum() / real.sum(), loss.detach())
    assert len(set(told[0].tolist())) == 8


def test_two_micro_batches_equal_one_batch() -> None:
    gradients = []
    for parts in (1, 2):
        models = make_models()
        trainer = make_trainer(models)
        trainer.optimizers = {}
        trainer.configure(StepOptions(grad_accum_steps=parts))
        trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=0)
        gradients.append([p.grad for p in models.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert one is not None
        assert two is not None
        assert torch.allclose(one, two, atol=1e-6)


def test_loss_weight_counts_real_actions() -> None:
    batch = make_batch()
    assert int(make_trainer().loss_weight(batch)) == int((~batch["action_is_pad"]).sum())
    del batch["action_is_pad"]
    assert make_trainer().loss_weight(batch) == 8


def test_one_batch_is_learned_by_heart() -> None:
    trainer = make_trainer()
    batch = make_batch()
    for _ in range(2000):
        metrics = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=0)  # fixed noise
        if float(metrics["loss"]) < 1e-3:
            break
    assert float(metrics["loss"]) < 1e-3


def test_camera_and_state_share_the_memory() -> None:
    trainer = make_trainer(make_models(camera=True), cameras={IMAGE: "backbone"})
    image = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    memory = trainer.encode(make_batch() | {IMAGE: image})
    assert memory.shape == (8, 2, WIDTH)


def test_policy_computes_memory_keys_once() -> None:
    models = make_models(decoder="transformer")
    policy = make_trainer(models, num_inference_steps=7).policy(Normalizer({}))
    calls = {"key_value": 0, "query": 0}

    def count(name: str) -> Any:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    decoder: Any = models["action_decoder"]
    for layer in decoder.transformer.layers:
        layer.cross.key_value.register_forward_hook(count("key_value"))
        layer.cross.query.register_forward_hook(count("query"))
    chunk = policy.act({STATE: torch.randn(3, 1, 3)})
    assert chunk.shape == (3, HORIZON, ACTION)
    assert calls == {"key_value": 2, "query": 2 * 7}


def test_policy_sees_the_present_weights() -> None:
    trainer = make_trainer()
    policy = trainer.policy(Normalizer({}))
    observation, noise = {STATE: torch.ones(1, 1, 3)}, torch.zeros(1, HORIZON, ACTION)
    before = policy.act(observation, noise=noise)
    trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=0)
    assert not torch.equal(policy.act(observation, noise=noise), before)


def without(name: str) -> nn.ModuleDict:
    models = make_models()
    del models[name]
    return models


def renamed() -> nn.ModuleDict:
    models = make_models()
    models["action_decodr"] = models.pop("action_decoder")
    return models


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (
            without("state_encoder"),
            {},
            (
                "this policy sees nothing: models: needs 'state_encoder' (state history to "
                "tokens), or trainer.cameras an observation key with its backbone"
            ),
        ),
        (
            without("info_embedder"),
            {},
            (
                "models: needs a component 'info_embedder' (tokens by observation key to memory); "
                "it has state_encoder, action_decoder"
            ),
        ),
        (
            renamed(),
            {},
            (
                "models: needs a component 'action_decoder' (noisy chunk, time and memory to "
                "velocity); it has state_encoder, info_embedder, action_decodr; "
                "is 'action_decodr' meant to be 'action_decoder'?"
            ),
        ),
        (
            None,
            {"cameras": {IMAGE: "resnet"}},
            (
                "models: needs a component 'resnet' (images of 'observation.images.top' to tokens; "
                "trainer.cameras names it); it has state_encoder, info_embedder, action_decoder"
            ),
        ),
        (
            None,
            {"loss": None},
            "this trainer needs a `loss:` section, for example `loss: {_type_: l2}`",
        ),
        (
            None,
            {"loss": nn.MSELoss()},
            (
                "the loss MSELoss takes no mask, and padded actions must not count; "
                "use `loss: {_type_: l2}` or a loss called as loss(prediction, target, mask)"
            ),
        ),
        (
            None,
            {"n_action_steps": 5},
            (
                "n_action_steps is 5, but a chunk has 4 actions from the current frame on "
                "(horizon 4, action_offset 0)"
            ),
        ),
        (None, {"num_inference_steps": 0}, "num_inference_steps must be at least 1, got 0"),
    ],
)
def test_unfit_parts_are_named(
    models: nn.ModuleDict | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_trainer(copy.deepcopy(models), **options)
    assert str(caught.value) == message


def test_decoder_without_cache_is_refused() -> None:
    models = make_models()
    models["action_decoder"] = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"\(Linear\) has no cache, step, horizon, action_dim;"):
        make_trainer(models)


def test_chunk_of_another_length_names_both_places() -> None:
    batch = make_batch()
    batch["action"] = torch.zeros(8, 5, ACTION)
    with pytest.raises(DatasetError) as caught:
        make_trainer().compute_losses(batch, make_context(8))
    assert str(caught.value) == (
        "'action' has shape (8, 5, 2), expected (batch, 4, 2): "
        "horizon and action_dim of models.action_decoder must fit data.windows and the data set"
    )


def test_missing_actions_list_the_batch() -> None:
    with pytest.raises(
        DatasetError, match=r"has no 'action' \(trainer.action_key\); it has index$"
    ):
        make_trainer().compute_losses({"index": torch.zeros(8)}, make_context(8))


def test_missing_observation_is_named() -> None:
    batch = make_batch()
    del batch[STATE]
    with pytest.raises(DatasetError) as caught:
        make_trainer().compute_losses(batch, make_context(8))
    assert str(caught.value) == (
        "the batch has no observation.state; it has action, action_is_pad, index"
    )


def test_state_of_another_size_names_its_parameters() -> None:
    batch = make_batch() | {STATE: torch.zeros(8, 2, 3)}
    with pytest.raises(
        DatasetError, match=r"n_obs_steps and state_dim of the state encoder decide$"
    ):
        make_trainer().compute_losses(batch, make_context(8))


def test_half_precision_trains() -> None:
    trainer = make_trainer(make_models(decoder="transformer"))
    trainer.configure(StepOptions(precision="bf16"))
    metrics = trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=0)
    assert metrics["loss"].dtype == torch.float32
    assert torch.isfinite(metrics["loss"])
