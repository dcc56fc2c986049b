"""Tile programs by chance, for what plans, checks and prints them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tilewright.ir.annotations import DRAM, ON, REGION_BYTES, MapAddress
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.tile.attention import MapAsWeights, RequantizeMean, Weigh
from tilewright.ir.tile.compute import Combine, Convolve, ConvolveDepthwise, LookUp, Pool, Resize
from tilewright.ir.tile.normalization import LoadNormalization, Normalize
from tilewright.ir.tile.places import Buffer, Enter, Leave, Part
from tilewright.ir.tile.requantization import Requantize
from tilewright.ir.tile.transfer import (
    Load,
    LoadRecord,
    LoadRequantization,
    LoadTable,
    LoadWeights,
    Move,
    Store,
)
from tilewright.ir.tile.types import EVERY_CLUSTER
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device.order_tiles import rearrange
from tilewright.passes.device.ordering.program import Steps
from tilewright.passes.device.ordering.schedule import Links, schedule
from tilewright.runtime.machines.machine import Machine

QUANT = Quantization.per_tensor(0.5, 3)


def _round_up(size: int) -> int:
    return -(-size // 64) * 64


class RandomProgram:
    """A tile program that grows step by step; all that it reads has been written.

    Attributes:
        maps: those on chip that are complete, of any cluster.
    """

    def __init__(self, rng: np.random.Generator, clusters: int = 1) -> None:
        self.rng = rng
        self.clusters = clusters
        self.module = Module("tiles")
        self.function = self.module.add_function(Function("main"))
        self.sizes = {"input": 0, "scratch": 0, "output": 0}
        self.inputs = [self._input(name) for name in ("x", "y", "few")]
        self.maps: list[Value] = []
        self.results: list[Value] = []
        self._cut: set[Value] = set()

    def add(self, operator: Operator, *operands: Value | None) -> Value:
        op = self.function.append(operator, operands, loc=[f"node{len(self.function)}"])
        ON.set(op, "device")
        return op.result

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def cluster(self) -> int:
        return self.integer(0, self.clusters - 1)

    def span(self, extent: int, at_least: int = 1) -> tuple[int, int]:
        count = self.integer(min(at_least, extent), extent)
        return self.integer(0, extent - count), count

    def constant(self, array: np.ndarray) -> Value:
        return self.module.add_constant("c", array)

    def _address(self, value: Value, region: str, pixel: int, padded: bool) -> Value:
        images, rows, columns, _ = value.type.shape
        assert value.producer is not None
        address = MapAddress(region, self.sizes[region], pixel, padded)  # pyright: ignore[reportArgumentType]
        DRAM.set(value.producer, address)
        self.sizes[region] += _round_up(images * rows * columns * pixel)
        return value

    def _input(self, name: str) -> Value:
        channels = 3 if name == "few" else self.integer(1, 40)
        shape = (self.integer(1, 2), channels, self.integer(3, 9), self.integer(3, 9))
        return self.enter(name, shape, DType.U8 if name == "y" else DType.I8, packed=name == "few")

    def enter(self, name: str, shape: tuple[int, ...], dtype: DType, *, packed: bool = False) -> Value:
        """A parameter as a map."""
        parameter = self.function.add_parameter(name, TensorType(shape, dtype, QUANT))
        pixel = shape[1] if packed else -(-shape[1] // 16) * 16
        return self._address(self.add(Enter(), parameter), "input", pixel, not packed)

    def some(self, *, cluster: int | None = None) -> Value:
        """A map on chip."""
        found = [m for m in self.maps if cluster is None or m.type.cluster == cluster]  # pyright: ignore
        if not found:
            self.load()
            return self.some(cluster=cluster)
        return found[self.integer(0, len(found) - 1)]

    def grow(self, steps: int) -> Module:
        """So many steps, then everything on chip is stored."""
        kinds = (self.load, self.convolve, self.convolve, self.depthwise, self.pool, self.look_up, self.combine)
        kinds += (self.resize, self.part, self.joined, self.ring, self.spill, self.forget, self.attend)
        kinds += (self.normalize,)
        kinds += (self.move,) if self.clusters > 1 else ()
        for _ in range(steps):
            kinds[self.integer(0, len(kinds) - 1)]()
        for x in [*self.maps][:6] or [self.some()]:
            self.results.append(self.stored(x, "output", DType.U8 if self.integer(0, 1) else DType.I8))
        leaving: list[Value] = []
        for y in self.results:
            images, rows, columns, channels = y.type.shape
            type = TensorType((images, channels, rows, columns), y.type.dtype, QUANT)
            op = self.function.append(Leave(type.shape), [y], [type])
            ON.set(op, "device")
            leaving.append(op.result)
        self.function.set_results(leaving, [f"out{i}" for i in range(len(leaving))])
        ON.set(self.function, "device")
        for region, size in self.sizes.items():
            REGION_BYTES[region].set(self.function, size)
        return self.module

    # What there is to do

    def load(self) -> None:
        x = self.inputs[self.integer(0, 1)]
        self.maps.append(self.add(Load(self.cluster(), False), self.box(x)))

    def box(self, x: Value) -> Value:
        """Any of a map in DRAM."""
        images, rows, columns, channels = x.type.shape
        box = Part(self.integer(0, images - 1), self.span(rows, 2), self.span(columns, 2), self.span(channels))
        return self.add(box, x)

    def forget(self) -> None:
        if len(self.maps) > 2:
            self.maps.pop(self.integer(0, len(self.maps) - 1))

    def _parameters(self, channels: int, cluster: int) -> Value:
        bias = self.constant(self.rng.integers(-500, 500, channels).astype(np.int32))
        factors = self.constant(self.rng.uniform(1e-4, 3e-3, channels).astype(np.float32))
        return self.add(LoadRequantization(self._whose(cluster)), bias, factors)

    def _whose(self, cluster: int) -> int:
        return EVERY_CLUSTER if self.integer(0, 2) == 0 else cluster

    def _weights(self, shape: tuple[int, ...], cluster: int, zero: int, packed: bool, depthwise: bool) -> Value:
        array = self.constant(self.rng.integers(-128, 128, shape).astype(np.int8))
        return self.add(LoadWeights(self._whose(cluster), zero, packed, depthwise), array)

    def _geometry(self, x: Value, kernel: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Output, stride, dilation and origin of windows over a map."""
        stride = self.integer(1, 2), self.integer(1, 2)
        origin = self.integer(1 - kernel[0], 0), self.integer(1 - kernel[1], 0)
        output = tuple(
            self.integer(1, max(1, (extent - 1 - first) // step + 1))
            for extent, first, step in zip(x.type.shape[:2], origin, stride, strict=True)
        )
        return output, stride, (1, 1), origin  # pyright: ignore[reportReturnType]

    def convolve(self) -> None:
        packed = self.integer(0, 4) == 0
        cluster = self.cluster()
        if packed:
            few = self.inputs[2]
            images, rows, columns, channels = few.type.shape
            box = Part(self.integer(0, images - 1), self.span(rows, 2), self.span(columns, 2), (0, channels))
            x = self.add(Load(cluster, True), self.add(box, few))
        else:
            x = self.some(cluster=cluster) if self.clusters == 1 else self.some()
        cluster = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        kernel, outputs, zero = (self.integer(1, 3), self.integer(1, 3)), self.integer(1, 40), self.integer(-3, 3)
        geometry = self._geometry(x, kernel)
        sums: Value | None = None
        parameters = self._parameters(outputs, cluster)
        for _ in range(self.integer(1, 2)):
            w = self._weights((outputs, x.type.shape[-1], *kernel), cluster, zero, packed, False)
            sums = self.add(Convolve(*geometry, self.integer(-128, 127), zero), x, w, sums)  # pyright: ignore
        assert sums is not None
        self.requantize(sums, parameters)

    def depthwise(self) -> None:
        x = self.some()
        cluster, channels = x.type.cluster, x.type.shape[-1]  # pyright: ignore[reportAttributeAccessIssue]
        kernel, zero = (self.integer(1, 3), self.integer(1, 3)), self.integer(-3, 3)
        groups = [size for size in (1, 2, 4, 8, 16) if channels % size == 0]
        group = groups[self.integer(0, len(groups) - 1)]
        w = self._weights((channels, group, *kernel), cluster, zero, False, True)
        conv = ConvolveDepthwise(*self._geometry(x, kernel), self.integer(-128, 127), zero)  # pyright: ignore
        self.requantize(self.add(conv, x, w), self._parameters(channels, cluster))

    def requantize(self, sums: Value, parameters: Value) -> None:
        """Into a place of its own, or into part of a larger one; with part of another map, if one is as large."""
        rows, columns, channels = sums.type.shape
        cluster: int = sums.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        zero_point = self.integer(-9, 9)
        requantize = Requantize(zero_point, -120, 100, slope=0.25 if zero_point % 2 else 1.0)
        into: Value | None = None
        if self.integer(0, 1):
            whole = self.add(Buffer((rows + 1, columns + 2, channels + 16), DType.I8, "maps", cluster, 0))
            into = self.add(Part(-1, (1, rows), (1, columns), (16, channels)), whole)
        near = [each for each in self.maps if each.type.cluster == cluster]  # pyright: ignore[reportAttributeAccessIssue]
        large = [each for each in near if all(a >= b for a, b in zip(each.type.shape, sums.type.shape, strict=True))]
        if large and self.integer(0, 1):
            added = self.add(Part(-1, (0, rows), (0, columns), (0, channels)), large[self.integer(0, len(large) - 1)])
            with_map = replace(requantize, residual_zero=self.integer(-128, 127), residual_factor=0.3)
            self.maps.append(self.add(with_map, sums, parameters, added, into))
            return
        self.maps.append(self.add(requantize, sums, parameters, None, into))

    def attend(self) -> None:
        """A map of whole blocks to itself, with what it is larger than its first pixels by as a mask, or none."""
        x = self.some()
        cluster: int = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        table = self.constant(self.rng.integers(-128, 128, 256).astype(np.int8))
        x = self.add(LookUp(), x, self.add(LoadTable(self._whose(cluster)), table), None)
        rows, columns, channels = x.type.shape
        if channels % 16:
            self.maps.append(x)
            return
        keys, values = self.add(MapAsWeights(True), x), self.add(MapAsWeights(False), x)
        pixels = rows * columns
        alone = (1, 1), (1, 1), (0, 0), 0, self.integer(-3, 3)
        scores = self.add(Convolve((rows, columns), *alone), x, keys, None)
        mask: Value | None = None
        if self.integer(0, 1):
            tall = self.add(Buffer((1, columns, pixels), DType.I8, "maps", cluster, 0))
            for first in range(0, pixels, 16):
                part = self.add(Part(-1, (0, 1), (0, columns), (first, min(16, pixels - first))), tall)
                source = self.add(Part(-1, (0, 1), (0, columns), (0, min(16, pixels - first))), x)
                self.add(LookUp(), source, self.add(LoadTable(cluster), table), part)
            mask = tall
        causal, zero = self.integer(0, 1) > 0, self.integer(-3, 3)
        first = self.integer(0, pixels - 1)
        weigh = Weigh(self.integer(-900, 900), self.integer(0, 900), 8, zero, causal, first)
        if mask is None and self.integer(0, 1):
            weigh = Weigh(0, 0, 0, 0, causal, first, shares=True)
        weights = self.add(weigh, scores, mask)
        padded = -(-pixels // 16) * 16
        whole = self.add(Part(-1, (0, rows), (0, columns), (0, padded)), weights)
        total = self.add(Part(-1, (0, rows), (0, columns), (padded, 16)), weights)
        sums = self.add(Convolve((rows, columns), *alone), whole, values, None)
        factors = self.constant(self.rng.uniform(0.2, 2, channels).astype(np.float32))
        bias = self.constant(self.rng.integers(-500, 500, channels).astype(np.int32))
        parameters = self.add(LoadRequantization(self._whose(cluster)), bias, factors)
        self.maps.append(self.add(RequantizeMean(self.integer(-9, 9), -120, 100), sums, parameters, total, None))

    def normalize(self) -> None:
        """A map, or the sum of one and another, or itself."""
        x = self.some()
        cluster: int = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        channels = x.type.shape[-1]
        same = [m for m in self.maps if (m.type.shape, m.type.cluster) == (x.type.shape, cluster)]  # pyright: ignore
        skip = same[self.integer(0, len(same) - 1)] if same and self.integer(0, 1) else None
        multipliers = [self.constant(self.rng.integers(-999, 999, channels).astype(np.int16)) for _ in range(2)]
        numbers = [self.constant(self.rng.normal(0, 30, channels).astype(np.float32)) for _ in range(2)]
        parameters = self.add(LoadNormalization(self._whose(cluster)), *multipliers, *numbers)
        zeros = self.integer(-128, 127), self.integer(-128, 127) if skip is not None else 0
        group = self.rng.choice([0, 1, channels])
        normalize = Normalize(self.integer(-9, 9), -120, 100, *zeros, 0.5, self.integer(0, 1) > 0, group=int(group))
        self.maps.append(self.add(normalize, x, parameters, skip, self._place_of(x)))

    def _record(self, cluster: int, **words: float) -> Value:
        zeros = {name: self.integer(-9, 9) for name in ("zero_a", "zero_b", "zero_output")}
        return self.add(LoadRecord(self._whose(cluster), **zeros, **words))  # pyright: ignore[reportArgumentType]

    def pool(self) -> None:
        x = self.some()
        kernel = self.integer(1, 3), self.integer(1, 3)
        output, stride, _, origin = self._geometry(x, kernel)
        kind = ("maximum", "average", "sum")[self.integer(0, 2)]
        cluster: int = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        words = {"scale_a": 0.5, "scale_output": 0.25} if kind == "average" else {"multiplier": 0.125}
        record = self._record(cluster, **words) if kind != "maximum" else None
        pool = Pool(kind, output, kernel, stride, origin, kind == "average" and self.integer(0, 1) > 0)  # pyright: ignore
        self.maps.append(self.add(pool, x, record))

    def look_up(self) -> None:
        x = self.some()
        cluster: int = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        table = self.constant(self.rng.integers(-128, 128, 256).astype(np.int8))
        place = self.add(LoadTable(self._whose(cluster)), table)
        self.maps.append(self.add(LookUp(), x, place, self._place_of(x)))

    def combine(self) -> None:
        a = self.some()
        cluster: int = a.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        same = [m for m in self.maps if (m.type.shape, m.type.cluster) == (a.type.shape, cluster)]  # pyright: ignore
        b = same[self.integer(0, len(same) - 1)]
        if self.integer(0, 1):
            b = self.add(Part(-1, (0, 1), (0, 1), (0, a.type.shape[-1])), a)
        kind = ("add", "multiply", "maximum", "minimum")[self.integer(0, 3)]
        words = {"multiplier_a": 3, "multiplier_b": -5, "shift": 2, "multiplier": 0.0625, "offset": 0}
        into = self._place_of(a) if b.type.shape == a.type.shape else None
        self.maps.append(self.add(Combine(kind, -100, 99), a, b, self._record(cluster, **words), into))  # pyright: ignore

    def resize(self) -> None:
        x = self.some()
        rows, columns, _ = x.type.shape
        if rows * columns > 50:
            return
        resize = Resize((rows * 2, columns), (1 << 15, 1 << 16), (0, 0))
        self.maps.append(self.add(resize, x))

    def part(self) -> None:
        x = self.some()
        rows, columns, channels = x.type.shape
        block = 16 * self.integer(0, (channels - 1) // 16)
        box = Part(-1, self.span(rows), self.span(columns), (block, self.integer(1, channels - block)))
        self.maps.append(self.add(box, x))
        if x in self._cut or sum(box.channels) < channels:
            self._cut.add(self.maps[-1])

    def _place_of(self, x: Value) -> Value | None:
        """Where an op is in place, if it is; not in the middle of a block, the rest of which it would write over."""
        return x if x not in self._cut and self.integer(0, 1) else None

    def joined(self) -> None:
        """A buffer on chip that loads fill from above and from below."""
        x, cluster = self.inputs[self.integer(0, 1)], self.cluster()
        _, rows, columns, channels = x.type.shape
        whole = self.add(Buffer((rows, columns, channels), DType.I8, "maps", cluster, 0))
        cut = self.integer(1, rows - 1)
        for box in (
            Part(0, (0, cut), (0, columns), (0, channels)),
            Part(0, (cut, rows - cut), (0, columns), (0, channels)),
        ):
            target = self.add(Part(-1, box.rows, box.columns, box.channels), whole)
            self.add(Load(cluster, False), self.add(box, x), target)
        self.maps.append(whole)

    def ring(self) -> None:
        """Rows that come and go: two at a time, each of which is read with up to two before it, then lost."""
        x, cluster = self.inputs[self.integer(0, 1)], self.cluster()
        _, rows, columns, channels = x.type.shape
        whole = self.add(Buffer((rows, columns, channels), DType.I8, "maps", cluster, min(4, rows)))
        for first in range(0, rows - rows % 2 if rows > 3 else 2, 2):
            box = Part(0, (first, 2), (0, columns), (0, channels))
            self.add(Load(cluster, False), self.add(box, x), self.add(replace(box, image=-1), whole))
            top = max(first - self.integer(0, 2), 0)
            seen = self.add(Part(-1, (top, first + 2 - top), (0, columns), (0, channels)), whole)
            pool = Pool("maximum", (1, columns), (first + 2 - top, 1), (1, 1), (0, 0), False)
            self.maps.append(self.add(pool, seen, None))

    def move(self) -> None:
        x = self.some()
        cluster: int = x.type.cluster  # pyright: ignore[reportAttributeAccessIssue]
        self.maps.append(self.add(Move((cluster + 1) % self.clusters), x))

    def stored(self, x: Value, region: str, dtype: DType) -> Value:
        """A map in DRAM of which a map on chip is all, or the middle of its channels."""
        rows, columns, channels = x.type.shape
        y = self.add(Buffer((1, rows, columns, channels), dtype, "dram", EVERY_CLUSTER, 0))
        self._address(y, region, -(-channels // 16) * 16, True)
        self.add(Store(), x, self.add(Part(0, (0, rows), (0, columns), (0, channels)), y))
        return y

    def spill(self) -> None:
        """To DRAM and back."""
        y = self.stored(self.some(), "scratch", DType.I8)
        self.maps.append(self.add(Load(self.cluster(), False), self.box(y)))


def random_program(rng: np.random.Generator, steps: int = 12, clusters: int = 1) -> Module:
    """See :class:`RandomProgram`."""
    return RandomProgram(rng, clusters).grow(steps)


def linked(function: Function, machine: Machine) -> Steps:
    """The steps of a tile program, with what they follow."""
    steps = Steps.apart(function, machine)
    steps.link()
    return steps


def reorder(function: Function, machine: Machine) -> None:
    """Put a tile program into the order that is found, whatever that is worth."""
    program = linked(function, machine)
    found = schedule(program, Links(program), share=0.9)
    if found is not None:
        rearrange(function, [program.steps[number].op for number in found.steps])


def inputs_of(module: Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Elements for each parameter, by name."""

    def some(dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        low = -128 if dtype is DType.I8 else 0
        return rng.integers(low, low + 256, shape).astype(dtype.numpy)

    return {value.name: some(value.type.dtype, value.type.shape) for value in module.main.parameters}
