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
from ....ir.tile.compute import Combine, Convolve, ConvolveDepthwise, LookUp, Pool, Requantize, Resize, ResizeLinear
from ....ir.tile.fields import (
    Fields,
    map_fields,
    moved_channels,
    pool_fields,
    product_fields,
    resize_fields,
    tile_type,
)
from ....ir.tile.link import Receive, Send
from ....ir.tile.program import cluster_of
from ....ir.tile.transfer import Load, LoadRecord, LoadRequantization, LoadTable, LoadWeights, Move, Store
from ....runtime import isa
from ....runtime.isa import Instruction, Queue
from ....runtime.machines.cost import cost
from ....runtime.machines.machine import CHANNEL_BLOCK, MAPS_UNIT, PARAMETER_UNIT, Machine
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
    return {"destination": 0, **map_fields(tile_type(op.result)), **_map(op.result, places, "destination_")}


# Transfers


def _box(place: Located, shape: tuple[int, ...], chip: Located, machine: Machine) -> Fields:
    """The runs of a box in DRAM, rows, columns and channels of that shape, that is a box of a map on chip."""
    address, (rows, columns, channels) = place.address, shape[-3:]
    assert address is not None
    row, pixel = place.shape[2] * address.pixel * place.step[0], address.pixel * place.step[1]
    if chip.type.packed:
        run, joined = channels, True
    else:
        run = moved_channels(place.box[6], channels, place.shape[3], address.padded)
        joined = pixel == chip.type.blocks * CHANNEL_BLOCK
    # What counts of the address is where in a burst it begins.
    offset = place.span[0] % machine.dram_burst_bytes
    return {"region": 0, "offset": offset, **isa.box_fields(rows, columns, run, row, pixel, joined)}


@_sketches(Load)
def _load(op: Op[Load], places: Locations, machine: Machine) -> Instruction:
    x = op.operands.x
    return isa.LoadMaps(destination=0, **_box(places[x], x.type.shape, places[op.result], machine))


@_sketches(Store)
def _store(op: Op[Store], places: Locations, machine: Machine) -> Instruction:
    into = op.operands.into
    return isa.Store(source=0, **_box(places[into], into.type.shape, places[op.operands.x], machine))


def _message(value: Value, places: Locations) -> Fields:
    """The runs of a map that crosses to another card."""
    place = places[value]
    assert place.address is not None
    row = place.shape[2] * place.address.pixel
    geometry = isa.message_fields(value.type.shape, place.shape[1] * row, row, place.address.pixel)
    return {"region": 0, "offset": place.span[0], "peer": 0, "tag": 0, **geometry}


@_sketches(Send)
def _send(op: Op[Send], places: Locations, machine: Machine) -> Instruction:
    return isa.Send(**_message(op.inputs[0], places))


@_sketches(Receive)
def _receive(op: Op[Receive], places: Locations, machine: Machine) -> Instruction:
    return isa.Receive(**_message(op.result, places))


@_sketches(Move)
def _move(op: Op[Move], places: Locations, machine: Machine) -> Instruction:
    x = tile_type(op.operands.x)
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
    x, distances = tile_type(op.operands.x), _map(op.operands.x, places, "")
    if x.packed:
        distances["pixel_pitch"] = x.shape[2]
    return {"source": 0, "weights": 0, "accumulator": 0, **distances, **product_fields(op)}


@_sketches(Convolve)
def _convolve(op: Op[Convolve], places: Locations, machine: Machine) -> Instruction:
    return isa.Convolve(**_product(op, places))


@_sketches(ConvolveDepthwise)
def _convolve_depthwise(op: Op[ConvolveDepthwise], places: Locations, machine: Machine) -> Instruction:
    return isa.ConvolveDepthwise(**_product(op, places))


@_sketches(Requantize)
def _requantize(op: Op[Requantize], places: Locations, machine: Machine) -> Instruction:
    return isa.Requantize(accumulator=0, parameters=0, **_result(op, places))


@_sketches(Pool)
def _pool(op: Op[Pool], places: Locations, machine: Machine) -> Instruction:
    return isa.Pool(
        source=0,
        kind=int(isa.PoolKind[op.operator.kind.upper()]),
        **_map(op.operands.x, places, "source_"),
        **pool_fields(op),
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
    return isa.ResizeNearest(
        source=0, **_map(op.operands.x, places, "source_"), **resize_fields(op), **_result(op, places)
    )


@_sketches(ResizeLinear)
def _resize_linear(op: Op[ResizeLinear], places: Locations, machine: Machine) -> Instruction:
    return isa.ResizeLinear(
        source=0, **_map(op.operands.x, places, "source_"), **resize_fields(op), **_result(op, places)
    )
