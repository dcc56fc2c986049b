"""Linear models of ai.onnx.ml, as matrix products."""

from __future__ import annotations

import numpy as np

from ......ir.core import Value
from ......ir.ops.comparison import Greater
from ......ir.ops.indexing import Gather
from ......ir.ops.matmul import MatMul
from ......ir.types import DType
from ....shape import cast
from ...exporter import MACHINE_LEARNING
from ...importer import Importer, Node, imports
from .scores import classes, floats, label, numbers, rows, top, transformed, two_classes, with_base


def _product(node: Node, importer: Importer, outputs: int) -> Value:
    """Rows of features times the coefficients, [outputs, features] in the file, plus the intercepts."""
    x = rows(node, importer)
    coefficients = numbers(node, "coefficients", x.type.dtype)
    if outputs < 1 or len(coefficients) != outputs * x.type.shape[1]:
        expected = f"{outputs} * {x.type.shape[1]}"
        raise node.model_error("the coefficients do not fit the features", expected=expected, found=len(coefficients))
    weights = importer.constant(coefficients.reshape(outputs, -1), f"{node.name}_coefficients")
    y = importer.emit_one(MatMul(transpose_b=True), x, weights)
    return with_base(node, importer, y, numbers(node, "intercepts", x.type.dtype))


@imports("LinearRegressor", domain=MACHINE_LEARNING)
def import_linear_regressor(node: Node, importer: Importer) -> Value:
    scores = _product(node, importer, node.int("targets", 1))
    return cast(importer, transformed(node, importer, scores), DType.F32)


@imports("LinearClassifier", domain=MACHINE_LEARNING)
def import_linear_classifier(node: Node, importer: Importer) -> list[Value]:
    """Coefficients of one class say how much speaks for the second of two."""
    called, has_names = classes(node, "classlabels_ints", "classlabels_strings")
    features = rows(node, importer).type.shape[1]
    outputs = len(node.attributes.get("coefficients", ())) // max(features, 1)
    scores = _product(node, importer, outputs)
    if outputs == 1 and len(called) == 2:
        index = importer.emit_one(Greater(), _column(importer, scores, 0), floats(importer, scores, 0))
        index = cast(importer, index, DType.I64)
        return [label(node, importer, index, called, has_names), two_classes(node, importer, scores, is_positive=True)]
    called = called if len(called) else np.arange(outputs)
    if len(called) != scores.type.shape[1]:
        raise node.model_error("classes and coefficients do not fit", expected=scores.type.shape[1], found=len(called))
    index = top(importer, scores)
    scores = cast(importer, transformed(node, importer, scores), DType.F32)
    return [label(node, importer, index, called, has_names), scores]


def _column(importer: Importer, x: Value, index: int) -> Value:
    """A column of [rows, columns], as a vector."""
    return importer.emit_one(Gather(1), x, importer.constant(np.asarray(index), "column"))
