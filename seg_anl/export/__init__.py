"""Trained runs in forms that need nothing of this project: MONAI bundles, ONNX, TorchScript."""
