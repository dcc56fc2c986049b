"""The instruction of each tile operator. There is one for each op, and nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilewright.errors import CodegenError

from ...ir.core import Constant, Op, OperatorT, Value
from ...ir.op import Operator
from ...ir.tile.compute import Combine, Convolve, ConvolveDepthwise, LookUp, Pool, Requantize, Resize, ResizeLinear
from ...ir.tile.fields import Fields, map_fields, pool_fields, product_fields, resize_fields, tile_type
from ...ir.tile.link import Receive, Send
from ...ir.tile.transfer import Load, LoadRecord, LoadRequantization, LoadTable, LoadWeights, Move, Store
from ...ir.tile.types import EVERY_CLUSTER
from ...runtime import isa
from .constants import Constants
from .views import REGIONS, ChipView, MapView, Views


class Context:
    """What printing an op needs to know.

    Attributes:
        views: where places lie.
        constants: the constants region.
        clusters: how many the program uses.
    """

    def __init__(self, clusters: int) -> None:
        self.views = Views()
        self.constants = Constants()
        self.clusters = clusters

    def mask(self, cluster: int) -> int:
        """Who gets what is loaded for a cluster, or for every one: 0 is who loads it."""
        return (1 << self.clusters) - 1 if cluster == EVERY_CLUSTER and self.clusters > 1 else 0

    def map_fields(self, value: Value, prefix: str = "source") -> Fields:
        """Address and pitches of a map."""
        view = self.views.chip(value)
        return {
            prefix: view.address // isa.MAPS_UNIT,
            f"{prefix}_row_pitch": view.row // isa.MAPS_UNIT,
            f"{prefix}_pixel_pitch": view.pixel // isa.MAPS_UNIT,
        }

    def result_fields(self, op: Op) -> Fields:
        """Address, pitches and size of the map that an op makes."""
        return {**self.map_fields(op.result, "destination"), **map_fields(tile_type(op.result))}

    def parameters(self, value: Value | None) -> int:
        """The line of parameters; 0 where there are none."""
        return self.views.chip(value).address // isa.PARAMETER_UNIT if value is not None else 0


Printer = Callable[[Op[OperatorT], Context], isa.Instruction]

PRINTERS: dict[type[Operator], Printer[Any]] = {}
"""How each operator becomes an instruction. Those that only name places are missing."""


def prints(*operators: type[OperatorT]) -> Callable[[Printer[OperatorT]], Printer[OperatorT]]:
    """Register the instruction of these operators."""

    def register(function: Printer[OperatorT]) -> Printer[OperatorT]:
        PRINTERS.update(dict.fromkeys(operators, function))
        return function

    return register


# Transfers


def _box(view: MapView, chip: ChipView) -> Fields:
    """The fields of an instruction that moves a box between DRAM and a map on chip."""
    images, rows, columns, channels = view.shape
    if images != 1 or (chip.packed and view.pixel != channels):
        raise CodegenError("this is no box of an image that an instruction moves", found=view)
    run, joined = (channels, True) if chip.packed else (view.run, view.pixel == chip.pixel)
    fields = isa.box_fields(rows, columns, run, view.row, view.pixel, joined)
    return {
        **fields,
        "region": view.region,
        "offset": view.offset,
        "map_stride_y": chip.pixel // isa.MAPS_UNIT if fields["count_y"] > 1 else 0,
        "map_stride_z": chip.row // isa.MAPS_UNIT if rows > 1 else 0,
        "flip": int(view.flip),
    }


@prints(Load)
def _load(op: Op[Load], context: Context) -> isa.Instruction:
    chip = context.views.chip(op.result)
    fields = _box(context.views.dram(op.operands.x), chip)
    mask = context.mask(op.operator.cluster)
    return isa.LoadMaps(destination=chip.address // isa.MAPS_UNIT, clusters=mask, **fields)


@prints(Store)
def _store(op: Op[Store], context: Context) -> isa.Instruction:
    chip = context.views.chip(op.operands.x)
    return isa.Store(source=chip.address // isa.MAPS_UNIT, **_box(context.views.dram(op.operands.into), chip))


@prints(Move)
def _move(op: Op[Move], context: Context) -> isa.Instruction:
    source, target = context.views.chip(op.operands.x), context.views.chip(op.result)
    rows, columns, _ = source.shape
    run = source.blocks
    if source.pixel == target.pixel == run * isa.MAPS_UNIT:
        run, columns = run * columns, 1
    fields: Fields = {}
    for name, view in (("source", source), ("destination", target)):
        fields[name] = view.address // isa.MAPS_UNIT
        fields[f"{name}_stride_y"] = view.pixel // isa.MAPS_UNIT if columns > 1 else 0
        fields[f"{name}_stride_z"] = view.row // isa.MAPS_UNIT if rows > 1 else 0
    return isa.Move(run=run, count_y=columns, count_z=rows, clusters=1 << op.operator.cluster, **fields)


def _message(view: MapView) -> Fields:
    """The fields of an instruction that sends or receives a map."""
    geometry = isa.message_fields(view.shape, view.image, view.row, view.pixel)
    return {"region": view.region, "offset": view.offset, **geometry}


@prints(Send)
def _send(op: Op[Send], context: Context) -> isa.Instruction:
    view = context.views.dram(op.inputs[0])
    return isa.Send(peer=op.operator.card, tag=op.operator.tag, **_message(view))


@prints(Receive)
def _receive(op: Op[Receive], context: Context) -> isa.Instruction:
    view = context.views.dram(op.result)
    return isa.Receive(peer=op.operator.card, tag=op.operator.tag, **_message(view))


def _lines(op: Op, cluster: int, data: bytes, context: Context) -> Fields:
    """The fields of a load of packed constants."""
    address, lines = context.constants.place(data)
    return {
        "region": REGIONS.index("constants"),
        "offset": address,
        "destination": context.views.chip(op.result).address // isa.PARAMETER_UNIT,
        "length": lines,
        "clusters": context.mask(cluster),
    }


def _constant(op: Op, value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise CodegenError("what is loaded for an instruction must be constant", found=f"%{value.name}")
    return value


@prints(LoadWeights)
def _load_weights(op: Op[LoadWeights], context: Context) -> isa.Instruction:
    data = context.constants.weights(_constant(op, op.operands.x), op.operator)
    return isa.LoadWeights(**_lines(op, op.operator.cluster, data, context))


@prints(LoadRequantization)
def _load_requantization(op: Op[LoadRequantization], context: Context) -> isa.Instruction:
    bias, multiplier = (_constant(op, value).array for value in op.operands)
    return isa.LoadParameters(**_lines(op, op.operator.cluster, isa.pack_requantize(bias, multiplier), context))


@prints(LoadTable)
def _load_table(op: Op[LoadTable], context: Context) -> isa.Instruction:
    data = isa.pack_table(_constant(op, op.operands.x).array)
    return isa.LoadParameters(**_lines(op, op.operator.cluster, data, context))


@prints(LoadRecord)
def _load_record(op: Op[LoadRecord], context: Context) -> isa.Instruction:
    return isa.LoadParameters(**_lines(op, op.operator.cluster, isa.pack_record(**op.operator.words), context))


# Computation


def _product(op: Op[Convolve] | Op[ConvolveDepthwise], context: Context) -> Fields:
    """The fields that dense and depthwise convolution share."""
    x = context.views.ring(op.operands.x)
    return {
        **_windows(product_fields(op), x),
        "weights": context.views.chip(op.operands.w).address // isa.WEIGHT_UNIT,
        "accumulator": context.views.chip(op.result).address // isa.ACCUMULATOR_UNIT,
        "row_pitch": x.row // isa.MAPS_UNIT,
        "pixel_pitch": x.shape[2] if x.packed else x.pixel // isa.MAPS_UNIT,
    }


def _windows(fields: Fields, x: ChipView) -> Fields:
    """Where windows lie on a map: from its first row on, or on a ring from the first row of that."""
    size, slot = x.ring
    around = slot + x.shape[0] > size > 0
    above = slot if around else 0
    if above and fields["row_origin"] < 0:
        raise CodegenError("windows reach above rows that go round the end of a ring", found=fields["row_origin"])
    return {
        **fields,
        "source": (x.address - above * x.row) // isa.MAPS_UNIT,
        "input_height": above + fields["input_height"],
        "row_origin": above + fields["row_origin"],
        "ring": size if around else 0,
    }


@prints(Convolve)
def _convolve(op: Op[Convolve], context: Context) -> isa.Instruction:
    return isa.Convolve(**_product(op, context))


@prints(ConvolveDepthwise)
def _convolve_depthwise(op: Op[ConvolveDepthwise], context: Context) -> isa.Instruction:
    return isa.ConvolveDepthwise(**_product(op, context))


@prints(Requantize)
def _requantize(op: Op[Requantize], context: Context) -> isa.Instruction:
    return isa.Requantize(
        accumulator=context.views.chip(op.operands.x).address // isa.ACCUMULATOR_UNIT,
        parameters=context.parameters(op.operands.parameters),
        zero_point=op.operator.zero_point,
        low=op.operator.low,
        high=op.operator.high,
        **context.result_fields(op),
    )


@prints(Pool)
def _pool(op: Op[Pool], context: Context) -> isa.Instruction:
    x = context.views.ring(op.operands.x)
    return isa.Pool(
        kind=int(isa.PoolKind[op.operator.kind.upper()]),
        parameters=context.parameters(op.operands.record),
        source_row_pitch=x.row // isa.MAPS_UNIT,
        source_pixel_pitch=x.pixel // isa.MAPS_UNIT,
        **_windows(pool_fields(op), x),
        **context.result_fields(op),
    )


@prints(Combine)
def _combine(op: Op[Combine], context: Context) -> isa.Instruction:
    result = context.views.chip(op.result)
    fields: Fields = {}
    for name, value in (("a", op.operands.a), ("b", op.operands.b)):
        view = context.views.chip(value)
        fields[f"source_{name}"] = view.address // isa.MAPS_UNIT
        # What there is one of is repeated.
        fields[f"row_pitch_{name}"] = view.row // isa.MAPS_UNIT if view.shape[0] == result.shape[0] else 0
        fields[f"pixel_pitch_{name}"] = view.pixel // isa.MAPS_UNIT if view.shape[1] == result.shape[1] else 0
    return isa.Elementwise(
        kind=int(isa.ElementwiseKind[op.operator.kind.upper()]),
        low=op.operator.low,
        high=op.operator.high,
        parameters=context.parameters(op.operands.record),
        **fields,
        **context.result_fields(op),
    )


@prints(LookUp)
def _look_up(op: Op[LookUp], context: Context) -> isa.Instruction:
    table = context.parameters(op.operands.table)
    return isa.LookUp(table=table, **context.map_fields(op.operands.x), **context.result_fields(op))


@prints(Resize)
def _resize(op: Op[Resize], context: Context) -> isa.Instruction:
    return isa.ResizeNearest(**resize_fields(op), **context.map_fields(op.operands.x), **context.result_fields(op))


@prints(ResizeLinear)
def _resize_linear(op: Op[ResizeLinear], context: Context) -> isa.Instruction:
    return isa.ResizeLinear(**resize_fields(op), **context.map_fields(op.operands.x), **context.result_fields(op))
