"""The layers by which YOLO networks end: predictions of boxes made probabilities, and rows of pixels made channels.

As in the specification of OpenVINO's operation set, RegionYolo-1 and ReorgYolo-1, which are those of Darknet.
"""

import math

import numpy as np

from tilewright.errors import IRError

from ...op import Operator, QuantizationRule, UnaryOperands, operator
from ...types import DType, TensorType
from ..movement import check_axis
from ..shape import moved


@operator("region_yolo")
class RegionYolo(Operator[UnaryOperands]):
    """Sigmoid of the place of each box and of whether there is one, softmax or sigmoid of its classes.

    Operands: x f32 [N, regions * (coords + 1 + classes), H, W]; of each region the channels are ``coords`` numbers of
    the box, of which the first two are its centre and the others stay as they are, one for its being there, one for
    each class. Result: of the same elements; with ``do_softmax`` the dimensions from ``axis`` to ``end_axis`` are one.

    Attributes:
        regions: boxes that each pixel predicts.
        coords: numbers of a box, at least 2.
        classes: at least 1.
        do_softmax: classes exclude each other.
        axis, end_axis: counted from the front.
    """

    regions: int
    coords: int
    classes: int
    do_softmax: bool = True
    axis: int = 1
    end_axis: int = 3

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype is not DType.F32:
            raise IRError("element type is not allowed", expected="f32", found=x.dtype.value)
        if min(self.regions, self.classes) < 1 or self.coords < 2:
            raise IRError(
                "regions and classes are at least 1, coords 2",
                found=f"{self.regions}, {self.classes} and {self.coords}",
            )
        channels = self.regions * (self.coords + 1 + self.classes)
        if x.rank != 4 or x.shape[1] != channels:
            raise IRError("x does not hold the regions", expected=f"[N, {channels}, H, W]", found=x)
        if not self.do_softmax:
            return x
        check_axis(self.axis, x)
        check_axis(self.end_axis, x)
        if self.axis > self.end_axis:
            raise IRError("the axes are the wrong way round", found=f"{self.axis} to {self.end_axis}")
        joined = math.prod(x.shape[self.axis : self.end_axis + 1])
        return moved(x, (*x.shape[: self.axis], joined, *x.shape[self.end_axis + 1 :]))

    def reference(self, x: np.ndarray) -> np.ndarray:
        regions = x.reshape(x.shape[0], self.regions, -1, *x.shape[2:])
        place, sides, presence, classes = np.split(regions, [2, self.coords, self.coords + 1], axis=2)
        if self.do_softmax:
            powers = np.exp(classes - classes.max(2, keepdims=True))
            classes = powers / powers.sum(2, keepdims=True)
        else:
            classes = _sigmoid(classes)
        y = np.concatenate([_sigmoid(place), sides, _sigmoid(presence), classes], 2)
        return y.reshape(self.infer(TensorType.of(x)).shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@operator("reorg_yolo")
class ReorgYolo(Operator[UnaryOperands]):
    """A quarter (for a stride of 2) of the pixels, four times the channels: Darknet's way to make them.

    Operands: x [N, C, H, W], of any dtype. Result: [N, C * stride^2, H / stride, W / stride]. The elements are those of
    x seen as [N, C / stride^2, H, stride, W, stride], with the strides moved to the front, seen as the shape of the
    result; not those of space-to-depth.
    ``stride``: divides H and W, and its square C."""

    QUANTIZATION = QuantizationRule.PRESERVE

    stride: int

    def infer(self, x: TensorType) -> TensorType:
        s = self.stride
        if s < 1 or x.rank != 4 or x.shape[1] % s**2 or x.shape[2] % s or x.shape[3] % s:
            raise IRError(
                "the stride does not divide the extents", expected=f"[N, k * {s}^2, k * {s}, k * {s}]", found=x
            )
        batch, channels, height, width = x.shape
        return moved(x, (batch, channels * s**2, height // s, width // s))

    def reference(self, x: np.ndarray) -> np.ndarray:
        s, (batch, channels, height, width) = self.stride, x.shape
        squares = x.reshape(batch, channels // s**2, height, s, width, s)
        return np.transpose(squares, (0, 3, 5, 1, 2, 4)).reshape(batch, channels * s**2, height // s, width // s)
