"""The conformance kit of trainer-core on both components; run it with `pytest`."""

from trainer_core.testing import BlockConformance, LossConformance


class TestHuber(LossConformance):
    """`loss.huber`."""

    key = "acme-parts::loss.huber"
    params = {"delta": 0.5}
    shape = (4, 1)


class TestGatedMLP(BlockConformance):
    """`block.gated_mlp`."""

    key = "acme-parts::block.gated_mlp"
    params = {"features": 4, "width": 8, "out": 1}
    inputs = [[2, 4]]
