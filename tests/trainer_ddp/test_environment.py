import pytest

from trainer_core.distributed.place import Place
from trainer_core.errors import UserError
from trainer_ddp.environment import find_place, first_host

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "1234",
}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_ID": "20007",
    "SLURM_STEP_NODELIST": "gpu[03-04],cpu1",
}


def test_plain_environment_names_no_place() -> None:
    assert find_place({"PATH": "/bin"}) is None


def test_torchrun_names_the_place() -> None:
    assert find_place(TORCHRUN) == Place(3, 1, 4, 2, "node0", 1234)


def test_slurm_names_the_place() -> None:
    assert find_place(SLURM) == Place(2, 0, 4, 2, "gpu03", 20007)


def test_batch_script_of_slurm_is_no_rank() -> None:
    script = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"}
    assert find_place(script) is None


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("gpu1", "gpu1"), ("gpu[07-09,11]-ib", "gpu07-ib"), ("a,b", "a"), ("n[3]", "n3")],
)
def test_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "4"}, "RANK=4 is no rank of WORLD_SIZE=4 processes"),
        ({"RANK": "one"}, "the environment variable RANK should be a number; it is 'one'"),
    ],
)
def test_senseless_environment_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        find_place(TORCHRUN | change)
    assert str(caught.value) == message
