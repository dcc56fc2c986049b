"""Linear models and support vector machines of ai.onnx.ml, as matrix products; likelihoods of classes by a loop."""

from collections.abc import Sequence

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Clip, Sigmoid, Tanh
from ......ir.ops.control_flow import COUNT, Loop
from ......ir.ops.elementwise import Mod, Pow
from ......ir.ops.indexing import Gather
from ......ir.ops.matmul import MatMul
from ......ir.ops.reduction import ReduceMax, ReduceMin, ReduceSum
from ......ir.ops.unary import Exp
from ......ir.types import DType
from ....control_flow import close_over, outside_of
from ....expression import Expression
from ....movement import join, transpose
from ....shape import cast
from ...exporter import MACHINE_LEARNING
from ...importer import Importer, Node, imports
from .scores import classes, label, numbers, rows, top, transformed, two_classes, with_base

_ROUNDS = 100
"""Rounds of the search for likelihoods at most, as libsvm and onnxruntime have it."""


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
    weights = importer.constant(coefficients.reshape(-1, 1), f"{node.name}_coefficients")
    y = Expression(importer, x) @ weights + importer.constant(rho, f"{node.name}_rho")
    y = y.where(y > 0, 1, -1) if node.bool("one_class", 0) else y
    return cast(importer, transformed(node, importer, y.value), DType.F32)


@imports("SVMClassifier", domain=MACHINE_LEARNING)
def import_svm_classifier(node: Node, importer: Importer) -> list[Value]:
    """Each pair of classes has a score, above 0 for the first; the class of most pairs is on top.

    Scores are returned for pairs, or likelihoods of classes where ``prob_a`` and ``prob_b`` say how these follow.
    Without support vectors it is a linear model with a score for each class."""
    called, has_names = classes(node, "classlabels_ints", "classlabels_strings")
    each = node.ints("vectors_per_class", ())
    count, x = len(called), cast(importer, rows(node, importer), DType.F32)
    coefficients, rho = numbers(node, "coefficients"), numbers(node, "rho")
    slopes, offsets = numbers(node, "prob_a"), numbers(node, "prob_b")
    vectors, features = sum(each), x.type.shape[1]
    pairs = count * (count - 1) // 2 if vectors else 1
    lines = (count - 1) * vectors if vectors else count * features
    if count < 2 or min(each, default=0) < 0 or (vectors and len(each) != count):
        raise node.model_error("support vectors are of at least two classes", found=f"{each} for {count} classes")
    if (
        len(coefficients) != lines
        or len(rho) < pairs
        or (vectors and len(numbers(node, "support_vectors")) != vectors * features)
    ):
        found = f"{len(coefficients)} coefficients, {len(rho)} rho, {vectors} vectors of {count} classes"
        raise node.model_error("support vectors and coefficients do not fit the features", found=found)
    if not vectors:
        return _linear(node, importer, x, coefficients.reshape(count, features), called, has_names)
    if len(slopes) != len(offsets) or (len(slopes) and len(slopes) < pairs):
        found = f"{len(slopes)} and {len(offsets)}"
        raise node.model_error("prob_a and prob_b have a number for each pair", expected=pairs, found=found)
    first, second = np.triu_indices(count, 1)
    supports = importer.constant(numbers(node, "support_vectors").reshape(vectors, features), f"{node.name}_vectors")
    alike = _kernel(node, importer, x, supports, node.string("kernel_type", "LINEAR"))
    weights = importer.described(
        node, (vectors, pairs), DType.F32, lambda: _of_pairs(coefficients.reshape(count - 1, vectors), each), "_weights"
    )
    scores, one_of = Expression(importer, alike) @ weights + rho[:pairs], np.eye(count)
    votes = (scores > 0).cast(DType.F32) @ (one_of[first] - one_of[second]) + one_of[second].sum(0)
    called_first = label(node, importer, top(importer, votes.value), called, has_names)
    if len(slopes):
        likely = (scores * -slopes[:pairs] - offsets[:pairs]).apply(Sigmoid()).apply(Clip(1e-7, 1 - 1e-7))
        scores = _coupled(node, importer, likely, count)
    elif pairs == 1:
        is_positive = node.string("post_transform", "NONE") != "NONE"
        return [called_first, two_classes(node, importer, scores.value, is_positive=is_positive)]
    return [called_first, transformed(node, importer, scores.value)]


def _of_pairs(coefficients: np.ndarray, each: Sequence[int]) -> np.ndarray:
    """What each support vector counts in the score of each pair, [vectors, pairs].
    ``coefficients``: [classes - 1, vectors]; those of a vector for all classes but its own, in order.
    ``each``: how many vectors each class has, in order."""
    first, second = np.triu_indices(len(each), 1)
    own = np.repeat(np.arange(len(each)), each)[:, None]
    other = np.where(own == first, second - 1, first)
    found = coefficients[np.minimum(other, len(each) - 2), np.arange(len(own))[:, None]]
    return np.where((own == first) | (own == second), found, 0).astype(np.float32)


