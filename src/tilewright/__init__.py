"""Tilewright: compile ONNX networks for an accelerator and the host CPU, and run them."""

__version__ = "0.1.0"
