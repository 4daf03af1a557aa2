"""Which names a model file may use, and how it writes a reference to a value."""

from __future__ import annotations

import keyword
import re

from policy_constructor.graph.ir import Ref

__all__ = ["MODULE_ATTRIBUTES", "name_problem", "parse_reference"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FORWARD_NAMES = frozenset({"inf", "nan", "self", "torch"})
_MODULE_ATTRIBUTES = (
    "T_destination add_module add_submodule apply bfloat16 buffers call_super_init children code "
    "compile cpu cuda delete_all_unused_submodules delete_submodule double dump_patches eval "
    "extra_repr float forward get_buffer get_extra_state get_parameter get_submodule graph half "
    "ipu ir load_state_dict meta modules mtia named_buffers named_children named_modules "
    "named_parameters parameters print_readable recompile register_backward_hook register_buffer "
    "register_forward_hook register_forward_pre_hook register_full_backward_hook "
    "register_full_backward_pre_hook register_load_state_dict_post_hook "
    "register_load_state_dict_pre_hook register_module register_parameter "
    "register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state "
    "set_submodule shape_env share_memory state_dict to to_empty to_folder train training type "
    "xpu zero_grad"
)
MODULE_ATTRIBUTES = frozenset(_MODULE_ATTRIBUTES.split(" "))


def name_problem(name: object, kind: str) -> str | None:
    """Return why a name cannot be used, or None.

    Names become argument, variable and attribute names of generated code, so they are held to
    what Python and torch leave free.

    Args:
        name: What the file says.
        kind: `input`, `module`, `value` or `keyword`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"{kind} name {name!r} must begin with a letter and hold only letters, digits and "
            "underscores"
        )
    if keyword.iskeyword(name):
        return f"{kind} name {name!r} is a Python keyword"
    if kind == "module" and name in MODULE_ATTRIBUTES:
        return f"module name {name!r} is an attribute of every torch module"
    if kind in {"input", "value"} and name in _FORWARD_NAMES:
        return f"{kind} name {name!r} has a meaning of its own in generated code"
    return None


def parse_reference(text: str) -> Ref | str | None:
    """Return the reference that `$name` writes, the text that `$$text` or plain text means.

    None for a dollar sign that is followed by no name.
    """
    if not text.startswith("$"):
        return text
    if text.startswith("$$"):
        return text[1:]
    return Ref(text[1:]) if _NAME.fullmatch(text[1:]) else None
