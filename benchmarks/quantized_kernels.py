"""Speed of single CPU kernels on 8-bit tensors: GOP/s, two operations a multiply-add.

    python benchmarks/quantized_kernels.py [--target host|avx2|portable] [--filter TEXT] [--seconds 0.05] [--zeros]

Isolated and warm: inside a network, caches hold other things. Figures move with whatever else the machine does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.convolutions.depthwise import QuantizedDepthwise
from tilewright.codegen.cpu.kernels.convolutions.quantized_convolution import QuantizedConvolution
from tilewright.codegen.cpu.kernels.output_channels import Channels
from tilewright.codegen.cpu.kernels.products.byte_product import ByteProduct
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.byte_dot_product import BYTES, dot
from tilewright.codegen.cpu.llvm.quantized_math import StoredRange
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.llvm.types import I32, Register, Registers, constant
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.ir.types import DType

sys.path.insert(0, str(Path(__file__).parent))
from kernels import EXPANSIONS, Case, arguments, layers, measure


class Peak(KernelSpec):
    """Nothing but dot products on registers, ten million of them."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("y",)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        y = arguments["y"]
        factor = b.load(BYTES, y)
        chains = 12

        def body(_: Register, sums: Registers) -> list[Register]:
            return [dot(b, value, factor, factor) for value in sums]

        sums = b.loop(0, 10_000_000 // chains, body, [constant(I32.of(16), i) for i in range(chains)])
        total = sums[0]
        for value in sums[1:]:
            total = b.binary("add", total, value)
        b.store(total, y)
        return self.finish(b, units=1)


def channels_for(outputs: int, rows: int, signed: bool, has_zeros: bool) -> Channels:
    """Constants of activations with a zero point, quantised weights with or without one."""
    count = -(-outputs // 16) * 16
    dtype = DType.I8 if signed else DType.U8
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    return Channels(
        start=(100,) * count,
        missing=((1,) * count,) * rows,
        zeros=(3,) * count if has_zeros else (),
        factors=(0.01,) * count,
        fill=120,
        flips_x=signed,
        flips_w=has_zeros,
        result=StoredRange(dtype, 3, int(low), int(high)),
    )


def cases(has_zeros: bool) -> Iterator[Case]:
    """Layers of ResNet-50 and MobileNetV2. Sizes are in units of four bytes."""

    def convolution(size: int, inputs: int, outputs: int, kernel: int, stride: int = 1, plain: bool = False) -> Case:
        pad = kernel // 2
        output = (size + 2 * pad - kernel) // stride + 1
        axis = Axis(size, output, kernel, stride, 1, pad)
        channels = channels_for(outputs, kernel, not plain, has_zeros)
        spec = QuantizedConvolution(1, inputs, axis, axis, outputs, constants=channels, plain_input=plain)
        inside, outside = -(-inputs // 16) * 16, -(-outputs // 16) * 16
        taps = kernel * (-(-kernel // 4) * 4 if plain else kernel)
        sizes = (inside * size**2 // 4, inside * outside * taps // 4, outside * output**2 // 4)
        name = f"conv {size} {inputs}->{outputs} {kernel}x{kernel}/{stride}"
        return Case(name, spec, sizes, 2.0 * inputs * outputs * kernel**2 * output**2)

    def depthwise(size: int, inputs: int, kernel: int, stride: int = 1) -> Case:
        pad = kernel // 2
        output = (size + 2 * pad - kernel) // stride + 1
        axis = Axis(size, output, kernel, stride, 1, pad)
        channels = channels_for(inputs, kernel, True, has_zeros)
        spec = QuantizedDepthwise(1, inputs, axis, axis, constants=channels)
        sizes = (inputs * size**2 // 4, inputs * kernel * -(-kernel // 4), inputs * output**2 // 4)
        name = f"depthwise {size} {inputs} {kernel}x{kernel}/{stride}"
        return Case(name, spec, sizes, 2.0 * inputs * kernel**2 * output**2)

    def matrix(rows: int, inner: int, outputs: int) -> Case:
        spec = ByteProduct(rows, outputs, inner, constants=channels_for(outputs, 0, True, has_zeros))
        sizes = (rows * inner // 4, -(-outputs // 16) * 4 * inner, rows * outputs // 4)
        return Case(f"matrix {rows}x{inner}x{outputs}", spec, sizes, 2.0 * rows * inner * outputs)

    for layer in layers():
        yield convolution(*layer)
    for size, _, many in EXPANSIONS:
        yield depthwise(size, many, 3)
        yield depthwise(size, many, 3, 2)
    yield depthwise(28, 96, 5)
    yield depthwise(28, 96, 7)
    yield matrix(1, 1280, 1000)
    yield matrix(128, 384, 1536)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--zeros", action="store_true", help="unsigned weights with zero points")
    options = parser.parse_args()
    measure(cases(options.zeros), options, Peak(), 64, "GOP/s")


if __name__ == "__main__":
    main()
