"""Speed of single CPU kernels: GFLOP/s against the peak of this processor's vector unit.

    python benchmarks/kernels.py [--target host|avx2|portable] [--filter TEXT] [--seconds 0.05]

Isolated and warm: inside a network, caches hold other things. Figures move with whatever else the machine does.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tilewright.codegen.cpu.assemble import ENTRY, KernelCall, Location, assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.convolutions.convolution import Convolution
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.llvm.types import F32, Register, Registers, constant
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.runtime.native.mapping import NativeObject


class Peak(KernelSpec):
    """Nothing but multiply-adds on registers, ten million vectors of them."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("y",)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        y = arguments["y"]
        vector = F32.of(target.lanes)
        factor = b.load(vector, y)
        chains = 12

        def body(_: Register, sums: Registers) -> list[Register]:
            return [b.fma(value, factor, factor) for value in sums]

        sums = b.loop(0, 10_000_000 // chains, body, [constant(vector, i) for i in range(chains)])
        total = sums[0]
        for value in sums[1:]:
            total = b.binary("fadd", total, value)
        b.store(total, y)
        return self.finish(b, units=1)


EXPANSIONS = ((112, 16, 96), (56, 24, 144), (28, 32, 192), (14, 64, 384), (14, 96, 576), (7, 160, 960))
"""Extent, channels outside and channels inside of MobileNetV2's blocks."""


@dataclass(frozen=True)
class Case:
    """A kernel to measure, the sizes of its arguments in floats, and its floating point operations."""

    name: str
    spec: KernelSpec
    sizes: tuple[int, ...]
    operations: float


def convolution(size: int, channels: int, outputs: int, kernel: int, stride: int = 1, plain: bool = False) -> Case:
    pad = kernel // 2
    output = (size + 2 * pad - kernel) // stride + 1
    axis = Axis(size, output, kernel, stride, 1, pad)
    spec = Convolution(1, channels, axis, axis, outputs, has_bias=True, plain_input=plain)
    inside, outside = channels if plain else -(-channels // 16) * 16, -(-outputs // 16) * 16
    sizes = (inside * size**2, inside * outside * kernel**2, outputs, outside * output**2)
    name = f"conv {size} {channels}->{outputs} {kernel}x{kernel}/{stride}"
    return Case(name, spec, sizes, 2.0 * channels * outputs * kernel**2 * output**2)


def layers() -> Iterator[tuple[int, int, int, int, int, bool]]:
    """Convolutions of ResNet-50 and MobileNetV2: the arguments of :func:`convolution`."""
    yield 224, 3, 64, 7, 2, True
    for size, width in ((56, 64), (28, 128), (14, 256), (7, 512)):
        yield size, width, width, 3, 1, False
        yield size, width, 4 * width, 1, 1, False
        yield size, 4 * width, width, 1, 1, False
        if size > 7:
            yield size, 2 * width, 2 * width, 3, 2, False
            yield size, 4 * width, 8 * width, 1, 2, False
    yield 224, 3, 32, 3, 2, True
    for size, few, many in EXPANSIONS:
        yield size, few, many, 1, 1, False
        yield size, many, few, 1, 1, False


def runner(spec: KernelSpec, sizes: tuple[int, ...], target: TargetDescription) -> tuple[Callable[[], None], float]:
    """A function that runs the kernel once, and the seconds that it took to compile."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    locations = tuple(Location("input", index) for index in range(len(sizes)))
    native = NativeObject(assemble([KernelCall(spec.generate(target), locations)], target, len(sizes), 0))
    elapsed = time.perf_counter() - start
    arrays = [rng.standard_normal(size + 1024).astype(np.float32) * 0.01 for size in (*sizes, 1 << 20)]
    starts = [array.ctypes.data + (-array.ctypes.data) % 64 for array in arrays]
    io = (ctypes.c_void_p * len(sizes))(*starts[:-1])
    stop = ctypes.c_int32()
    context = (ctypes.c_void_p * 5)(starts[-1], None, ctypes.addressof(io), ctypes.addressof(stop))
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(native.address(ENTRY))

    def once(_keep=(native, arrays, io, stop)) -> None:
        run(context, 0, 1)

    return once, elapsed


def fastest(function: Callable[[], None], seconds: float) -> float:
    """Seconds of the fastest of several runs."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of kernels can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--filter", default="")
    parser.add_argument("--seconds", type=float, default=0.05)
    return parser


def measure(cases: Iterable[Case], options: argparse.Namespace, peak: KernelSpec, products: int, unit: str) -> None:
    """Print the speed of each case beside that of ``peak``.

    Args:
        products: multiply-adds of a vector.
        unit: of thousand million operations a second.
    """
    target = TargetDescription.named(options.target)
    once, _ = runner(peak, (64,), target)
    fastest_possible = 2 * 10_000_000 // 12 * 12 * products / fastest(once, 0.2) / 1e9
    print(f"{target.cpu}, {target.vector_bits}-bit vectors, peak {fastest_possible:.0f} {unit}")
    for case in cases:
        if options.filter in case.name:
            once, compile_seconds = runner(case.spec, case.sizes, target)
            speed = case.operations / fastest(once, options.seconds) / 1e9
            compiled = f"compiled in {compile_seconds * 1e3:.0f} ms"
            print(f"{case.name:32} {speed:7.1f} {unit} {speed / fastest_possible:6.1%}  {compiled}")


def main() -> None:
    options = arguments(__doc__).parse_args()
    cases = (convolution(*layer) for layer in layers())
    measure(cases, options, Peak(), TargetDescription.named(options.target).lanes, "GFLOP/s")


if __name__ == "__main__":
    main()
