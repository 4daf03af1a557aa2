"""A checkpoint -> a program that runs without the training stack: ONNX, or torch.export's pt2."""
