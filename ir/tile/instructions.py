"""The instruction of each tile operator, as a name and fields: there is one for each op, and nothing is decided here.

Names are those of the instruction set, which this layer does not know. Where a place has no address yet the fields that
say it are 0: what an instruction costs is known before that.
"""

from collections.abc import Callable
from typing import Any

from tilewright.errors import IRError

from ..core import Op, OperatorT, Value, is_op
from ..interpolation import KNOTS
from ..layout import CHANNEL_BLOCK, in_whole_blocks
from ..op import Operator
from .attention import MapAsWeights, RequantizeMean, Weigh
from .compute import Combine, Convolve, ConvolveDepthwise, LookUp, Pool, Product, Resize, ResizeLinear
from .locations import Located, Locations
from .normalization import LoadNormalization, Normalize
from .places import PLACES
from .requantization import Requantize
from .transfer import Load, LoadRecord, LoadRequantization, LoadTable, LoadWeights, Move, Receive, Send, Store
from .types import TileType
from .wide import ConvolveDepthwiseWide, ConvolveWide, RequantizeWide

Fields = dict[str, Any]
"""Of an instruction, by name."""

LINE = 64
"""Bytes in which addresses of weights, accumulators and parameters count."""

REGIONS = ("constants", "scratch", "input", "output")
"""DRAM regions of a device program, by index."""


class Places(Locations):
    """Where values lie for an instruction, with no address on chip."""

    def address(self, root: Op) -> int | None:
        """The first byte of a place on chip."""
        return None

    def line(self, value: Value | None) -> int:
        """Where weights, sums or parameters lie; 0 where there are none."""
        return (self.address(self[value].root) or 0) // LINE if value is not None else 0

    def row(self, value: Value, above: int = 0) -> int:
        """Where a box of a map lies, or so many rows above it, in 16 bytes."""
        place = self[value]
        start = self.address(place.root)
        return (start + place.on_chip - above * place.type.row_bytes) // CHANNEL_BLOCK if start is not None else 0

    def map(self, value: Value) -> int:
        """Where a box of a map lies, in 16 bytes. Raises IRError: its rows go round the end of a ring."""
        place, rows = self[value], value.type.shape[0]
        size, slot = place.type.ring, place.first[0]
        if size and slot + rows > size:
            found = f"{rows} from row {slot}"
            raise IRError("an instruction does not go round the end of a ring", expected=f"{size} rows", found=found)
        return self.row(value)


Build = Callable[[Op[OperatorT], Places], Fields]

_BUILDERS: dict[type[Operator], tuple[str, Build[Any]]] = {}


def _builds(name: str, *operators: type[OperatorT]) -> Callable[[Build[OperatorT]], Build[OperatorT]]:
    """Register the fields of these operators, and the name of their instruction."""

    def register(function: Build[OperatorT]) -> Build[OperatorT]:
        _BUILDERS.update(dict.fromkeys(operators, (name, function)))
        return function

    return register


def instruction(op: Op, places: Places) -> tuple[str, Fields] | None:
    """The instruction of an op whose operands and result are noted; ``None`` if it only names a place.

    What is missing is what only a whole program says: where constants lie, and who else gets what is loaded.
    Raises IRError: the op is none of a tile program, or no instruction does what it says."""
    if isinstance(op.operator, PLACES):
        return None
    found = _BUILDERS.get(type(op.operator))
    if found is None:
        raise IRError("the op is none of a tile program", op=op.name, node=op.node, hint="Run lower_to_tiles first.")
    name, fields = found[0], found[1](op, places)
    is_sum = is_op(op, Requantize) and op.operands.residual is not None
    return "RequantizeSum" if is_sum and name == "Requantize" else name, fields


def _type(value: Value) -> TileType:
    assert isinstance(value.type, TileType)
    return value.type


# Transfers


