"""How ranks and machines find one another: ports, other launchers, absent machines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from torch.distributed.elastic.rendezvous import RendezvousClosedError, RendezvousTimeoutError

from trainer_core.distributed.place import Place
from trainer_core.distributed.waiting import within
from trainer_core.distributed.worker import explain_absence
from trainer_core.errors import Interrupted, TrainerError, UserError
from trainer_ddp.options import Options
from trainer_ddp.rendezvous import explained, open_rendezvous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.trainer_ddp.conftest import Agent

pytestmark = pytest.mark.timeout(180)

PLACE = Place(0, 0, 2, 1, "node0", 29500)
MEETING = Options(nnodes=2, rdzv_endpoint="node0:29400", rdzv_timeout_s=9)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@pytest.fixture
def foreign_port() -> Iterator[int]:
    """A port where somebody listens and never answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(50)
        yield one.getsockname()[1]


class Processes:
    """Starts `trainer run` with the experiment, in several environments at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, experiment: dict[str, Any], *changes: str, **variables: object
    ) -> subprocess.Popen[str]:
        file = self.folder / "exp.json"
        file.write_text(json.dumps(experiment))
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer_core.cli", "run", str(file), *changes],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        )
        self.started.append(process)
        return process

    def start_rank(
        self, experiment: dict[str, Any], rank: int, port: int, *changes: str
    ) -> subprocess.Popen[str]:
        where = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        size = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        return self.start(experiment, *changes, **where, **size)

    def start_machine(
        self, experiment: dict[str, Any], port: int, *changes: str
    ) -> subprocess.Popen[str]:
        meeting = (f"runner.rdzv_endpoint=127.0.0.1:{port}", "runner.rdzv_timeout_s=60")
        own = ("runner.nnodes=2", "runner.nproc_per_node=1")
        return self.start(experiment, *meeting, *own, *changes)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    several = Processes(tmp_path)
    yield several
    for process in several.started:
        process.kill()
        process.communicate(timeout=30)


def end(*started: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Return the exit code and the output of each."""
    return [
        (process.returncode, *said)
        for process, said in [(each, each.communicate(timeout=120)) for each in started]
    ]


def test_waiting_ends_at_its_limit_or_at_a_signal() -> None:
    with pytest.raises(TimeoutError):
        within(0.01, lambda: time.sleep(5))
    with pytest.raises(Interrupted) as caught:
        within(None, lambda: time.sleep(5), signals=[signal.SIGTERM])
    assert str(caught.value) == (
        "interrupted by SIGTERM before the processes met; the same command goes on"
    )
    assert within(None, lambda: 7) == 7


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RendezvousTimeoutError(), "fewer than 2 machines came to node0:29400 within 9 s; the "),
        (RendezvousClosedError(), "another machine has ended the run; its own message says why"),
    ],
)
def test_machines_that_did_not_meet_say_why(error: Exception, message: str) -> None:
    with pytest.raises(TrainerError) as caught, explained(MEETING):
        raise error
    assert str(caught.value).startswith(f"runner ddp: {message}")
    assert caught.value.exit_code == 1


def test_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="rdzv_endpoint is 'host:port'; 'node0:x' is not"):
        open_rendezvous(Options(nnodes=2, rdzv_endpoint="node0:x"))


def test_taken_port_is_the_users_to_change() -> None:
    error = explain_absence(PLACE, 5, "The server ... EADDRINUSE ...\nmore")
    assert error.exit_code == 2
    assert str(error) == (
        "rank 0 cannot listen at node0:29500, where the ranks meet: another program has the port; "
        "choose another MASTER_PORT"
    )


def test_absent_ranks_may_come_another_time() -> None:
    error = explain_absence(PLACE, 5, "1/2 clients joined.\nmore")
    assert error.exit_code == 1
    assert str(error) == (
        "rank 0 of 2 cannot meet the others at node0:29500 within 5 s: 1/2 clients joined."
    )


def test_nobody_else_comes(experiment: dict[str, Any], agent: Agent, free_port: int) -> None:
    endpoint = f"127.0.0.1:{free_port}"
    experiment["runner"] |= {"nnodes": 2, "rdzv_endpoint": endpoint, "rdzv_timeout_s": 1}
    with pytest.raises(TrainerError) as caught:
        agent.run(experiment)
    assert str(caught.value).startswith(
        f"runner ddp: fewer than 2 machines came to {endpoint} within 1 s"
    )


