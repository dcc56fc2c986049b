"""What a tile op costs: its instruction, which has no addresses yet, by the cost function of instructions.

Of addresses only those in DRAM count, and they are known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from tilewright.errors import PassError

from ....ir.core import Op, OperatorT, Value
from ....ir.op import Operator
from ....ir.tile.compute import (
    Combine,
    Convolve,
    ConvolveDepthwise,
    LookUp,
    Pool,
    Product,
    Requantize,
    Resize,
    ResizeLinear,
)
from ....ir.tile.program import cluster_of
from ....ir.tile.transfer import Load, LoadRecord, LoadRequantization, LoadTable, LoadWeights, Move, Store
from ....ir.tile.types import TileType
from ....runtime import isa
from ....runtime.isa import Instruction, Queue
from ....runtime.machines.cost import cost
from ....runtime.machines.machine import CHANNEL_BLOCK, MAPS_UNIT, PARAMETER_UNIT, RUN_LIMIT, Machine
from ..planning.scratchpads import place_bytes
from .places import Located, Locations


class OpCost(NamedTuple):
    """What an op of a tile program costs, alone.

    Attributes:
        queue: that it is an instruction of.
        cluster: whose.
        unit: cycles that the unit is busy, without waiting for DRAM.
        dram: cycles that the DRAM is busy.
        latency: cycles from then until it is complete.
    """

    queue: Queue
    cluster: int
    unit: int
    dram: float
    latency: int


Fields = dict[str, Any]
"""Of an instruction by name; integers."""

Sketch = Callable[[Op[OperatorT], Locations, Machine], Instruction]

SKETCHES: dict[type[Operator], Sketch[Any]] = {}
"""The instruction of each operator, without addresses."""


def _sketches(*operators: type[OperatorT]) -> Callable[[Sketch[OperatorT]], Sketch[OperatorT]]:
    def register(function: Sketch[OperatorT]) -> Sketch[OperatorT]:
        SKETCHES.update(dict.fromkeys(operators, function))
        return function

    return register


def op_cost(op: Op, places: Locations, machine: Machine) -> OpCost:
    """The cost of an op whose operands and result are noted in ``places``.

    Raises:
        PassError: the op is none of a tile program.
    """
    sketch = SKETCHES.get(type(op.operator))
    if sketch is None:
        raise PassError("the op is none of a tile program", op=op.name, node=op.node)
    item = sketch(op, places, machine)
    unit, dram, latency = _priced(item, machine)
    return OpCost(item.QUEUES[0], cluster_of(op), unit, dram, latency)


@lru_cache(1 << 14)
def _priced(item: Instruction, machine: Machine) -> tuple[int, float, int]:
    price = cost(item, machine)
    return price.unit, price.dram(machine), price.latency


def _map(value: Value, places: Locations, prefix: str) -> Fields:
    """The distances of a map on chip, in units."""
    whole = places[value].type
    return {f"{prefix}row_pitch": whole.row_bytes // MAPS_UNIT, f"{prefix}pixel_pitch": whole.blocks}


def _result(op: Op, places: Locations) -> Fields:
    type = _tile(op.result)
    size: Fields = {"destination": 0, "height": type.shape[0], "width": type.shape[1], "blocks": type.blocks}
    return {**size, **_map(op.result, places, "destination_")}


def _tile(value: Value) -> TileType:
    assert isinstance(value.type, TileType)
    return value.type


# Transfers


def _box(place: Located, shape: tuple[int, ...], chip: Located, machine: Machine) -> Fields:
    """The runs of a box in DRAM, rows, columns and channels of that shape, that is a box of a map on chip."""
    address, (rows, columns, channels) = place.address, shape[-3:]
    assert address is not None
    first = place.box[6]
    run = channels
    if address.padded and first % CHANNEL_BLOCK == 0 and first + channels == place.shape[3]:
        run = -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK
    if chip.type.packed:
        run, columns = columns * channels, 1
    elif run == address.pixel * place.step[1] == chip.type.blocks * CHANNEL_BLOCK and columns * run <= RUN_LIMIT:
        run, columns = columns * run, 1
    return {
        "region": 0,
        # What counts is where in a burst it begins.
        "offset": place.span[0] % machine.dram_burst_bytes,
        "run": run,
        "count_y": columns,
        "count_z": rows,
        "dram_stride_y": address.pixel * place.step[1] if columns > 1 else 0,
        "dram_stride_z": place.shape[2] * address.pixel * place.step[0] if rows > 1 else 0,
    }


@_sketches(Load)
def _load(op: Op[Load], places: Locations, machine: Machine) -> Instruction:
    x = op.operands.x
    return isa.LoadMaps(destination=0, **_box(places[x], x.type.shape, places[op.result], machine))


@_sketches(Store)
def _store(op: Op[Store], places: Locations, machine: Machine) -> Instruction:
    into = op.operands.into
    return isa.Store(source=0, **_box(places[into], into.type.shape, places[op.operands.x], machine))


@_sketches(Move)
def _move(op: Op[Move], places: Locations, machine: Machine) -> Instruction:
    x = _tile(op.operands.x)
    rows, columns, _ = x.shape
    return isa.Move(source=0, destination=0, run=x.blocks, count_y=columns, count_z=rows, clusters=1)


@_sketches(LoadWeights)
def _load_weights(op: Op[LoadWeights], places: Locations, machine: Machine) -> Instruction:
    return isa.LoadWeights(region=0, offset=0, destination=0, length=-(-place_bytes(op) // PARAMETER_UNIT))


@_sketches(LoadRequantization, LoadTable, LoadRecord)
def _load_parameters(op: Op, places: Locations, machine: Machine) -> Instruction:
    return isa.LoadParameters(region=0, offset=0, destination=0, length=-(-place_bytes(op) // PARAMETER_UNIT))


# Computation


def _product(op: Op[Convolve] | Op[ConvolveDepthwise], places: Locations) -> Fields:
    operands, product = op.operands, op.operator
    x, kernel = _tile(operands.x), operands.w.type.shape[2:]
    return {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        **_window(product, x, kernel),
        "output_height": product.output[0],
        "output_width": product.output[1],
        "dilation_height": product.dilation[0],
        "dilation_width": product.dilation[1],
        "accumulate": int(operands.into is not None),
        **_map(operands.x, places, ""),
    }


def _window(windows: Product | Pool, x: TileType, kernel: tuple[int, ...]) -> Fields:
    return {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": windows.stride[0],
        "stride_width": windows.stride[1],
        "input_height": x.shape[0],
        "input_width": x.shape[1],
    }


@_sketches(Convolve)
def _convolve(op: Op[Convolve], places: Locations, machine: Machine) -> Instruction:
    x, blocks = _tile(op.operands.x), _tile(op.result).blocks
    fields = _product(op, places)
    if x.packed:
        fields["pixel_pitch"] = x.shape[2]
    channels = x.shape[2] if x.packed else x.blocks
    return isa.Convolve(output_blocks=blocks, input_channels=channels, packed=int(x.packed), **fields)


@_sketches(ConvolveDepthwise)
def _convolve_depthwise(op: Op[ConvolveDepthwise], places: Locations, machine: Machine) -> Instruction:
    return isa.ConvolveDepthwise(blocks=_tile(op.operands.x).blocks, **_product(op, places))


@_sketches(Requantize)
def _requantize(op: Op[Requantize], places: Locations, machine: Machine) -> Instruction:
    return isa.Requantize(accumulator=0, parameters=0, **_result(op, places))


_POOLS = {"maximum": isa.PoolKind.MAXIMUM, "average": isa.PoolKind.AVERAGE, "sum": isa.PoolKind.SUM}


@_sketches(Pool)
def _pool(op: Op[Pool], places: Locations, machine: Machine) -> Instruction:
    pool = op.operator
    return isa.Pool(
        source=0,
        kind=int(_POOLS[pool.kind]),
        include_pad=int(pool.include_pad),
        **_map(op.operands.x, places, "source_"),
        **_window(pool, _tile(op.operands.x), pool.kernel),
        **_result(op, places),
    )


@_sketches(Combine)
def _combine(op: Op[Combine], places: Locations, machine: Machine) -> Instruction:
    pitches: Fields = {"row_pitch_a": 1, "row_pitch_b": 1, "pixel_pitch_a": 1, "pixel_pitch_b": 1}
    return isa.Elementwise(source_a=0, source_b=0, parameters=0, **pitches, **_result(op, places))


@_sketches(LookUp)
def _look_up(op: Op[LookUp], places: Locations, machine: Machine) -> Instruction:
    return isa.LookUp(source=0, table=0, **_map(op.operands.x, places, "source_"), **_result(op, places))


@_sketches(Resize)
def _resize(op: Op[Resize], places: Locations, machine: Machine) -> Instruction:
    return isa.ResizeNearest(source=0, **_map(op.operands.x, places, "source_"), **_result(op, places))


@_sketches(ResizeLinear)
def _resize_linear(op: Op[ResizeLinear], places: Locations, machine: Machine) -> Instruction:
    rows, columns, _ = op.operands.x.type.shape
    size: Fields = {"input_height": rows, "input_width": columns}
    return isa.ResizeLinear(source=0, **size, **_map(op.operands.x, places, "source_"), **_result(op, places))
