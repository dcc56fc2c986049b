"""Attention: weighted means of values, the weights from scores of queries and keys."""

import math
from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from .. import arithmetic
from ..core import Value
from ..op import Operator, QuantizationRule, operator
from ..quantized import check_elementwise, limits, parameters
from ..types import Arrays, ResultTypes, TensorType, Types
from .elementwise import FLOATS, check_dtype

_MOST_PRODUCTS = 1 << 15
"""Of two numbers of 8 bits and a sign, in a sum of 32 bits."""


class AttentionOperands(NamedTuple):
    q: Value
    k: Value
    v: Value | None = None
    mask: Value | None = None


@operator("attention")
class Attention(Operator[AttentionOperands]):
    """softmax(scale * Q K^T + mask) V for each of a batch of matrices, over the keys.

    Operands: q, k, v and mask of one float dtype, of any shapes: each is seen as matrices that lie in it as its view
    says, an offset and a stride for each batch dimension, for rows and for columns, in elements: Q [rows, width],
    K [keys, width], V [keys, depth] and the mask [rows, keys]. So heads that stand side by side, parts of one tensor
    and groups of queries with common keys need no copy. Result: of ``shape``; its matrices [rows, depth] lie in it as
    ``y_view`` says, and fill it.

    Quantised: everything is 8-bit per tensor, each with parameters of its own. Scores are exact; weights are integers,
    127 for the largest of a row, by :func:`tilewright.ir.arithmetic.attention_weights`; the sums of weighted values are
    exact again, and :func:`tilewright.ir.arithmetic.weighted_mean` makes the result of them. Where the mask holds the
    smallest integer of its type, the key is not seen at all; a row that sees none has the result 0. Weights that are
    shares are those of :func:`tilewright.ir.arithmetic.share_weights`.

    Without values the result is the scores themselves, Q K^T, as a product of two maps is: keys are its columns, and
    there is neither mask nor factor. Quantised, they are exact sums, and :func:`tilewright.ir.arithmetic.requantize`
    makes the result of them.

    Attributes:
        batch: extents of the batch dimensions.
        rows, keys, width, depth: extents of the matrices.
        shape: of the result.
        q_view, k_view, v_view, y_view, mask_view: how the matrices lie; empty without values, or without a mask.
        scale: factor of the products of queries and keys.
        causal: row i sees the first keys only, as many as leave the last row all of them: up to i + keys - rows.
        shares: weights are scores over the sum of those of a row, in place of the softmax, and queries and keys count
            as far as they are above 0. A row whose scores are 0 has the result 0. There is no mask then, and no factor.
    """

    QUANTIZATION = QuantizationRule.RESCALE

    batch: tuple[int, ...]
    rows: int
    keys: int
    width: int
    depth: int
    shape: tuple[int, ...]
    q_view: tuple[int, ...]
    k_view: tuple[int, ...]
    v_view: tuple[int, ...]
    y_view: tuple[int, ...]
    mask_view: tuple[int, ...] = ()
    scale: float = 1.0
    causal: bool = False
    shares: bool = False

    def infer(self, q: TensorType, k: TensorType, v: TensorType | None, mask: TensorType | None) -> TensorType:
        check_dtype(q, FLOATS)
        if min(*self.batch, self.rows, self.keys, self.width, self.depth, *self.shape) < 1:
            raise IRError(
                "an extent is not positive", found=[*self.batch, self.rows, self.keys, self.width, self.depth]
            )
        if self.causal and self.keys < self.rows:
            raise IRError("the first rows would see no keys", expected=f"at least {self.rows} keys", found=self.keys)
        for what, type, view in (("a mask", mask, self.mask_view), ("values", v, self.v_view)):
            if (type is None) != (not view):
                raise IRError(f"{what} and the view of it belong together", found=list(view))
        if v is None and (mask is not None or self.scale != 1 or self.causal or self.shares or self.depth != self.keys):
            expected = f"{self.keys} columns, no mask and no factor"
            raise IRError("without values the result is that of the product", expected=expected, found=self.depth)
        if self.shares and (mask is not None or self.scale != 1):
            raise IRError("shares of scores have neither mask nor factor", found=self.scale if mask is None else mask)
        for name, type, view, matrix in (
            ("q", q, self.q_view, (self.rows, self.width)),
            ("k", k, self.k_view, (self.keys, self.width)),
            ("v", v, self.v_view, (self.keys, self.depth)),
            ("mask", mask, self.mask_view, (self.rows, self.keys)),
        ):
            if type is not None and type.dtype is not q.dtype:
                raise IRError("the operands differ in their element types", expected=q.dtype.value, found=type)
            if type is not None:
                _check_view(name, view, (*self.batch, *matrix), type.elements)
        y = q.with_shape(self.shape)
        extents = (*self.batch, self.rows, self.depth)
        _check_view("y", self.y_view, extents, y.elements)
        filled = 1
        for stride, extent in sorted(zip(self.y_view[1:], extents, strict=True)):
            if extent > 1:
                if stride != filled:
                    raise IRError("the matrices do not fill the result", expected=f"a stride of {filled}", found=stride)
                filled *= extent
        if filled != y.elements:
            raise IRError("the matrices do not fill the result", expected=f"{y.elements} elements", found=filled)
        if self.y_view[-1] != 1 and self.depth > 1:
            raise IRError("rows of the result must lie in one piece", expected="a stride of 1", found=self.y_view[-1])
        return y

    def reference(self, q: np.ndarray, k: np.ndarray, v: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray:
        y = np.empty(self.shape, q.dtype)
        places = _seen(y, self.y_view, (*self.batch, self.rows, self.depth))
        q = _seen(q, self.q_view, (*self.batch, self.rows, self.width)).astype(np.float64)
        k = _seen(k, self.k_view, (*self.batch, self.keys, self.width)).astype(np.float64)
        q, k = (np.maximum(q, 0), np.maximum(k, 0)) if self.shares else (q, k)
        scores = np.matmul(q, np.swapaxes(k, -1, -2)) * self.scale
        if v is None:
            places[...] = scores
            return y
        if mask is not None:
            scores += _seen(mask, self.mask_view, scores.shape)
        if self.causal:
            allowed = np.tri(self.rows, self.keys, self.keys - self.rows, bool)
            scores = np.where(allowed, scores, 0 if self.shares else -np.inf)
        e = scores if self.shares else np.exp(scores - scores.max(-1, keepdims=True))
        total = e.sum(-1, keepdims=True)
        weights = e / np.where(total == 0, 1, total)
        places[...] = np.matmul(weights, _seen(v, self.v_view, (*self.batch, self.keys, self.depth)))
        return y

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        (q, k, v, mask), (q_type, k_type, v_type, mask_type) = arrays, operand_types
        assert q is not None and k is not None and q_type and k_type
        y = np.empty(self.shape, result_types[0].dtype.numpy)
        places = _seen(y, self.y_view, (*self.batch, self.rows, self.depth))
        (scale, zero), bounds = parameters(result_types[0]), limits(result_types[0])
        # Sums of products are exact in float64.
        q = self._centred(q, q_type, self.q_view, self.rows, self.width)
        k = self._centred(k, k_type, self.k_view, self.keys, self.width)
        q, k = (np.maximum(q, 0), np.maximum(k, 0)) if self.shares else (q, k)
        scores = np.matmul(q, np.swapaxes(k, -1, -2)).astype(np.int64)
        if v is None or v_type is None:
            factor = np.asarray(self.factor(operand_types, result_types[0]))
            places[...] = arithmetic.requantize(scores, factor, zero, *bounds)
            return y
        seen, added = np.ones((self.rows, self.keys), np.bool_), np.zeros((1, 1), np.int64)
        if self.causal:
            seen = np.tri(self.rows, self.keys, self.keys - self.rows, bool)
        if mask is not None and mask_type is not None:
            stored = _seen(mask, self.mask_view, scores.shape).astype(np.int64)
            seen, added = seen & (stored != limits(mask_type)[0]), stored - parameters(mask_type)[1]
        if self.shares:
            weights = arithmetic.share_weights(scores, seen)
        else:
            weights = arithmetic.attention_weights(scores, self.multipliers(operand_types), added, seen)
        values = self._centred(v, v_type, self.v_view, self.keys, self.depth)
        total, factor = np.matmul(weights.astype(np.float64), values).astype(np.int64), parameters(v_type)[0] / scale
        places[...] = arithmetic.weighted_mean(total, weights.sum(-1, keepdims=True), factor, zero, *bounds)
        return y

    def _centred(
        self, array: np.ndarray, type: TensorType, view: tuple[int, ...], rows: int, columns: int
    ) -> np.ndarray:
        """Matrices of a view as float64, less the zero point."""
        return _seen(array, view, (*self.batch, rows, columns)).astype(np.float64) - parameters(type)[1]

    def factor(self, operand_types: Types, y: TensorType) -> np.float32:
        """What sums of quantised products are multiplied with before they are rounded: of values, or of scores."""
        q, k, v = operand_types[:3]
        assert q is not None and k is not None
        product = parameters(q)[0] * parameters(k)[0] if v is None else parameters(v)[0]
        return np.float32(product / parameters(y)[0])

    def multipliers(self, operand_types: Types) -> tuple[int, int, int]:
        """Of quantised scores and masks, see :func:`tilewright.ir.arithmetic.score_multipliers`; zeros for shares
        and without values."""
        if self.shares or not self.v_view:
            return 0, 0, 0
        q, k, _, mask = (*operand_types, None)[:4]
        assert q is not None and k is not None
        score = float(parameters(q)[0]) * float(parameters(k)[0]) * self.scale
        return arithmetic.score_multipliers(score, float(parameters(mask)[0]) if mask is not None else 0.0)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        problem = check_elementwise([type for type in operand_types if type is not None], result_types)
        if problem is not None:
            return problem
        for what, count in (("width", self.width), ("keys", self.keys)):
            if count > _MOST_PRODUCTS:
                return f"sums of {count} products may leave 32 bits: at most {_MOST_PRODUCTS} ({what})"
        try:
            self.multipliers(operand_types)
        except ValueError as error:
            return str(error)
        return None

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        return math.prod(self.batch) * self.rows * self.keys * (self.width + self.depth * bool(self.v_view))


def _check_view(name: str, view: tuple[int, ...], extents: tuple[int, ...], elements: int) -> None:
    """Raise IRError unless all that the view shows are some of so many elements."""
    if len(view) != len(extents) + 1:
        raise IRError(f"the view of {name} needs an offset and a stride for each dimension", found=list(view))
    offset, *strides = view
    reaches = [(extent - 1) * stride for extent, stride in zip(extents, strides, strict=True)]
    first, last = offset + sum(min(r, 0) for r in reaches), offset + sum(max(r, 0) for r in reaches)
    if first < 0 or last >= elements:
        raise IRError(f"the view leaves {name}", expected=f"0 to {elements - 1}", found=f"{first} to {last}")


def _seen(array: np.ndarray, view: tuple[int, ...], extents: tuple[int, ...]) -> np.ndarray:
    """The matrices of a checked view, without a copy."""
    strides = [stride * array.itemsize for stride in view[1:]]
    return np.lib.stride_tricks.as_strided(np.ascontiguousarray(array).reshape(-1)[view[0] :], extents, strides)