@pytest.mark.slow
def test_rendezvous_at_the_port_of_another_program(
    experiment: dict[str, Any], agent: Agent, foreign_port: int
) -> None:
    endpoint = f"127.0.0.1:{foreign_port}"
    experiment["runner"] |= {"nnodes": 2, "rdzv_endpoint": endpoint, "rdzv_timeout_s": 2}
    with pytest.raises(UserError) as caught:
        agent.run(experiment)
    assert str(caught.value) == (
        f"runner ddp: what is at {endpoint} does not answer; rdzv_endpoint has to name a free port "
        "of one of the machines"
    )


@pytest.mark.slow
def test_ranks_of_another_launcher_speak_with_one_voice(
    experiment: dict[str, Any], processes: Processes, free_port: int, tmp_path: Path
) -> None:
    first, second = end(*(processes.start_rank(experiment, rank, free_port) for rank in (0, 1)))
    assert (first[0], first[2]) == (0, "")
    assert first[1].endswith(f"see {tmp_path / 'run' / 'report.html'}\n")
    assert second == (0, "", "")


@pytest.mark.slow
def test_ranks_with_different_experiments_are_refused_once(
    experiment: dict[str, Any], processes: Processes, free_port: int, tmp_path: Path
) -> None:
    first, second = end(
        *(processes.start_rank(experiment, rank, free_port, f"run.seed={rank}") for rank in (0, 1))
    )
    said = (
        "error: rank 1 has another experiment than rank 0:\n  run.seed is 0 on rank 0 and 1 there\n"
    )
    assert (first, second) == ((2, "", said), (2, "", ""))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_port_of_the_ranks_belongs_to_another_program(
    experiment: dict[str, Any], processes: Processes, foreign_port: int, rank: int
) -> None:
    ((code, out, err),) = end(
        processes.start_rank(experiment, rank, foreign_port, "runner.timeout_s=3")
    )
    where = f"127.0.0.1:{foreign_port}"
    taken = f"cannot listen at {where}, where the ranks meet: another program has the port"
    foreign = (
        f"cannot meet the others at {where} within 3 s: what listens there is no rank of a run"
    )
    text = f"0 {taken}; choose another MASTER_PORT" if rank == 0 else f"1 of 2 {foreign}"
    assert (code, out, err) == (2 - rank, "", f"error: rank {text}\n")


@pytest.mark.slow
def test_two_machines_train_together(
    experiment: dict[str, Any], processes: Processes, free_port: int, tmp_path: Path
) -> None:
    both = [processes.start_machine(experiment, free_port) for _ in range(2)]
    results = end(*both)
    assert [(code, err) for code, _, err in results] == [(0, ""), (0, "")]
    assert sorted(out.count("completed after 6 steps") for _, out, _ in results) == [0, 1]
    assert json.loads((tmp_path / "run/summary.json").read_text())["step"] == 6


@pytest.mark.slow
def test_mistake_on_one_machine_ends_the_other(
    experiment: dict[str, Any], processes: Processes, free_port: int
) -> None:
    good = processes.start_machine(experiment, free_port)
    bad = processes.start_machine(experiment, free_port, "runner.backend=nccl")
    began = time.monotonic()
    (code, _, err), (bad_code, _, bad_err) = end(good, bad)
    assert time.monotonic() - began < 60
    assert (code, bad_code) == (1, 2)
    assert err == (
        "error: runner ddp: another machine has ended the run; its own message says why\n"
    )
    assert "backend nccl needs CUDA devices" in bad_err


@pytest.mark.slow
def test_killed_rank_of_one_machine_restarts_both(
    experiment: dict[str, Any], processes: Processes, free_port: int, tmp_path: Path
) -> None:
    experiment["callbacks"][0]["every_n_steps"] = 20
    long = ("trainer.max_steps=1500", "runner.max_restarts=2")
    both = [processes.start_machine(experiment, free_port, *long) for _ in range(2)]
    deadline = time.monotonic() + 90
    while not list((tmp_path / "run").glob("checkpoints/step-*/MANIFEST.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (agent,) = _children(both[1].pid)
    os.kill(_children(agent)[0], signal.SIGKILL)
    results = end(*both)
    assert [code for code, _, _ in results] == [0, 0]
    killed = "the process was killed by SIGKILL; all start again, restart 1 of 2"
    assert sum(err.count(killed) for _, _, err in results) == 1
    assert sum(out.count("completed after 1500 steps") for _, out, _ in results) == 1
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(2, 1501, 2))


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
