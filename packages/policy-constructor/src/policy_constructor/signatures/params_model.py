"""A Pydantic model that an author gives for a component's parameters (`Params`)."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Annotated, Any

from policy_constructor.signatures.constructors import class_signature
from policy_constructor.signatures.parameters import Parameter, Signature
from policy_constructor.source.static import Found, class_attribute

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["model_problems", "model_signature", "stated_signature"]

_WITHOUT_PARAMS = frozenset({"torch"})  # long files, none of whose classes states its parameters


def stated_signature(found: Found) -> Signature | None:
    """Return the parameters that a class states with `Params`; None if it does not."""
    if found.module.startswith("torch."):
        return None
    stated = class_attribute(found, "Params", leave_out=_WITHOUT_PARAMS)
    if stated is None:
        return None
    match stated.node:
        case ast.ClassDef():
            return class_signature(stated)
        case ast.Constant(value=str(target)) if ":" in target:
            return _imported(target)
    return None


def model_signature(model: Any) -> Signature:
    """Return the parameters that a Pydantic model class describes."""
    parameters = {
        info.alias or name: _parameter(info.alias or name, info)
        for name, info in model.model_fields.items()
    }
    summary = (model.__doc__ or "").strip().partition("\n")[0]
    return Signature(
        parameters,
        accepts_any_keyword=model.model_config.get("extra") == "allow",
        doc=summary,
        model=model,
    )


def model_problems(model: Any, values: dict[str, Any]) -> list[tuple[tuple[Any, ...], str]]:
    """Return (place, message) for what a model's own validators refuse."""
    import pydantic  # noqa: PLC0415 - loaded already, as the author's model is one

    try:
        model.model_validate_json(json.dumps(values, default=str), strict=True)
    except pydantic.ValidationError as error:
        return [
            (tuple(found["loc"]), found["msg"].removeprefix("Value error, "))
            for found in error.errors(include_url=False, include_context=False)
        ]
    return []


def _imported(target: str) -> Signature:
    from importlib import import_module  # noqa: PLC0415 - needed for this one way of stating them

    module, _, attr = target.partition(":")
    try:
        model = getattr(import_module(module), attr)
        return model_signature(model)
    except (Exception, SystemExit) as cause:  # noqa: BLE001 - an author's module may do anything
        reason = f"its parameter model {target!r} cannot be used: {type(cause).__name__}: {cause}"
        return Signature(accepts_any_keyword=True, accepts_any_positional=True, problem=reason)


def _parameter(name: str, info: FieldInfo) -> Parameter:
    annotation: Any = Annotated[info.annotation, info] if info.metadata else info.annotation
    required = info.is_required()
    default = None if required or info.default_factory else info.default
    return Parameter(
        name=name,
        kind="keyword-only",
        annotation=annotation,
        required=required,
        default=default,
        default_source="" if required else repr(default),
        doc=info.description or "",
    )
