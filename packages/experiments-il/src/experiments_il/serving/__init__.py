"""Policies over a socket, in openpi's protocol, and without torch: server, client, ONNX."""
