"""What a run was made with: versions, machine, and the commit of the working folder."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["describe_environment"]

_PACKAGES = ("torch", "numpy", "safetensors", "trainer-core", "policy-constructor")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_GIT_S = 5
_MOST_PACKAGES = 200


def describe_environment(wheels: Iterable[str] = ()) -> dict[str, Any]:
    """Return versions, machine and the state of the working folder, as JSON data.

    Args:
        wheels: The wheels whose components a run uses; what they require is listed with them, as
            far as it is installed.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(wheels),
        "torch": _torch_build(),
        "cuda": torch.version.cuda,
        "devices": _devices(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(Path.cwd()),
        "git_changed": _has_changes(Path.cwd()),
    }


def _versions(wheels: Iterable[str]) -> dict[str, str]:
    """Return the versions of our packages, of these wheels, and of all that these require."""
    found: dict[str, str] = {}
    waiting = [(name, False) for name in _PACKAGES]
    waiting += [(wheel, True) for wheel in sorted(set(wheels))]
    seen: set[tuple[str, bool]] = set()
    while waiting and len(found) < _MOST_PACKAGES:
        name, with_extras = waiting.pop(0)
        number = _version(name)
        if (name, with_extras) in seen or number is None:
            continue
        seen.add((name, with_extras))
        found[name] = number
        if name != "torch":  # its own are fixed by its build
            waiting += [(each, False) for each in _required(name, with_extras=with_extras)]
    return found


def _required(wheel: str, *, with_extras: bool) -> list[str]:
    """Return the names that a wheel requires, with or without those of its extras."""
    lines = requires(wheel) or []
    kept = [line for line in lines if with_extras or "extra ==" not in line]
    return sorted({match[0].lower() for line in kept if (match := _NAME.match(line))})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_build() -> dict[str, Any]:
    return {
        "version": torch.__version__,
        "commit": torch.version.git_version,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call] # torch leaves it untyped
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _devices() -> list[str]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{each.name}, {each.total_memory / 2**30:.1f} GiB" for each in found]


def _processor() -> str:
    """Return the model of the processor; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _has_changes(folder: Path) -> bool | None:
    """Return whether tracked files differ from the commit; None where git cannot tell."""
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain", "-uno"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; git is found as the user finds it
            command, cwd=folder, capture_output=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def _git_commit(folder: Path) -> str | None:
    """Return the commit that the working folder is at, read from git's own files."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if not git.is_dir():
            continue
        try:
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref: "):
                return head
            name = head.removeprefix("ref: ")
            if (git / name).is_file():
                return (git / name).read_text().strip()
            packed = (git / "packed-refs").read_text().splitlines()
        except OSError:
            return None
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    return None
