"""`trainer serve`: a policy over a websocket, for robots and simulators."""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from experiments_il.serving.batching import Backend
    from experiments_il.serving.description import PolicyDescription
    from experiments_il.serving.server import ServerOptions

__all__ = ["main"]

_PROGRAM = "program.json"
_PORTS = range(65_536)
_LIMITS = ("threads", "max_batch", "max_waiting", "max_clients", "max_message_mb")


def main(argv: list[str]) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    Raises:
        TrainerError: The policy cannot be loaded, or the address not be used.
    """
    options = _parser().parse_args(argv)
    _check(options)
    _require_packages(options.policy)
    backend, description = _load(options)
    _warm_up(backend, description)
    _serve(backend, description, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainer serve",
        description="Serve a policy over websockets, in openpi's protocol, until Ctrl-C.",
    )
    parser.add_argument(
        "policy",
        metavar="RUN|CHECKPOINT|EXPORT",
        type=Path,
        help="a run's folder (also RUN@best, RUN@STEP), a checkpoint's, or an exported one, "
        "native or onnx",
    )
    parser.add_argument("--host", default="127.0.0.1", help="interface (127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (8000)")
    parser.add_argument("--device", default="cpu", help="of the models (cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of the models on the CPU (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise (0)")
    parser.add_argument(
        "--max-batch", type=int, default=32, help="observations computed at once, at most (32)"
    )
    parser.add_argument(
        "--max-waiting", type=int, default=64, help="waiting observations, at most (64)"
    )
    parser.add_argument("--max-clients", type=int, default=64, help="connections, at most (64)")
    parser.add_argument(
        "--max-message-mb", type=float, default=32.0, help="size of a message, at most (32)"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.port not in _PORTS:
        msg = f"--port must be 0 to 65535, got {options.port}"
        raise UserError(msg)
    for name in _LIMITS:
        value = getattr(options, name)
        if not value > 0:
            msg = f"--{name.replace('_', '-')} must be above 0, got {value:g}"
            raise UserError(msg)


def _require_packages(policy: Path) -> None:
    from experiments_il.data.optional_packages import import_optional

    for package in ("msgpack", "websockets"):
        import_optional(package, "serving a policy", "serve")
    if (policy / _PROGRAM).is_file():
        import_optional("onnxruntime", "serving a program of ONNX", "onnx")


def _load(options: argparse.Namespace) -> tuple[Backend, PolicyDescription]:
    from experiments_il.serving.description import describe_loaded, describe_program

    if (options.policy / _PROGRAM).is_file():
        from experiments_il.serving.onnx_policy import OnnxPolicy

        try:
            policy = OnnxPolicy(options.policy, threads=options.threads)
        except ValueError as exc:
            raise UserError(str(exc)) from exc
        return policy, describe_program(policy.about)

    import torch

    from experiments_il.loading import find_policy, open_policy
    from experiments_il.serving.torch_backend import TorchBackend

    torch.set_num_threads(options.threads)
    loaded = open_policy(find_policy(options.policy), options.device)
    return TorchBackend(loaded.policy, options.device), describe_loaded(loaded)


def _warm_up(backend: Backend, description: PolicyDescription) -> None:
    """Compute a chunk of zeros: the first client does not wait, and what fails does so here."""
    import numpy as np

    specs = description.observation
    if any(spec.shape is None for spec in specs.values()):
        return
    frames = description.n_obs_steps
    zeros: dict[str, Any] = {
        key: np.zeros((1, frames, *(spec.shape or ())), spec.dtype) for key, spec in specs.items()
    }
    backend.infer(zeros, np.zeros((1, *description.noise_shape), np.float32))


def _serve(backend: Backend, description: PolicyDescription, options: argparse.Namespace) -> None:
    import asyncio
    import signal

    from experiments_il.serving.server import PolicyServer, ServerOptions

    limits = ServerOptions(
        host=options.host,
        port=options.port,
        max_batch=options.max_batch,
        max_waiting=options.max_waiting,
        max_clients=options.max_clients,
        max_message_bytes=int(options.max_message_mb * 2**20),
        seed=options.seed,
    )
    server = PolicyServer(backend, description, limits)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await server.run(stop, lambda host, port: _announce(host, port, description))

    try:
        asyncio.run(run())
    except OSError as exc:
        raise _cannot_listen(limits, exc) from exc
    print(server.statistics.to_text(), flush=True)


def _announce(host: str, port: int, description: PolicyDescription) -> None:
    about = description.about
    print(f"{about['trainer']}, step {about['step']}, {about['weights']} weights")
    for key, spec in description.observation.items():
        shape = "unknown" if spec.shape is None else "x".join(map(str, spec.shape)) or "scalar"
        print(f"  reads {key}: {spec.dtype or 'any dtype'} {shape}")
    print(f"  answers {description.sent_actions} actions of {description.action_dim} numbers")
    if not _is_loopback(host):
        print(
            f"warning: whoever reaches {host}:{port} can use this server: it has no "
            "authentication and no encryption",
            file=sys.stderr,
        )
    shown = f"[{host}]" if ":" in host else host
    print(f"serving ws://{shown}:{port}", flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cannot_listen(options: ServerOptions, error: OSError) -> UserError:
    number = error.errno or 0  # negative for a name that is not found
    reason = os.strerror(number) if number > 0 else str(error.strerror or error)
    return UserError(
        f"cannot listen on {options.host}:{options.port}: {reason}; choose another --host or "
        "--port (0: any port that is free)"
    )
