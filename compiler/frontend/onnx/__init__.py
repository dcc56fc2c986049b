"""Reading and writing ONNX files. Only this package and the families beside it import ``onnx``."""
