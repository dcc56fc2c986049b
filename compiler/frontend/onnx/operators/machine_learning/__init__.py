"""Operators of ai.onnx.ml, as exporters of scikit-learn, LightGBM and XGBoost write them."""
