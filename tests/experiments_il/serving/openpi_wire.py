"""openpi's public client by the facts of its wire format, where its package is not installed.

Written from `websocket_client_policy` and `msgpack_numpy`: what they send and expect.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import websockets.sync.client


def pack_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return value


def unpack_array(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        return np.ndarray(
            buffer=found[b"data"], dtype=np.dtype(found[b"dtype"]), shape=found[b"shape"]
        )
    if b"__npgeneric__" in found:
        return np.dtype(found[b"dtype"]).type(found[b"data"])
    return found


class WebsocketClientPolicy:
    """Connects, takes the metadata, then sends an observation and takes actions in turn."""

    def __init__(self, host: str = "0.0.0.0", port: int | None = None) -> None:
        uri = f"ws://{host}" if port is None else f"ws://{host}:{port}"
        self._ws = websockets.sync.client.connect(uri, compression=None, max_size=None)
        self._metadata = msgpack.unpackb(self._ws.recv(), object_hook=unpack_array)

    def get_server_metadata(self) -> Any:
        return self._metadata

    def infer(self, obs: dict[str, Any]) -> Any:
        self._ws.send(msgpack.Packer(default=pack_array).pack(obs))
        response = self._ws.recv()
        if isinstance(response, str):
            text = f"Error in inference server:\n{response}"
            raise RuntimeError(text)  # noqa: TRY004 - what openpi's raises
        return msgpack.unpackb(response, object_hook=unpack_array)
