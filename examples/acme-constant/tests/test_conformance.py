"""The conformance kit of trainer-core on all three; run it with `pytest`."""

from trainer_core.testing import DatasetConformance, HookPluginConformance, TrainerConformance


class TestConstantRegression(DatasetConformance):
    """`data.constant_regression`."""

    key = "acme-constant::data.constant_regression"
    params = {"size": 16}


class TestVerboseTrainer(TrainerConformance):
    """`trainer.verbose`, on the kit's own small regression."""

    key = "acme-constant::trainer.verbose"


class TestAnnouncer(HookPluginConformance):
    """`hook.announcer`."""

    key = "acme-constant::hook.announcer"
