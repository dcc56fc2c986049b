"""Networks compared value by value: models, artifacts, models with encodings, and models in onnxruntime."""
