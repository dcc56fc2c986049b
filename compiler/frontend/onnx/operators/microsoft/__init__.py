"""Operators of com.microsoft, as the optimiser and the quantisers of onnxruntime write them."""