def _box(value: Value, chip: Value, places: Places) -> Fields:
    """A box in DRAM that is a box of a map on chip."""
    place, on_chip = places[value], places[chip].type
    (rows, columns, channels), (_, row, pixel) = value.type.shape[-3:], place.distances
    if value.type.shape[:-3] not in ((), (1,)) or (on_chip.packed and pixel != channels):
        raise IRError("this is no box of an image that an instruction moves", found=value.type)
    return {
        **_in_dram(place),
        "rows": rows,
        "columns": columns,
        "run": channels if on_chip.packed else _moved_channels(place, channels),
        "dram": (row, pixel),
        "chip": places[chip].pitches,
        "packed": on_chip.packed,
        "flip": int(place.is_flipped),
    }


def _in_dram(place: Located) -> Fields:
    assert place.address is not None
    return {"region": REGIONS.index(place.address.region), "offset": place.span[0]}


def _moved_channels(place: Located, count: int) -> int:
    """Bytes that are moved of a pixel in DRAM: with those that fill the last block, if they may be."""
    assert place.address is not None
    first, channels = place.box[6], place.shape[3]
    fills = place.address.padded and first % CHANNEL_BLOCK == 0 and first + count == channels
    return in_whole_blocks(count) if fills else count


_builds("LoadMaps", Load)(
    lambda op, places: {"destination": places.map(op.result), **_box(op.operands.x, op.result, places)}
)
_builds("Store", Store)(
    lambda op, places: {"source": places.map(op.operands.x), **_box(op.operands.into, op.operands.x, places)}
)


