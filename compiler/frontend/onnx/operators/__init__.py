"""How ONNX spells operators: importer and exporter of each, one file for each family."""
