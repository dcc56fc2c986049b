"""What classifiers and regressors of ai.onnx.ml make of their scores: transforms of them, and the class on top.

Where the standard leaves it open, as onnxruntime has it.
"""

import math
from collections.abc import Sequence

import numpy as np

from tilewright.errors import ClassesWarning, warn

from ......ir.core import Value
from ......ir.ops.activation import Sigmoid
from ......ir.ops.elementwise import Add
from ......ir.ops.indexing import Gather
from ......ir.ops.reduction import ArgMax, ReduceMax, ReduceSum
from ......ir.ops.softmax import Softmax
from ......ir.ops.unary import Exp, Log, Sign, Sqrt
from ......ir.types import DType
from ....expression import Expression
from ....movement import join
from ....shape import cast, reshape
from ...importer import Importer, Node


def numbers(node: Node, name: str, dtype: DType = DType.F32) -> np.ndarray:
    """An attribute of numbers, also where a tensor gives it; empty where it is absent."""
    given = node.attributes.get(f"{name}_as_tensor", node.attributes.get(name, ()))
    return np.asarray(given, dtype.numpy).reshape(-1)


def rows(node: Node, importer: Importer) -> Value:
    """The input as rows of features, in floating point."""
    x = node.input(0)
    x = x if x.type.dtype is DType.F64 else cast(importer, x, DType.F32)
    if not 1 <= x.type.rank <= 2:
        raise node.model_error("the input must be one row, or rows, of features", found=x.type)
    return reshape(importer, x, (1, *x.type.shape)) if x.type.rank == 1 else x


def floats(importer: Importer, like: Value, values: object, name: str = "constant") -> Value:
    """A constant of the dtype of ``like``."""
    return importer.constant(np.asarray(values, like.type.dtype.numpy), name)


TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
"""What scores may go through, numbered as the operator TreeEnsemble does."""


def transformed(node: Node, importer: Importer, scores: Value, name: str | None = None) -> Value:
    """Scores [rows, classes or targets] after a transform, that which the node names by default.

    One score alone is no distribution: only PROBIT changes it."""
    name = node.string("post_transform", "NONE") if name is None else name
    if name == "PROBIT":
        return _probit(importer, scores)
    if name == "NONE" or (scores.type.shape[1] == 1 and name in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")):
        return scores
    if name == "LOGISTIC":
        return importer.emit_one(Sigmoid(), scores)
    if name == "SOFTMAX":
        return importer.emit_one(Softmax(1), scores)
    if name == "SOFTMAX_ZERO":
        x = Expression(importer, scores)
        most = x.apply(ReduceMax((1,)))
        parts = x.where(abs(x) < 1e-7, x / most.apply(Exp()), (x - most).apply(Exp()))
        return (parts / parts.apply(ReduceSum((1,)))).value
    raise node.model_error("unknown transform", expected=", ".join(TRANSFORMS), found=name)


def _probit(importer: Importer, p: Value) -> Value:
    """The quantile of the normal distribution, by Winitzki's approximation of the inverse of erf."""
    x = Expression(importer, p) * 2 - 1
    logarithm = ((1 - x) * (x + 1)).apply(Log())
    a = logarithm * 0.5 + 2 / (math.pi * 0.147)
    root = ((a * a - logarithm * (1 / 0.147)).apply(Sqrt()) - a).apply(Sqrt())
    return (x.apply(Sign()) * root * math.sqrt(2)).value


def two_classes(node: Node, importer: Importer, score: Value, *, is_positive: bool) -> Value:
    """The scores of two classes, as they are returned, from that of the second.
    ``is_positive``: the score is the likelihood of the second."""
    kind = node.string("post_transform", "NONE")
    x = Expression(importer, score)
    first = 1 - x if kind == "PROBIT" or (is_positive and kind != "LOGISTIC") else -x
    scores = join(importer, [first.value, score], 1)
    scores = transformed(node, importer, scores) if kind in ("LOGISTIC", "PROBIT") else scores
    return cast(importer, scores, DType.F32)


def classes(node: Node, *attributes: str) -> tuple[np.ndarray, bool]:
    """What a node calls its classes, and whether these are names: then they are numbered instead.
    ``attributes``: that may hold them; the last one has names."""
    given: Sequence[object] = next(filter(None, (node.attributes.get(name) for name in attributes)), [])
    has_names = any(isinstance(each, bytes) for each in given)
    return np.arange(len(given)) if has_names else np.asarray(given, np.int64).reshape(-1), has_names


def label(node: Node, importer: Importer, index: Value, called: np.ndarray, has_names: bool) -> Value:
    """The class of each row, i64 [rows], from its number."""
    if has_names and node.wanted[0]:
        warn(f"the classes of node {node.name!r} have names: its labels are their numbers, from 0 on", ClassesWarning)
    if np.array_equal(called, np.arange(len(called))):
        return cast(importer, index, DType.I64)
    return importer.emit_one(Gather(0), importer.constant(called, "classes"), index)


def top(importer: Importer, scores: Value) -> Value:
    """The number of the first column with the largest score."""
    return importer.emit_one(ArgMax(1, keepdims=False), scores)


def with_base(node: Node, importer: Importer, scores: Value, base: Sequence[float] | np.ndarray) -> Value:
    """Scores plus a number for each column, where there are any.
    Raises ModelError: they are not as many as the columns."""
    if not len(base):
        return scores
    if len(base) != scores.type.shape[1]:
        message = "base values, or intercepts, and scores are not equally many"
        raise node.model_error(message, expected=scores.type.shape[1], found=len(base))
    return importer.emit_one(Add(), scores, floats(importer, scores, base, "base"))
