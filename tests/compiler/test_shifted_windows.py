"""Attention in windows of an image that are shifted in every other layer, as exporters write it."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import assert_engines_agree
from onnx_networks import OnnxNetwork

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.report.details import details_of

END = np.iinfo(np.int64).max


class _Windows(OnnxNetwork):
    """Two layers over an image of 8 x 8 pixels in windows of 4 x 4, after which four pixels become one, and a layer."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        x = self.op("Conv", "x", self.some(32, 3, 4, 4, by=0.15), kernel_shape=[4, 4], strides=[4, 4])
        x = self.norm(self.op("Transpose", self.reshape(x, 1, 32, 64), perm=[0, 2, 1]), 32)
        x = self.layer(self.layer(x, 8, 32), 8, 32, shift=2)
        image, parts = self.reshape(x, 1, 8, 8, 32), list[str]()
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            first, last = self.whole(row, column), self.whole(END, END)
            parts.append(self.op("Slice", image, first, last, self.whole(1, 2), self.whole(2, 2)))
        merged = self.reshape(self.op("Concat", *parts, axis=-1), 1, 16, 128)
        x = self.layer(self.linear(self.norm(merged, 128), 128, 64), 4, 64)
        self.last = self.linear(self.norm(x, 64), 64, 5)

    def whole(self, *numbers: int) -> str:
        return self.number(np.array(numbers, np.int64))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.whole(*shape))

    def norm(self, x: str, channels: int) -> str:
        return self.op("LayerNormalization", x, self.some(channels, about=1.0), self.some(channels), axis=-1)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.op("MatMul", x, self.some(inputs, outputs, by=inputs**-0.5))
        return self.op("Add", self.some(outputs), product)

    def roll(self, x: str, by: int) -> str:
        """As torch.roll is exported."""
        for axis in (1, 2):
            cut = self.whole(by % 8)
            tail = self.op("Slice", x, cut, self.whole(END), self.whole(axis), self.whole(1))
            x = self.op("Concat", tail, self.op("Slice", x, self.whole(0), cut, self.whole(axis)), axis=axis)
        return x

    def moved(self, x: str, size: int, first: tuple[int, ...], last: tuple[int, ...]) -> str:
        return self.reshape(self.op("Transpose", self.reshape(x, *first), perm=[0, 1, 3, 2, 4, 5]), *last)

    def attention(self, x: str, count: int, channels: int, *, masked: bool) -> str:
        """Of two heads in windows of 16 pixels."""
        depth = channels // 2
        heads = self.reshape(self.linear(x, channels, 3 * channels), count, 16, 3, 2, depth)
        heads = self.op("Transpose", heads, perm=[2, 0, 3, 1, 4])
        q, k, v = (self.op("Gather", heads, self.number(np.array(i)), axis=0) for i in range(3))
        q = self.op("Mul", q, self.number(np.array(depth**-0.5, np.float32)))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.op("Add", scores, self.some(1, 2, 16, 16))
        if masked:
            mask = np.where(self.rng.random((count, 1, 16, 16)) < 0.3, -100, 0).astype(np.float32)
            windows = self.reshape(scores, 1, count, 2, 16, 16)
            scores = self.reshape(self.op("Add", windows, self.number(mask[None])), count, 2, 16, 16)
        y = self.op("Transpose", self.op("MatMul", self.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        return self.linear(self.reshape(y, count, 16, channels), channels, channels)

    def layer(self, x: str, size: int, channels: int, shift: int = 0) -> str:
        n, image = size // 4, (1, size, size, channels)
        y = self.reshape(self.norm(x, channels), *image)
        y = self.roll(y, shift) if shift else y
        apart, rows = (1, n, 4, n, 4, channels), (1, n, n, 4, 4, channels)
        y = self.moved(y, size, apart, (n * n, 16, channels))
        y = self.moved(self.attention(y, n * n, channels, masked=shift > 0), size, rows, image)
        y = self.roll(y, -shift) if shift else y
        x = self.op("Add", x, self.reshape(y, 1, size * size, channels))
        wide = self.op("Relu", self.linear(self.norm(x, channels), channels, 64))
        return self.op("Add", x, self.linear(wide, 64, channels))


@pytest.mark.parametrize("machine", ["s256", pytest.param("m4096", marks=pytest.mark.sweep)])
def test_windows_are_one_program(machine: str, rng: np.random.Generator) -> None:
    """With the normalisation that makes the first of the shortcuts, of 8 bits."""
    net = _Windows(rng)
    options = CompileOptions(
        precision="int8", calibration="random", calibration_limit=2, machine=machine, effort="quick"
    )
    artifact = compile_to_memory(net.model([1, 3, 32, 32], net.last), options)
    placed = [(each.op, each.on) for each in details_of(artifact).placement]
    assert placed.count(("attention", "device")) == 3 and placed.count(("skip_layer_norm", "device")) == 9
    host = {op for op, on in placed if on == "cpu"}
    assert host <= {"quantize", "dequantize", "reorder", "reshape", "conv"}
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)}
    assert_engines_agree(artifact, feeds)
