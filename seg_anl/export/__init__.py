"""Export trained runs as MONAI bundles, ONNX or TorchScript, which run without this package."""
