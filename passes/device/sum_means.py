"""Means over large maps as sums of parts of them."""

import math
from functools import partial

import numpy as np

from ...ir.annotations import ON
from ...ir.arithmetic import global_average_multiplier, multiplier
from ...ir.core import Module, Op, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.pooling import GlobalAveragePool
from ...ir.quantized import is_wide, parameters
from ...ir.types import DType, Quantization, TensorType
from ...runtime.machines.machine import KERNEL_LIMIT, Machine, load
from ..base import PLACED, Pass, Record, erase_dead
from ..pattern import Driver, Match, Rule, node, on_quantized
from ..quantization.wide_forms import weights_of_one
from .tiling.candidates import Misfit
from .tiling.tile_searches import TileSearches, shared_searches

PART_LIMIT = 128
"""So many integers of 8 bits, each less a zero point, have a sum of 16 bits whatever they are."""

_TRIED = 4
"""Scales of the first weights, one after the other. With one, of random scales of maps four in five have the multiplier
of a mean, with four seven in eight; more do not help, as what a quotient is rounded to skips some numbers."""


class SumMeans(Pass):
    """Means over whole maps on the device become two convolutions of each channel with weights of one where these cost
    less: of parts of the map, whose sums have 16 bits, and of these sums. The array has fewer steps for them than the
    vector unit, and clusters share out the rows of a map, of which otherwise each has to hold all that there are. No
    output changes by a bit.
    ``machine``: name of a sample machine or path of a machine file.
    ``clusters``: that work on an image."""

    machine: str
    clusters: int = 1

    requires = (PLACED,)
    ensures = (PLACED,)

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        with shared_searches():
            searches = TileSearches(machine, None, self.clusters)
            rewrite = partial(_in_parts, machine=machine, clusters=self.clusters, searches=searches)
            rule = Rule("mean_in_parts", node(GlobalAveragePool, "x", where=_is_large), rewrite)
            return Driver(on_quantized(rule)).run(module, record)


def _is_large(op: Op) -> bool:
    """Whether the device takes a mean over more than what may be one part; smaller ones take it few cycles."""
    x = op.inputs[0].type
    is_of_bytes = not is_wide(x, op.result.type) and x.shape[1] > 1
    return ON.get(op) == "device" and is_of_bytes and math.prod(x.shape[2:]) > PART_LIMIT


def _in_parts(found: Match[GlobalAveragePool], machine: Machine, clusters: int, searches: TileSearches) -> Value | None:
    x, y, pixels = found["x"], found.root.result.type, found["x"].type.shape[2:]
    scales = _scales(x.type, y, math.prod(pixels))
    if scales is None:
        return None
    first, scale, second = scales

    def price(op: Op, room: int) -> float:
        """Cycles, with the map on chip if that takes half of ``room`` bytes at most."""
        kept = frozenset([value for value in op.inputs[:1] if 2 * value.type.elements <= room])
        priced = searches.of(op, kept=kept).cheapest(machine.maps_bytes)
        return math.inf if isinstance(priced, Misfit) else priced[0]

    whole, room = price(found.root, machine.maps_bytes), clusters * machine.maps_bytes
    best: tuple[float, Value] | None = None
    for part in _parts(pixels, clusters):
        extents = tuple(-(-extent // each) for extent, each in zip(pixels, part, strict=True))
        sums = TensorType((*x.type.shape[:2], *extents), DType.I16, Quantization.per_tensor(scale))
        result = _summed(found, _summed(found, x, part, first, sums), extents, second, y)
        cost = sum(price(op, room) for op in found.created[-2:])
        if best is None or cost < best[0]:
            best, result = (cost, result), best[1] if best is not None else None
        if result is not None and result.producer is not None:
            erase_dead(result.producer)
    return best[1] if best is not None and best[0] < whole else None


def _scales(x: TensorType, y: TensorType, count: int) -> tuple[float, float, float] | None:
    """The scales of weights of one, of their sums, and of weights of one for these, with which sums are not rounded and
    products have the multiplier of a mean, to the bit; ``None`` if there are none near each other."""
    (scale_x, _), (scale_y, _) = parameters(x), parameters(y)
    wanted = global_average_multiplier(scale_x, scale_y, count)
    for first in 1 + np.finfo(np.float32).eps * np.arange(_TRIED, dtype=np.float32):
        sums = np.float32(scale_x) * first
        near = np.float32(float(wanted) * float(scale_y) / float(sums))
        possible = np.array([near, *(np.nextafter(near, np.float32(end)) for end in (0, np.inf))])
        exact = possible[multiplier(sums, possible, scale_y) == wanted]
        if exact.size:
            return float(first), float(sums), float(exact[0])
    return None


def _parts(pixels: tuple[int, ...], clusters: int) -> list[tuple[int, ...]]:
    """Windows that cut a map into at most as many parts as a window has pixels: of rows that divide those of a cluster,
    if any do, and as many columns as 16 bits hold sums of."""
    share = -(-pixels[0] // clusters)
    found: list[tuple[int, ...]] = []
    for rows in range(1, min(share, KERNEL_LIMIT) + 1):
        # Of columns as many parts as are needed, which are about equal.
        most = min(KERNEL_LIMIT, PART_LIMIT // rows)
        part = rows, *(-(-extent // -(-extent // most)) for extent in pixels[1:])
        if all(-(-extent // each) <= KERNEL_LIMIT for extent, each in zip(pixels, part, strict=True)):
            found.append(part)
    return [part for part in found if share % part[0] == 0] or found


def _summed(
    found: Match[GlobalAveragePool], x: Value, kernel: tuple[int, ...], scale: float, type: TensorType
) -> Value:
    """Sums of parts of so many pixels of each channel; those beyond the map count as zeros."""
    behind = (-extent % each for extent, each in zip(x.type.shape[2:], kernel, strict=True))
    conv = Conv(kernel, (*(0,) * len(kernel), *behind), (1,) * len(kernel), x.type.shape[1])
    result = found.emit(conv, x, weights_of_one(found, x, kernel, scale), result_types=[type])
    assert result.producer is not None
    # It runs where the mean does.
    result.producer.annotations.update(found.root.annotations)
    return result
