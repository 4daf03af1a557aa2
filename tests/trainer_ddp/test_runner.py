import pytest

from trainer_core.errors import UserError
from trainer_core.protocols import Runner
from trainer_ddp.runner import DDPRunner


def test_ddp_refuses_and_names_what_works() -> None:
    with pytest.raises(UserError, match=r"'ddp' is not available yet .* '--runner local'"):
        DDPRunner(nproc_per_node=2).run(experiment=None)


def test_ddp_runner_fits_the_protocol() -> None:
    assert isinstance(DDPRunner(), Runner)
