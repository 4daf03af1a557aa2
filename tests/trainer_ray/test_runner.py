import pytest

from trainer_core.errors import UserError
from trainer_core.protocols import Runner
from trainer_ray.runner import RayOnlineRunner, RayRunner


@pytest.mark.parametrize(("runner", "name"), [(RayRunner, "ray"), (RayOnlineRunner, "ray_online")])
def test_ray_refuses_and_names_what_works(
    runner: type[RayRunner] | type[RayOnlineRunner], name: str
) -> None:
    with pytest.raises(UserError, match=rf"'{name}' is not available yet .* '--runner local'"):
        runner(num_workers=2).run(experiment=None)


def test_ray_runners_fit_the_protocol() -> None:
    assert isinstance(RayRunner(), Runner)
    assert isinstance(RayOnlineRunner(), Runner)
