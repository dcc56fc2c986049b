"""Softmax and its relatives, along one dimension."""

import numpy as np

from tilewright.errors import IRError

from ..op import Operator, UnaryOperands, operator
from ..types import TensorType
from .movement import check_axis


class AlongAxis(Operator[UnaryOperands]):
    """Base: x of a float dtype; the result is like x, and each line along ``axis`` depends on that line alone."""

    axis: int

    def infer(self, x: TensorType) -> TensorType:
        check_axis(self.axis, x)
        if not x.dtype.is_float:
            raise IRError("x must be of a float dtype", found=x)
        return x


@operator("softmax")
class Softmax(AlongAxis):
    """Exponentials, scaled to add up to 1 along ``axis``."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        e = np.exp(x - np.max(x, self.axis, keepdims=True, initial=-np.inf))
        return e / np.sum(e, self.axis, keepdims=True)


@operator("log_softmax")
class LogSoftmax(AlongAxis):
    """Natural logarithm of the softmax along ``axis``."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        shifted = x - np.max(x, self.axis, keepdims=True, initial=-np.inf)
        return shifted - np.log(np.sum(np.exp(shifted), self.axis, keepdims=True))
