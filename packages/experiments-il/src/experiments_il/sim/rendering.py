"""Finds out whether pictures of the simulator can be drawn on this machine."""

from __future__ import annotations

import importlib
import os

from trainer_core.errors import UserError

__all__ = ["prepare_rendering"]

_VARIABLE = "MUJOCO_GL"
_PROBE_SIZE = 16


def prepare_rendering() -> None:
    """Make sure that OpenGL draws without a screen; choose EGL unless `MUJOCO_GL` says otherwise.

    An attempt is made before the simulator makes its own, which would leave a broken viewer.

    Raises:
        UserError: It does not; the message has the reason and the cure.
    """
    backend = os.environ.get(_VARIABLE) or "egl"
    try:
        context = importlib.import_module(f"mujoco.{backend}").GLContext(_PROBE_SIZE, _PROBE_SIZE)
        context.make_current()
        mujoco = importlib.import_module("mujoco")
        model = mujoco.MjModel.from_xml_string("<mujoco/>")
        mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100).free()
        context.free()
    except Exception as error:  # each OpenGL binding fails with types of its own
        message = (
            f"the simulator cannot draw pictures here ({_VARIABLE}={backend}): "
            f"{type(error).__name__}: {error}; software drawing needs the system packages "
            "libegl1 and libgl1-mesa-dri"
        )
        raise UserError(message) from error
    os.environ[_VARIABLE] = backend
