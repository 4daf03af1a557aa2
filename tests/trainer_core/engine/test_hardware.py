from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from policy_constructor.errors import ConfigError
from trainer_core.engine import hardware
from trainer_core.engine.hardware import configure_torch, resolve_device, resolve_precision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)


@pytest.mark.parametrize(
    ("has_cuda", "name", "found"),
    [(False, "auto", "cpu"), (True, "auto", "cuda:1"), (True, "cpu", "cpu")],
)
def test_device_is_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, name: str, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert resolve_device(name, local_rank=1) == torch.device(found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:3", "run.device: the device 'cuda:3' is not there: torch sees 0 CUDA devices"),
        (
            "mps",
            "run.device: the device 'mps' is not there: torch cannot use Metal on this machine",
        ),
    ],
)
def test_missing_device_is_named(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"error: {message}"


@pytest.mark.parametrize(
    ("name", "device", "fast", "found"),
    [
        ("auto", "cpu", True, "fp32"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp32"),
        ("bf16", "cpu", False, "bf16"),
        ("fp32", "cuda", True, "fp32"),
    ],
)
def test_precision_follows_the_device(
    monkeypatch: pytest.MonkeyPatch, name: str, device: str, fast: bool, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: fast)
    assert resolve_precision(name, torch.device(device)) == found


def test_fp16_is_refused_where_torch_has_none() -> None:
    assert resolve_precision("fp16", torch.device("cpu")) == "fp16"
    with pytest.raises(ConfigError) as caught:
        resolve_precision("fp16", torch.device("mps"))
    message = "fp16 needs a CUDA device, this run is on 'mps'; use fp32"
    assert str(caught.value) == f"error: run.precision: {message}"


def test_threads_and_determinism_are_set(settings_restored: None) -> None:
    run: Any = SimpleNamespace(threads=1, deterministic=True)
    configure_torch(run)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


@pytest.mark.parametrize(
    ("quota", "workers", "threads"),
    [
        ("max 100000", 0, 8),
        ("250000 100000", 0, 3),
        ("250000 100000", 2, 1),
        ("50000 100000", 0, 1),
    ],
)
def test_threads_are_what_the_container_and_the_loaders_leave(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings_restored: None,
    quota: str,
    workers: int,
    threads: int,
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(hardware, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(hardware, "_torch_threads", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    configure_torch(SimpleNamespace(threads=None, deterministic=False), workers)
    assert torch.get_num_threads() == threads
