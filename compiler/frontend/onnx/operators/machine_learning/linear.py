"""Linear models and support vector machines of ai.onnx.ml, as matrix products."""

from __future__ import annotations

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Tanh
from ......ir.ops.comparison import Greater, Where
from ......ir.ops.elementwise import Add, Mul, Pow
from ......ir.ops.indexing import Gather
from ......ir.ops.matmul import MatMul
from ......ir.ops.unary import Exp
from ......ir.types import DType
from ....elementwise import scaled
from ....movement import transpose
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


@imports("SVMRegressor", domain=MACHINE_LEARNING)
def import_svm_regressor(node: Node, importer: Importer) -> Value:
    x = rows(node, importer)
    dtype = x.type.dtype
    count, kernel = node.int("n_supports", 0), node.string("kernel_type", "LINEAR")
    coefficients, rho = numbers(node, "coefficients", dtype), numbers(node, "rho", dtype)
    vectors = numbers(node, "support_vectors", dtype) if count else np.zeros(0, dtype.numpy)
    features = x.type.shape[1]
    if len(coefficients) != (count or features) or len(vectors) != count * features or len(rho) != 1 or count < 0:
        found = f"{count} vectors of {len(vectors)} numbers, {len(coefficients)} coefficients, {len(rho)} rho"
        raise node.model_error("support vectors and coefficients do not fit the features", found=found)
    if count:
        supports = importer.constant(vectors.reshape(count, features), f"{node.name}_vectors")
        x = _kernel(node, importer, x, supports, kernel)
    y = importer.emit_one(MatMul(), x, importer.constant(coefficients.reshape(-1, 1), f"{node.name}_coefficients"))
    y = importer.emit_one(Add(), y, importer.constant(rho, f"{node.name}_rho"))
    if node.bool("one_class", 0):
        is_inside = importer.emit_one(Greater(), y, floats(importer, y, 0))
        y = importer.emit_one(Where(), is_inside, floats(importer, y, 1), floats(importer, y, -1))
    return cast(importer, transformed(node, importer, y), DType.F32)


def _kernel(node: Node, importer: Importer, x: Value, vectors: Value, kind: str) -> Value:
    """How much each row is like each support vector, [rows, vectors]."""
    gamma, offset, degree = node.floats("kernel_params", (0.0, 0.0, 0.0))
    if kind == "RBF":
        ones = floats(importer, x, np.ones((1, x.type.shape[1])))
        lengths = (importer.emit_one(Mul(), each, each) for each in (x, vectors))
        of_rows, of_vectors = (importer.emit_one(MatMul(transpose_b=True), each, ones) for each in lengths)
        product = scaled(importer, importer.emit_one(MatMul(transpose_b=True), x, vectors), -2)
        total = importer.emit_one(Add(), product, of_rows)
        total = importer.emit_one(Add(), total, transpose(importer, of_vectors, (1, 0)))
        return importer.emit_one(Exp(), scaled(importer, total, -gamma))
    product = importer.emit_one(MatMul(transpose_b=True), x, vectors)
    if kind == "LINEAR":
        return product
    product = importer.emit_one(Add(), scaled(importer, product, gamma), floats(importer, x, offset))
    if kind == "POLY":
        return importer.emit_one(Pow(), product, floats(importer, x, degree))
    if kind == "SIGMOID":
        return importer.emit_one(Tanh(), product)
    raise node.model_error("unknown kernel", expected="LINEAR, POLY, RBF or SIGMOID", found=kind)
