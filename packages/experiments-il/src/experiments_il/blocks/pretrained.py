"""Published weights -> a model: from a folder, a file, or the hub's cache.

Safetensors only: nothing is unpickled, no remote code is run.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from policy_constructor.pretrained import is_pretrained_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

__all__ = ["HUB", "build_pretrained", "load_pretrained"]

HUB = "hub:"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 8


def build_pretrained(
    model_class: Any, config: Any, source: str | None, *, strict: bool = True
) -> Any:
    """Return a model of `transformers`, in eval mode if its weights were read.

    On the meta device, and where weights are about to be replaced, `source` is left unread.

    Args:
        model_class: The class.
        config: Its configuration, which decides all shapes.
        source: A folder with `model.safetensors`, a `.safetensors` file, or `hub:` with a
            repository and perhaps `@revision`; None: random weights.
        strict: Whether every tensor of the model must be there.

    Raises:
        ValueError: There are no weights, they cannot be read, or do not fit.
    """
    if source is None or not is_pretrained_wanted() or torch.get_default_device().type == "meta":
        return model_class(config)
    tensors = _read(source)
    with _quiet():
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    if strict:
        _require_all(source, model_class.__name__, report, dict(model.state_dict()))
    return model


def load_pretrained(
    model: nn.Module, source: str | None, *, name: str, prefix: str, strict: bool = True
) -> None:
    """Copy published weights into a model of another package; when, and `source`, as above.

    Args:
        model: What the weights are for.
        source: Where they are.
        name: What the message calls the model.
        prefix: What stands before the model's own keys in published files, if it does.
        strict: Whether every tensor of the model must be there, under one of its keys.

    Raises:
        ValueError: There are no weights, they cannot be read, or do not fit.
    """
    if source is None or not is_pretrained_wanted() or torch.get_default_device().type == "meta":
        return
    own: dict[str, Tensor] = model.state_dict(keep_vars=True)
    named = {key.removeprefix(prefix): tensor for key, tensor in _read(source).items()}
    given = {key: tensor for key, tensor in named.items() if key in own}
    fitting = {key: tensor for key, tensor in given.items() if tensor.shape == own[key].shape}
    present = {id(own[key]) for key in given}  # files have a tensor of several keys once
    report = {
        "missing_keys": [key for key, tensor in own.items() if id(tensor) not in present],
        "mismatched_keys": [
            (key, tensor.shape, own[key].shape)
            for key, tensor in given.items()
            if key not in fitting
        ],
        "error_msgs": [],
    }
    if strict:
        _require_all(source, name, report, own)
    model.load_state_dict(fitting, strict=False)


def _require_all(source: str, name: str, report: dict[str, Any], model: dict[str, Tensor]) -> None:
    """Refuse weights that leave a tensor of the model as it was."""
    problems = _describe(report, model)
    if not problems:
        return
    shown = problems[:_SHOWN] + [f"... and {len(problems) - _SHOWN} more"] * (
        len(problems) > _SHOWN
    )
    lines = "".join(f"\n  {line}" for line in shown)
    message = (
        f"{source} does not fit {name}:{lines}\n"
        "choose the name or settings of these weights, or load what fits with strict: false"
    )
    raise ValueError(message)


def _read(source: str) -> dict[str, Tensor]:
    """Return all tensors of the files."""
    tensors: dict[str, Tensor] = {}
    for path in _find_files(source):
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            message = f"{path} cannot be read as safetensors: {error}"
            raise ValueError(message) from error
    return tensors


def _find_files(source: str) -> list[Path]:
    if source.startswith(HUB):
        return _find_on_hub(source)
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".safetensors":
            message = f"{path} is no safetensors file; others are not read, they can run code"
            raise ValueError(message)
        return [path]
    if not path.is_dir():
        message = (
            f"there is no folder or .safetensors file {path}; of the hub, write hub:OWNER/NAME"
        )
        raise ValueError(message)
    if (path / _INDEX).is_file():
        return [path / name for name in _shards(path / _INDEX)]
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    found = ", ".join(sorted(file.name for file in path.iterdir())) or "nothing"
    message = f"{path} has no {_WEIGHTS}; it has {found}. Other formats are not read"
    raise ValueError(message)


def _shards(index: Path) -> list[str]:
    """Return the files that an index names, which must lie beside it."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        message = f"{index} is no index of safetensors files: {error}"
        raise ValueError(message) from error
    for name in names:
        if Path(name).name != name:
            message = f"{index} names '{name}', which does not lie beside it"
            raise ValueError(message)
    return names


def _find_on_hub(source: str) -> list[Path]:
    repository, _, revision = source.removeprefix(HUB).partition("@")
    if repository.count("/") != 1:
        message = f"expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION, found '{source}'"
        raise ValueError(message)
    index = _fetch(repository, revision, _INDEX, required=False)
    if index is not None:
        shards = [_fetch(repository, revision, name) for name in _shards(index)]
        return [path for path in shards if path is not None]
    whole = _fetch(repository, revision, _WEIGHTS)
    return [] if whole is None else [whole]


def _fetch(repository: str, revision: str, name: str, *, required: bool = True) -> Path | None:
    """Return a file of the hub, from the cache if it is there; None if it may be missing and is."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # noqa: PLC0415 - when used
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415 - see above

    wanted = revision or None
    cached = try_to_load_from_cache(repository, name, revision=wanted)
    if isinstance(cached, str):
        return Path(cached)
    if not required and _has_whole(repository, wanted):
        return None
    try:
        return Path(hf_hub_download(repository, name, revision=wanted))
    except Exception as error:  # a dozen kinds, of several packages
        if isinstance(error, EntryNotFoundError) and not required:
            return None
        command = f"hf download {repository} --include '*.safetensors*'"
        command += f" --revision {revision}" if revision else ""
        reason = str(error).partition("\n")[0]
        message = (
            f"{name} of {repository} is not in the hub's cache and cannot be downloaded: {reason}\n"
            f"where there is a network, run: {command}\nthen copy its cache folder "
            "(~/.cache/huggingface/hub) or give the folder it lies in"
        )
        raise ValueError(message) from error


def _has_whole(repository: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - when used

    return isinstance(try_to_load_from_cache(repository, _WEIGHTS, revision=revision), str)


def _describe(report: dict[str, Any], model: dict[str, Tensor]) -> list[str]:
    """Return a line for each tensor of the model that did not come from the files."""
    missing = [
        f"- {key} {list(model[key].shape)}  is missing"
        for key in sorted(report["missing_keys"])
        if key in model
    ]
    wrong = [
        f"! {key}  is {list(found)}, the model has {list(expected)}"
        for key, found, expected in sorted(report["mismatched_keys"])
    ]
    return missing + wrong + list(report["error_msgs"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the progress bars and reports of `transformers` from a terminal that is ours."""
    from transformers import utils  # noqa: PLC0415 - heavy

    logging: Any = utils.logging
    before, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bar:
            logging.enable_progress_bar()