@_builds("Move", Move)
def _move(op: Op[Move], places: Places) -> Fields:
    x = op.operands.x
    rows, columns, _ = x.type.shape
    pitches = [tuple(each // CHANNEL_BLOCK for each in places[value].pitches) for value in (x, op.result)]
    return {
        "source": places.map(x),
        "destination": places.map(op.result),
        "clusters": 1 << max(op.operator.cluster, 0),
        "rows": rows,
        "columns": columns,
        "run": _type(x).blocks,
        "source_pitches": pitches[0],
        "target_pitches": pitches[1],
    }


def _message(value: Value, operator: Send | Receive, places: Places) -> Fields:
    place = places[value]
    geometry = {"shape": value.type.shape, "distances": place.distances}
    return {**_in_dram(place), "peer": operator.card, "tag": operator.tag, **geometry}


_builds("Send", Send)(lambda op, places: _message(op.inputs[0], op.operator, places))
_builds("Receive", Receive)(lambda op, places: _message(op.result, op.operator, places))


def _lines(op: Op, places: Places) -> Fields:
    return {"destination": places.line(op.result)}


_builds("LoadWeights", LoadWeights)(_lines)
_builds("LoadParameters", LoadRequantization, LoadNormalization, LoadTable, LoadRecord)(_lines)


# Computation


def _pitches(value: Value, places: Places, prefix: str) -> Fields:
    """The distances of a map on chip, in 16 bytes."""
    row, pixel = places[value].pitches
    return {f"{prefix}row_pitch": row // CHANNEL_BLOCK, f"{prefix}pixel_pitch": pixel // CHANNEL_BLOCK}


def _source(value: Value, places: Places) -> Fields:
    return {"source": places.map(value), **_pitches(value, places, "source_")}


def _result(op: Op, places: Places) -> Fields:
    """Address, pitches and size of the map that an op makes."""
    rows, columns, _ = op.result.type.shape
    size: Fields = {"height": rows, "width": columns, "blocks": _type(op.result).blocks}
    return {"destination": places.map(op.result), **_pitches(op.result, places, "destination_"), **size}


def _unused(op: Op) -> Fields:
    """Channels of the last block that the result does not have."""
    return {"unused": -op.result.type.shape[-1] % CHANNEL_BLOCK}


def _windows(windows: Product | Pool, x: Value, kernel: tuple[int, ...], places: Places) -> Fields:
    """Where windows lie on a map: from its first row on, or on a ring from the first row of that."""
    place, (rows, columns, _) = places[x], x.type.shape
    size, slot = place.type.ring, place.first[0]
    around = slot + rows > size > 0
    above = slot if around else 0
    if above and windows.origin[0] < 0:
        raise IRError("windows reach above rows that go round the end of a ring", found=windows.origin[0])
    return {
        "source": places.row(x, above),
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": windows.stride[0],
        "stride_width": windows.stride[1],
        "input_height": above + rows,
        "input_width": columns,
        "row_origin": above + windows.origin[0],
        "column_origin": windows.origin[1],
        "ring": size if around else 0,
    }


def _product(op: Op[Convolve] | Op[ConvolveDepthwise], places: Places) -> Fields:
    """Of dense and depthwise convolution."""
    operands, product, x = op.operands, op.operator, _type(op.operands.x)
    fields: Fields = {
        **_windows(product, operands.x, operands.w.type.shape[2:], places),
        **_pitches(operands.x, places, ""),
        "weights": places.line(operands.w),
        "accumulator": places.line(op.result),
        "output_height": product.output[0],
        "output_width": product.output[1],
        "dilation_height": product.dilation[0],
        "dilation_width": product.dilation[1],
        "pad_value": product.pad_value,
        "weight_zero": product.weight_zero,
        **_unused(op),
    }
    wide = int(isinstance(product, (ConvolveWide, ConvolveDepthwiseWide)))
    fields |= ({"pixel_pitch": x.shape[2]} if x.packed else {}) | ({"wide": 1} if wide else {})
    if not is_op(op, Convolve):
        return {**fields, "blocks": x.blocks >> wide, "group": operands.w.type.shape[1].bit_length() - 1}
    first, count = op.operator.part
    return {
        **fields,
        "unused": max(fields["unused"], CHANNEL_BLOCK - first - count) if count else fields["unused"],
        "skipped": first // 4,
        "output_blocks": _type(op.result).blocks,
        "input_channels": x.shape[2] if x.packed else x.blocks >> wide,
        "accumulate": int(op.operands.into is not None),
        "packed": int(x.packed),
    }


_builds("Convolve", Convolve, ConvolveWide)(_product)
_builds("ConvolveDepthwise", ConvolveDepthwise, ConvolveDepthwiseWide)(_product)


def _rounded(op: Op[Requantize] | Op[RequantizeMean], places: Places) -> Fields:
    return {
        "accumulator": places.line(op.operands.x),
        "parameters": places.line(op.operands.parameters),
        "zero_point": op.operator.zero_point,
        "low": op.operator.low,
        "high": op.operator.high,
        **_result(op, places),
        # Of numbers, where a result of 16 bits has two bytes for each.
        "unused": -op.operands.x.type.shape[-1] % CHANNEL_BLOCK,
        "blocks": _type(op.operands.x).blocks,
    }


def _requantize(op: Op[Requantize], places: Places) -> Fields:
    requantize, residual = op.operator, op.operands.residual
    fields: Fields = {**_rounded(op, places), "slope": requantize.slope, "doubled": int(requantize.doubled)}
    if residual is not None:
        fields |= {**_source(residual, places), "source_zero": requantize.residual_zero}
        fields["source_multiplier"] = requantize.residual_factor
    return fields


_builds("Requantize", Requantize)(_requantize)
_builds("RequantizeWide", RequantizeWide)(
    lambda op, places: {**_requantize(op, places), "sum": int(op.operands.residual is not None)}
)


_builds("RequantizeMean", RequantizeMean)(
    lambda op, places: {**_rounded(op, places), **_source(op.operands.weights, places)}
)


@_builds("Weigh", Weigh)
def _weigh(op: Op[Weigh], places: Places) -> Fields:
    (x, mask), weigh, result = op.operands, op.operator, _result(op, places)
    fields = {name: int(value) for name, value in vars(weigh).items()}
    if mask is None:
        fields |= {"mask_multiplier": 0, "mask_zero": 0}
    else:
        fields |= {"masked": 1, **_source(mask, places)}
        if mask.type.shape[0] == 1:
            fields["source_row_pitch"] = 0
    unused = {"unused": -x.type.shape[-1] % CHANNEL_BLOCK, "blocks": _type(x).blocks}
    return {"accumulator": places.line(x), **fields, **result, **unused}


@_builds("MoveWeights", MapAsWeights)
def _move_weights(op: Op[MapAsWeights], places: Places) -> Fields:
    x = op.operands.x
    rows, columns, _ = x.type.shape
    type = places[x].type
    row, pixel = type.row_bytes // CHANNEL_BLOCK, type.blocks
    if rows > 1 and columns > 1 and row != columns * pixel:
        raise IRError("pixels that become weights lie equally far apart", found=x.type)
    return {
        "source": places.map(x),
        "destination": places.line(op.result),
        "pixels": rows * columns,
        "blocks": _type(x).blocks,
        "pixel_pitch": pixel if rows == 1 else row // columns,
        "turned": int(op.operator.turned),
    }


@_builds("Normalize", Normalize)
def _normalize(op: Op[Normalize], places: Places) -> Fields:
    skip = op.operands.skip
    fields = {name: int(value) for name, value in vars(op.operator).items() if name != "epsilon"}
    if skip is None:
        del fields["skip_zero"]
    else:
        fields |= {"sum": 1, "skip": places.map(skip), **_pitches(skip, places, "skip_")}
    return {
        "parameters": places.line(op.operands.parameters),
        "epsilon": op.operator.epsilon,
        **fields,
        **_source(op.operands.x, places),
        **_unused(op),
        **_result(op, places),
    }


@_builds("Pool", Pool)
def _pool(op: Op[Pool], places: Places) -> Fields:
    pool, x = op.operator, op.operands.x
    return {
        "kind": pool.kind,
        "include_pad": int(pool.include_pad),
        "parameters": places.line(op.operands.record),
        **_pitches(x, places, "source_"),
        **_windows(pool, x, pool.kernel, places),
        **_result(op, places),
        **_unused(op),
    }


@_builds("Elementwise", Combine)
def _combine(op: Op[Combine], places: Places) -> Fields:
    combine, (rows, columns, _) = op.operator, op.result.type.shape
    fields: Fields = {"kind": combine.kind, "low": combine.low, "high": combine.high}
    for name, value in (("a", op.operands.a), ("b", op.operands.b)):
        type = places[value].type
        fields[f"source_{name}"] = places.map(value)
        # What there is one of is repeated.
        fields[f"row_pitch_{name}"] = type.row_bytes // CHANNEL_BLOCK if value.type.shape[0] == rows else 0
        fields[f"pixel_pitch_{name}"] = type.blocks if value.type.shape[1] == columns else 0
    return {"parameters": places.line(op.operands.record), **fields, **_result(op, places)}


@_builds("LookUp", LookUp)
def _look_up(op: Op[LookUp], places: Places) -> Fields:
    fields = {"table": places.line(op.operands.table), **_source(op.operands.x, places), **_result(op, places)}
    return fields | ({"wide": 1} if op.operands.table.type.elements == KNOTS else {})


def _resize(op: Op[Resize] | Op[ResizeLinear], places: Places) -> Fields:
    """Of both ways to resize: where the rows and columns of the result lie."""
    (step_height, step_width), (origin_height, origin_width) = op.operator.step, op.operator.origin
    fields: Fields = {
        "step_height": step_height,
        "step_width": step_width,
        "origin_height": origin_height,
        "origin_width": origin_width,
        **_source(op.operands.x, places),
        **_result(op, places),
    }
    if is_op(op, ResizeLinear):
        rows, columns, _ = op.operands.x.type.shape
        fields.update(input_height=rows, input_width=columns)
    return fields


_builds("ResizeNearest", Resize)(_resize)
_builds("ResizeLinear", ResizeLinear)(_resize)
