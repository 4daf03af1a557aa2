"""Pictures of a MuJoCo scene from several cameras: for policies, and for people."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.sim.rendering import prepare_rendering

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MujocoCameras"]

_GEOMETRIES = 10_000
_SHADOW_SIZE = 1024


class MujocoCameras:
    """Draws a model offscreen; a picture of 64x64 takes 5 to 20 ms on a CPU.

    Shadows and reflections triple the time of a software renderer, smoothing costs still more; it
    is always left out.

    Args:
        model: A `mujoco.MjModel`.
        cameras: Observation key to the camera's name.
        image_size: Height and width.
        upside_down: Cameras that the model mounts upside down; their pictures are turned.
        shadows: Whether to draw shadows and reflections.

    Raises:
        UserError: Pictures cannot be drawn on this machine.
    """

    def __init__(
        self,
        model: Any,
        cameras: Mapping[str, str],
        image_size: Sequence[int],
        upside_down: Collection[str] = (),
        *,
        shadows: bool = False,
    ) -> None:
        prepare_rendering()
        self._mujoco = mujoco = importlib.import_module("mujoco")
        height, width = image_size
        self._model = model
        self._turned = {key for key, camera in cameras.items() if camera in upside_down}
        self._views = {key: self._view(camera) for key, camera in cameras.items()}
        backend = importlib.import_module(f"mujoco.{os.environ['MUJOCO_GL']}")
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = _SHADOW_SIZE
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        self._gl = backend.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=_GEOMETRIES)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = shadows
        self._options = mujoco.MjvOption()
        self._area = mujoco.MjrRect(0, 0, width, height)
        self._picture = np.zeros((height, width, 3), np.uint8)

    def draw(self, data: Any) -> dict[str, NDArray[np.uint8]]:
        """Return a picture uint8 `(3, height, width)` by observation key.

        Args:
            data: The `mujoco.MjData` to show.
        """
        mujoco = self._mujoco
        self._gl.make_current()
        pictures = {}
        for key, view in self._views.items():
            everything = mujoco.mjtCatBit.mjCAT_ALL
            mujoco.mjv_updateScene(
                self._model, data, self._options, None, view, everything, self._scene
            )
            mujoco.mjr_render(self._area, self._scene, self._context)
            mujoco.mjr_readPixels(self._picture, None, self._area, self._context)
            # OpenGL's first row is the lowest
            upright = self._picture[:, ::-1] if key in self._turned else self._picture[::-1]
            pictures[key] = np.ascontiguousarray(upright.transpose(2, 0, 1))
        return pictures

    def close(self) -> None:
        """Free the OpenGL context."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _view(self, camera: str) -> Any:
        view = self._mujoco.MjvCamera()
        view.type = self._mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = self._model.camera(camera).id
        return view