def _linear(
    node: Node, importer: Importer, x: Value, coefficients: np.ndarray, called: np.ndarray, has_names: bool
) -> list[Value]:
    """A score for each class. Of two classes the second is on top of what is enough for either, as in onnxruntime."""
    scores = Expression(importer, x).apply(MatMul(transpose_b=True), coefficients) + numbers(node, "rho")[0]
    index = top(importer, scores.value)
    if len(called) == 2:
        most = scores.apply(ReduceMax((1,), keepdims=False))
        is_enough = most >= 0.5 if (coefficients >= 0).all() else most > 0
        index = Expression(importer, index).where(is_enough, 1, index).value
    return [label(node, importer, index, called, has_names), transformed(node, importer, scores.value)]


def _coupled(node: Node, importer: Importer, pairs: Expression, count: int) -> Expression:
    """Likelihoods of classes, [rows, classes], from those of the first of each pair against the second, [rows, pairs].

    Wu, Lin and Weng, Probability estimates for multi-class classification by pairwise coupling, 2004, algorithm 2: the
    p that makes p'Qp smallest, found class by class. A row is done when Qp is the same for all its classes but for
    0.005 / classes, as in libsvm, which is asked when a round of all classes begins."""
    batch = pairs.value.type.shape[0]
    first, second = np.triu_indices(count, 1)
    numbered = np.full((count, count), 2 * len(first))
    numbered[first, second], numbered[second, first] = np.arange(len(first)), np.arange(len(first)) + len(first)
    line = join(importer, [pairs.value, (1 - pairs).value, pairs.operand(np.zeros((batch, 1)))], 1)
    both = (importer.emit_one(Gather(1), line, importer.constant(each)) for each in (numbered, numbered.T))
    against, by = (Expression(importer, each) for each in both)
    squares = (by * by).apply(ReduceSum((2,), keepdims=True))
    q = np.eye(count) * squares - against * by
    start = pairs.operand(np.full((batch, count, 1), 1 / count))
    undone = importer.constant(np.zeros((batch, 1, 1), np.bool_), "undone")
    with importer.inside(f"{node.name}.coupling") as body:
        step, p, done = (
            Expression(importer, body.add_parameter(name, type))
            for name, type in (("step", COUNT), ("p", start.type.plain), ("done", undone.type.plain))
        )
        own, qp = step.apply(Mod(), count), q @ p
        pqp = (p * qp).apply(ReduceSum((1,), keepdims=True))
        is_close = abs(qp - pqp).apply(ReduceMax((1,), keepdims=True)) < 0.005 / count
        after = done | is_close & own.equals(0)
        of_own, square = (each.apply(Gather(1), own.reshape((1,))) for each in (qp, squares))
        change = p.where(after, 0, (pqp - of_own) / square)
        there = own.equals(np.arange(count).reshape(count, 1)).cast(DType.F32)
        moved = (p + change * there) / (change + 1)
        goes_on = after.cast(DType.F32).apply(ReduceMin((0, 1, 2), keepdims=False)) < 1
        results = [goes_on.value, moved.value, after.value]
    outside = outside_of(body, results)
    close_over(body, results, outside)
    steps, true = importer.constant(np.asarray(_ROUNDS * count), "steps"), importer.constant(np.asarray(True), "true")
    types = [start.type, undone.type, COUNT]
    found = importer.emit_one(Loop(body.name, 2), steps, true, start, undone, *outside, types=types)
    return Expression(importer, found).reshape((batch, count))


def _kernel(node: Node, importer: Importer, x: Value, vectors: Value, kind: str) -> Value:
    """How much each row is like each support vector, [rows, vectors]."""
    gamma, offset, degree = node.floats("kernel_params", (0.0, 0.0, 0.0))
    by_rows, ones = MatMul(transpose_b=True), np.ones((1, x.type.shape[1]))
    product = Expression(importer, x).apply(by_rows, vectors)
    if kind == "RBF":
        both = (Expression(importer, each) for each in (x, vectors))
        of_rows, of_vectors = ((each * each).apply(by_rows, ones) for each in both)
        total = product * -2 + of_rows + transpose(importer, of_vectors.value, (1, 0))
        return (total * -gamma).apply(Exp()).value
    if kind == "LINEAR":
        return product.value
    product = product * gamma + offset
    if kind == "POLY":
        return product.apply(Pow(), degree).value
    if kind == "SIGMOID":
        return product.apply(Tanh()).value
    raise node.model_error("unknown kernel", expected="LINEAR, POLY, RBF or SIGMOID", found=kind)


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
        column = Expression(importer, scores).apply(Gather(1), importer.constant(np.asarray(0), "column"))
        index = (column > 0).cast(DType.I64).value
        return [label(node, importer, index, called, has_names), two_classes(node, importer, scores, is_positive=True)]
    called = called if len(called) else np.arange(outputs)
    if len(called) != scores.type.shape[1]:
        raise node.model_error("classes and coefficients do not fit", expected=scores.type.shape[1], found=len(called))
    index = top(importer, scores)
    scores = cast(importer, transformed(node, importer, scores), DType.F32)
    return [label(node, importer, index, called, has_names), scores]
