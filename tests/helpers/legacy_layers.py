"""The layers that networks of the time are made of, each written as IR of versions 2 to 7 and as ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from legacy_ir import LegacyIr, Tensor, text


class LegacyNetwork(LegacyIr):
    """A network of layers in two dimensions, whose windows are square."""

    def window(self, kernel: int, stride: int, pads: tuple[int, int], dilation: int = 1) -> dict[str, object]:
        """The attributes of a window as the version spells them.

        Args:
            pads: at the beginning and at the end of both dimensions.
        """
        begin, end = pads
        if self.version == 2:
            found: dict[str, object] = {"kernel-x": kernel, "kernel-y": kernel, "stride-x": stride, "stride-y": stride}
            found |= {"pad-x": begin, "pad-y": begin}
            if end != begin:
                found |= {"pad-r": end, "pad-b": end}
            return found | ({"dilation-x": dilation, "dilation-y": dilation} if dilation > 1 else {})
        found = {name: text([value] * 2) for name, value in (("kernel", kernel), ("strides", stride))}
        found |= {"pads_begin": text([begin] * 2), "pads_end": text([end] * 2)}
        return found | {"dilations": text([dilation] * 2)}

    def convolution(
        self,
        name: str,
        x: Tensor,
        outputs: int,
        kernel: int,
        stride: int = 1,
        pads: tuple[int, int] | int = 0,
        group: int = 1,
        dilation: int = 1,
        bias: bool = True,
        gain: float = 1.0,
    ) -> Tensor:
        """A convolution with random weights.

        Args:
            pads: at the beginning and at the end of both dimensions.
            gain: about how much larger results are than inputs.
        """
        begin, end = (pads, pads) if isinstance(pads, int) else pads
        n, channels, *extents = x.shape
        w = self.weights(
            outputs, channels // group, kernel, kernel, scale=gain * (channels // group * kernel**2) ** -0.5
        )
        blobs = {"weights": w} | ({"biases": self.weights(outputs, scale=0.1)} if bias else {})
        reach = dilation * (kernel - 1) + 1
        shape = (n, outputs, *((extent + begin + end - reach) // stride + 1 for extent in extents))
        attributes = {"output": outputs, "group": group} | self.window(kernel, stride, (begin, end), dilation)
        (y,) = self.layer("Convolution", name, [x], [shape], attributes, blobs)
        window = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [begin] * 2 + [end] * 2}
        self.onnx("Conv", [x, *blobs.values()], name, **window, group=group)
        return y

    def deconvolution(self, name: str, x: Tensor, factor: int) -> Tensor:
        """Each channel magnified by a bilinear kernel, as Caffe's upsampling layers do."""
        n, channels, *extents = x.shape
        kernel, pad = 2 * factor - factor % 2, factor // 2
        centre = factor - 1 if kernel % 2 else factor - 0.5
        line = 1 - np.abs(np.arange(kernel) - centre) / factor
        w = np.tile(np.outer(line, line).astype(np.float16).astype(np.float32), (channels, 1, 1, 1))
        shape = (n, channels, *((extent - 1) * factor + kernel - 2 * pad for extent in extents))
        attributes = {"output": channels, "group": channels} | self.window(kernel, factor, (pad, pad))
        (y,) = self.layer("Deconvolution", name, [x], [shape], attributes, {"weights": w})
        self.onnx("ConvTranspose", [x, w], name, strides=[factor] * 2, pads=[pad] * 4, group=channels)
        return y

    def batch_norm(self, name: str, x: Tensor, epsilon: float = 1e-3) -> Tensor:
        channels = x.shape[1]
        variance = (np.abs(self.weights(channels)) + np.float32(0.5)).astype(np.float16).astype(np.float32)
        mean = self.weights(channels)
        blobs = {"weights": variance, "biases": mean}
        (y,) = self.layer("BatchNormalization", name, [x], [x.shape], {"epsilon": epsilon}, blobs)
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.onnx("BatchNormalization", [x, one, zero, mean, variance], name, epsilon=epsilon)
        return y

    def scale_shift(
        self, name: str, x: Tensor, scale: np.ndarray | None = None, shift: np.ndarray | None = None
    ) -> Tensor:
        channels = x.shape[1]
        scale = self.weights(channels) if scale is None else scale
        shift = self.weights(channels) if shift is None else shift
        attributes = {"broadcast": 0} if self.version == 2 else None
        (y,) = self.layer("ScaleShift", name, [x], [x.shape], attributes, {"weights": scale, "biases": shift})
        column = (channels, *[1] * (len(x.shape) - 2))
        product = self.onnx("Mul", [x, scale.reshape(column)], f"{name}_product")
        self.onnx("Add", [product, shift.reshape(column)], name)
        return y

    def relu(self, name: str, x: Tensor) -> Tensor:
        (y,) = self.layer("ReLU", name, [x], [x.shape])
        self.onnx("Relu", [x], name)
        return y

    def clamp(self, name: str, x: Tensor, low: float = 0.0, high: float = 6.0) -> Tensor:
        (y,) = self.layer("Clamp", name, [x], [x.shape], {"min": low, "max": high})
        self.onnx("Clip", [x, np.float32(low), np.float32(high)], name)
        return y

    def pooling(
        self, name: str, x: Tensor, method: str, kernel: int, stride: int, pad: int = 0, *, ceil: bool = False
    ) -> Tensor:
        n, channels, *extents = x.shape
        whole = ((extent + 2 * pad - kernel, stride) for extent in extents)
        shape = (n, channels, *((-(-room // step) if ceil else room // step) + 1 for room, step in whole))
        attributes = self.window(kernel, stride, (pad, pad)) | {"pool-method": method, "exclude-pad": "true"}
        attributes.pop("dilations", None)
        attributes["rounding_type"] = "ceil" if ceil else "floor"
        (y,) = self.layer("Pooling", name, [x], [shape], attributes)
        op_type = "MaxPool" if method == "max" else "AveragePool"
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "ceil_mode": int(ceil)}
        self.onnx(op_type, [x], name, **window)
        return y

    def fully_connected(self, name: str, x: Tensor, outputs: int) -> Tensor:
        features = int(np.prod(x.shape[1:]))
        w, b = self.weights(outputs, features, scale=features**-0.5), self.weights(outputs, scale=0.1)
        shape = (x.shape[0], outputs)
        (y,) = self.layer("FullyConnected", name, [x], [shape], {"out-size": outputs}, {"weights": w, "biases": b})
        flat = self.onnx("Flatten", [x], f"{name}_flat", axis=1)
        self.onnx("Gemm", [flat, w, b], name, transB=1)
        return y

    def softmax(self, name: str, x: Tensor, axis: int = 1) -> Tensor:
        (y,) = self.layer("SoftMax", name, [x], [x.shape], {"axis": axis})
        self.onnx("Softmax", [x], name, axis=axis)
        return y

    def eltwise(
        self, name: str, inputs: Sequence[Tensor], operation: str = "sum", coeff: Sequence[float] = ()
    ) -> Tensor:
        attributes = {"operation": operation} | ({"coeff": text(coeff)} if coeff else {})
        (y,) = self.layer("Eltwise", name, inputs, [inputs[0].shape], attributes)
        parts: list[Tensor | str] = list(inputs)
        if coeff:
            factors = [np.float32(factor) for factor in coeff]
            parts = [
                self.onnx("Mul", [p, f], f"{name}_{i}") for i, (p, f) in enumerate(zip(inputs, factors, strict=True))
            ]
        op_type = {"sum": "Sum", "max": "Max", "mul": "Mul"}[operation]
        self.onnx(op_type, parts, name)
        return y

    def concat(self, name: str, inputs: Sequence[Tensor], axis: int = 1) -> Tensor:
        shape = list(inputs[0].shape)
        shape[axis] = sum(each.shape[axis] for each in inputs)
        (y,) = self.layer("Concat", name, inputs, [shape], {"axis": axis})
        self.onnx("Concat", inputs, name, axis=axis)
        return y

    def permute(self, name: str, x: Tensor, order: Sequence[int]) -> Tensor:
        (y,) = self.layer("Permute", name, [x], [[x.shape[d] for d in order]], {"order": text(order)})
        self.onnx("Transpose", [x], name, perm=list(order))
        return y

    def flatten(self, name: str, x: Tensor) -> Tensor:
        shape = (x.shape[0], int(np.prod(x.shape[1:])))
        (y,) = self.layer("Flatten", name, [x], [shape], {"axis": 1, "end_axis": -1})
        self.onnx("Flatten", [x], name, axis=1)
        return y

    def reshape(self, name: str, x: Tensor, dim: Sequence[int], shape: Sequence[int]) -> Tensor:
        """By the attribute, from version 5 on by a constant."""
        if self.version < 5:
            attributes = {"axis": 0, "dim": text(dim), "num_axes": -1}
            (y,) = self.layer("Reshape", name, [x], [shape], attributes)
        else:
            wanted = np.array(dim, np.int64)
            constant = self.constant(f"{name}/shape", wanted)
            (y,) = self.layer("Reshape", name, [x, constant], [shape])
        self.onnx("Reshape", [x, np.array(dim, np.int64)], name)
        return y

    def constant(self, name: str, array: np.ndarray) -> Tensor:
        """A layer ``Const``; nothing in the ONNX model."""
        precision = {"int64": "I64", "int32": "I32"}.get(array.dtype.name, "")
        return self.layer("Const", name, [], [array.shape], None, {"custom": array}, precision)[0]

    def crop(self, name: str, x: Tensor, reference: Tensor, offset: int) -> Tensor:
        """As much of the image as the reference has."""
        rows, columns = reference.shape[2:]
        attributes = {"axis": "2,3", "offset": text([offset] * 2), "dim": text([rows, columns])}
        (y,) = self.layer("Crop", name, [x, reference], [(*x.shape[:2], rows, columns)], attributes)
        begins, ends = np.array([offset] * 2), np.array([offset + rows, offset + columns])
        self.onnx("Slice", [x, begins, ends, np.array([2, 3])], name)
        return y
