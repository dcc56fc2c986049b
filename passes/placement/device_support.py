"""Can the accelerator run this op? Rules by operator, and for an op the first one that it breaks.

A rule is a small function of an op and a machine. Its docstring, one sentence, is what users read; it returns
``None`` where the op keeps it, and otherwise what was found and in which tensor. What the rules say is what
:mod:`tilewright.passes.device.lowering` does; tests hold the two against each other.
"""

from tilewright.errors import IRError

from ...ir.accumulators import accumulator_bounds, overflowing_channels
from ...ir.annotations import Reason
from ...ir.arithmetic import INTERPOLATION_BITS
from ...ir.core import Constant, Op, Value, is_op
from ...ir.feature_map import MAP_RANKS, is_depthwise, is_of_images, is_product, map_shape, window_of
from ...ir.op import Operator, QuantizationRule
from ...ir.ops import REGISTRY
from ...ir.ops.attention import Attention
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, DepthToSpace, Pad, Slice, Transpose
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool, Pool
from ...ir.ops.quantization import Dequantize, DequantizeLinear, Quantize, QuantizeLinear, Requantize
from ...ir.ops.resize import Resize
from ...ir.ops.shape import Reshape
from ...ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ...ir.ops.unary import Unary
from ...ir.quantized import EIGHT_BIT, is_wide
from ...ir.types import DType
from ...runtime.machines.machine import (
    CHANNEL_BLOCK,
    DILATION_LIMIT,
    KERNEL_LIMIT,
    MAP_EXTENT_LIMIT,
    ORIGIN_LIMIT,
    POOL_KERNEL_LIMIT,
    ROW_LIMIT,
    STRIDE_LIMIT,
    Machine,
)
from ..device.attention_views import unfit
from ..device.legalize.movement_forms import pads_many_channels
from ..device.resampling import resize_axes
from ..device.tiling.tile_search import misfit
from ..quantization.quantizable import why_real
from ..quantization.quantize_normalization import NORMS, obstacle
from .movement_support import (
    moves_no_byte,
    neighbours,
    picks_channels,
    pixels_in_order,
    rows_of_phases,
    whole_pairs,
    whole_phases,
    whole_pixels,
)
from .rule import Found, Rule, at_most, listed, text_of


def is_weight(op: Op, index: int) -> bool:
    """Whether operand ``index`` is part of the program, rather than a feature map."""
    return (is_product(op) and 0 < index < 3) or (isinstance(op.operator, SkipLayerNorm) and index not in (0, 4))


def map_operands(op: Op) -> list[Value]:
    """The feature maps that an op reads."""
    return [v for index, v in enumerate(op.operands) if v is not None and not is_weight(op, index)]


def maps_of(op: Op) -> list[Value]:
    """The feature maps that an op reads and writes."""
    return [*map_operands(op), *op.results]


WITH_WIDE_MAPS = (Conv, Reshape, MaxPool, GlobalMaxPool, Concat, DepthToSpace, Slice, Mul, SkipLayerNorm, Transpose)
"""Operators that the device has on maps of 16 bits, beside functions that are tables."""


def _instead_of_integers(value: Value, op: Op) -> str:
    """What a tensor of ``op`` is, which is not of the integers that it should be, and why."""
    dtype = value.type.dtype
    if value.type.quant is None and dtype.is_float:
        if is_op(op, Conv, MatMul) and op.inputs[0].type.quant is not None and value is op.result:
            return f"{dtype.value}: real numbers from its accumulators, as the method outputs has the last layers"
        return f"{dtype.value}: {why_real(op)}"
    return f"{dtype.value}, {'not ' * (value.type.quant is None)}quantised"


def quantized_to_eight_bits(op: Op, machine: Machine) -> Found | None:
    """Feature maps are i8 or u8, quantised with one scale and zero point for the whole tensor."""
    # Those of 16 bits have rules of their own, or none.
    is_table = is_op(op, Unary) and op.operator.HAS_KNOTS
    has_wide = is_table or isinstance(op.operator, WITH_WIDE_MAPS)
    dtypes = (*EIGHT_BIT, DType.I16) if has_wide else EIGHT_BIT
    for value in maps_of(op):
        type = value.type
        if type.quant is None or type.dtype not in dtypes:
            return Found(value, _instead_of_integers(value, op))
        if type.quant.axis is not None:
            return Found(value, f"{len(type.quant.scale)} scales along axis {type.quant.axis}")
    return None


def of_two_to_four_dimensions(op: Op, machine: Machine) -> Found | None:
    """Feature maps have the form [M, K], [N, C, L] or [N, C, H, W]."""
    others = (value for value in maps_of(op) if value.type.rank not in MAP_RANKS)
    return next((Found(value, f"{value.type.rank} dimensions, {list(value.type.shape)}") for value in others), None)


def not_empty(op: Op, machine: Machine) -> Found | None:
    """Feature maps have at least one element."""
    return next((Found(v, str(list(v.type.shape))) for v in maps_of(op) if not v.type.elements), None)


def rows_within_reach(op: Op, machine: Machine) -> Found | None:
    """A row of a feature map takes less than 16 MiB, its channels padded to a multiple of 16."""
    for value in maps_of(op):
        shape = map_shape(value.type)
        if shape.width * shape.padded_channels > ROW_LIMIT:
            return Found(value, f"{shape.width} pixels of {shape.padded_channels} bytes")
    return None


def fits_the_scratchpads(op: Op, machine: Machine) -> Found | None:
    """The smallest tile of the op must fit the scratchpads."""
    found = misfit(op, machine)
    if found is None:
        return None
    return Found(
        op.inputs[1] if found.memory == "weight" and is_product(op) else op.result,
        f"{found.needed} bytes needed of the {found.memory} scratchpad, which has {found.available} on {machine.name}",
    )


FIRST: tuple[Rule, ...] = (quantized_to_eight_bits, of_two_to_four_dimensions, not_empty, rows_within_reach)
"""What every other rule may rely on."""

LAST: tuple[Rule, ...] = (fits_the_scratchpads,)
"""What relies on every other rule."""


def one_or_two_spatial_dimensions(op: Op, machine: Machine) -> Found | None:
    """A convolution slides over one or two dimensions."""
    rank = op.inputs[0].type.rank
    return Found(op.inputs[0], f"{rank - 2} dimensions") if rank not in (3, 4) else None


def weights_are_constants(op: Op, machine: Machine) -> Found | None:
    """Weights and bias are constants."""
    return next((Found(v, "a computed tensor") for v in op.operands[1:3] if not isinstance(v, Constant | None)), None)


def weights_of_eight_bits(op: Op, machine: Machine) -> Found | None:
    """Weights are i8 or u8, quantised, with one zero point for all channels."""
    w = op.inputs[1]
    if w.type.quant is None or w.type.dtype not in EIGHT_BIT:
        return Found(w, _instead_of_integers(w, op))
    zeros = sorted(set(w.type.quant.zero_point))
    return Found(w, f"zero points from {zeros[0]} to {zeros[-1]}") if len(zeros) > 1 else None


def kernel_size(op: Op, machine: Machine) -> Found | None:
    """The kernel of a convolution has at most 31 rows and columns."""
    kernel = window_of(op).kernel
    return Found(op.inputs[1], f"{kernel[0]} x {kernel[1]}") if max(kernel) > KERNEL_LIMIT else None


def of_equal_widths(op: Op[Conv], machine: Machine) -> Found | None:
    """Convolutions of i16 are dense or depthwise, with the zero point 0; what they add has as many bits as the
    result."""
    x, y, residual = op.operands.x, op.result, op.operands.residual
    if not is_wide(x.type, y.type, residual.type if residual is not None else None):
        return None
    shifted = [v for v in maps_of(op) if is_wide(v.type) and v.type.quant is not None and any(v.type.quant.zero_point)]
    if shifted:
        return Found(shifted[0], "another zero point")
    if op.operator.group > 1 and not is_depthwise(op):
        return Found(op.inputs[1], f"{op.operator.group} groups of {op.inputs[1].type.shape[1]} channels")
    if residual is not None and is_wide(residual.type) is not is_wide(y.type):
        return Found(residual, f"{residual.type.dtype.value} added to {y.type.dtype.value}")
    return None


def sums_of_32_bits(op: Op[Conv], machine: Machine) -> Found | None:
    """Accumulators of 16-bit maps stay below 2^31 whatever the input is."""
    if not is_wide(op.operands.x.type) or not isinstance(op.operands.w, Constant):
        return None
    channels = overflowing_channels(op, 32)
    if not channels.size:
        return None
    return Found(op.operands.w, f"{int(accumulator_bounds(op).max())} in output channel {int(channels[0])}")


CONVOLUTION_RULES: tuple[Rule, ...] = (
    one_or_two_spatial_dimensions,
    weights_are_constants,
    weights_of_eight_bits,
    of_equal_widths,
    sums_of_32_bits,
    kernel_size,
    at_most(STRIDE_LIMIT, "Strides of a convolution are at most 31.", lambda op: window_of(op).stride),
    at_most(DILATION_LIMIT, "Dilations of a convolution are at most 31.", lambda op: window_of(op).dilation),
    at_most(
        ORIGIN_LIMIT, "A convolution pads with at most 4095 rows and columns on each side.", lambda op: op.operator.pads
    ),
)


def equal_ranks(op: Op, machine: Machine) -> Found | None:
    """Operands have as many dimensions as the result."""
    rank = op.result.type.rank
    others = (value for value in op.inputs if value.type.rank != rank)
    return next((Found(value, f"{value.type.rank} dimensions instead of {rank}") for value in others), None)


def channels_of_the_result(op: Op, machine: Machine) -> Found | None:
    """Operands have all channels of the result, so that only images, rows and columns are repeated."""
    channels = map_shape(op.result.type).channels
    others = ((value, found) for value in op.inputs if (found := map_shape(value.type).channels) != channels)
    return next((Found(value, f"{found} channels instead of {channels}") for value, found in others), None)


ARITHMETIC_RULES: tuple[Rule, ...] = (equal_ranks, channels_of_the_result)


def window_size(op: Op, machine: Machine) -> Found | None:
    """A pooling window has at most 255 rows and columns, that of a global pool the size of the map."""
    kernel = window_of(op).kernel
    return Found(op.inputs[0], f"{kernel[0]} x {kernel[1]}") if max(kernel) > POOL_KERNEL_LIMIT else None


def windows_meet_the_map(op: Op[Pool], machine: Machine) -> Found | None:
    """Every pooling window holds at least one element of the map."""
    pool, source, target = op.operator, map_shape(op.inputs[0].type), map_shape(op.result.type)
    window = window_of(op)
    for axis, (extent, outputs) in enumerate(((source.height, target.height), (source.width, target.width))):
        last = (outputs - 1) * window.stride[axis] - window.begin[axis]
        if window.begin[axis] >= window.kernel[axis] or last >= extent:
            return Found(op.result, f"kernel {listed(pool.kernel)} with padding {listed(pool.pads)}")
    return None


def no_overhang(op: Op[AveragePool], machine: Machine) -> Found | None:
    """Windows of an average pool end within its padding, which rounding the number of windows up may break."""
    overhang = op.operator.overhang
    return Found(op.result, f"{listed(overhang)} elements beyond") if any(overhang) else None


GLOBAL_RULES: tuple[Rule, ...] = (window_size,)
MAXIMUM_RULES: tuple[Rule, ...] = (
    window_size,
    at_most(1, "A pooling window has no dilation.", lambda op: window_of(op).dilation),
    at_most(STRIDE_LIMIT, "Strides of a pooling window are at most 31.", lambda op: window_of(op).stride),
    windows_meet_the_map,
)
AVERAGE_RULES: tuple[Rule, ...] = (*MAXIMUM_RULES, no_overhang)


def rows_and_columns_only(op: Op, machine: Machine) -> Found | None:
    """A resize keeps images and channels."""
    before, after = op.inputs[0].type.shape, op.result.type.shape
    if len(before) > 2 and before[:2] == after[:2]:
        return None
    return Found(op.result, f"{list(before)} to {list(after)}")


def nearest_or_linear(op: Op[Resize], machine: Machine) -> Found | None:
    """A resize takes the nearest element, or interpolates linearly."""
    mode = op.operator.mode
    return Found(op.result, mode) if mode not in ("nearest", "linear") else None


def equal_steps(op: Op[Resize], machine: Machine) -> Found | None:
    """The rows, and the columns, that a resize takes follow each other in equal steps of less than 16."""
    for what, axis in zip(("rows", "columns"), resize_axes(op), strict=True):
        if axis.steps is None:
            unit = 1 << INTERPOLATION_BITS if axis.interpolates else 1
            shown = ", ".join(f"{position / unit:g}" for position in axis.positions[:8].tolist())
            return Found(op.result, f"{what} {shown}{', …' if len(axis.positions) > 8 else ''}")
    return None


RESIZE_RULES: tuple[Rule, ...] = (rows_and_columns_only, nearest_or_linear, equal_steps)


def heads_of_blocks(op: Op[Attention], machine: Machine) -> Found | None:
    """Heads are blocks of 16 channels of rows that follow each other, and masks rows of all keys."""
    found = unfit(op)
    return Found(*found) if found is not None else None


def along_known_channels(op: Op[SkipLayerNorm], machine: Machine) -> Found | None:
    """A normalisation is along channels, axis 1, or whole blocks of 16 of them, with factors that are constants."""
    if op.operator.axis != 1:
        return Found(op.result, f"axis {op.operator.axis}")
    computed = [v for i, v in enumerate(op.operands) if is_weight(op, i) and not isinstance(v, Constant | None)]
    if computed:
        return Found(computed[0], "a computed tensor")
    group = op.result.type.shape[1] // (op.operator.groups or 1)
    return Found(op.result, f"groups of {group}") if op.operator.by_pixel and group % CHANNEL_BLOCK else None


def numbers_of_its_units(op: Op[SkipLayerNorm], machine: Machine) -> Found | None:
    """Factors and steps of a normalisation are numbers that single precision holds."""
    try:
        standardization_of(op)
    except IRError as error:
        return Found(op.result, error.message)
    return None


COMMON_RULES = (*FIRST, *LAST)
"""What holds for every operator of the device."""

OWN_RULES: dict[type[Operator], tuple[Rule, ...]] = {
    Attention: (
        heads_of_blocks,
        at_most(MAP_EXTENT_LIMIT, "Attention has at most 4095 keys.", lambda op: (op.operator.keys,)),
    ),
    SkipLayerNorm: (
        along_known_channels,
        numbers_of_its_units,
        at_most(
            MAP_EXTENT_LIMIT,
            "Pixels are normalised together in at most 4095 rows and columns.",
            lambda op: map_shape(op.result.type)[1:3] if is_of_images(op) else (1,),
        ),
    ),
    Conv: CONVOLUTION_RULES,
    MaxPool: MAXIMUM_RULES,
    AveragePool: AVERAGE_RULES,
    GlobalAveragePool: GLOBAL_RULES,
    GlobalMaxPool: GLOBAL_RULES,
    **dict.fromkeys((Add, Sub, Mul, Max, Min), ARITHMETIC_RULES),
    Concat: (whole_pairs,),
    Gather: (picks_channels,),
    DepthToSpace: (whole_pixels, whole_phases, rows_of_phases),
    Slice: (neighbours,),
    Reshape: (moves_no_byte,),
    Transpose: (pixels_in_order,),
    Resize: RESIZE_RULES,
    Requantize: (),
    **{cls: () for cls in REGISTRY.values() if issubclass(cls, Unary) and cls.QUANTIZATION is QuantizationRule.TABLE},
}
"""Operators that the device has, with the rules that hold for them besides."""

SUPPORT: dict[type[Operator], tuple[Rule, ...]] = {cls: (*FIRST, *rules, *LAST) for cls, rules in OWN_RULES.items()}
"""All rules that an op of each operator keeps, in the order in which they are checked."""

CONVERSION = "converts between real numbers and integers, which the host does"
"""Why borders of the integers are not on the device."""


def _lacking(op: Op) -> Reason:
    if is_op(op, MatMul) and op.result.type.dtype.is_float:
        # In integers it would be a convolution, or part of attention.
        found = _instead_of_integers(op.result, op)
        return Reason(text_of(quantized_to_eight_bits), f"%{op.result.name}", found)
    is_conversion = isinstance(op.operator, (Quantize, Dequantize, QuantizeLinear, DequantizeLinear))
    rule = CONVERSION if is_conversion else f"the device has no {op.name}"
    if is_op(op, Pad):
        # Zeros have become a convolution, or part of what reads them, and few repeated pixels slices of the map.
        type = op.inputs[0].type
        found = f"{type.dtype.value}, mode {op.operator.mode}, value {op.operator.value:g}"
        found += f", {type.rank} dimensions" * (type.rank not in MAP_RANKS)
        if pads_many_channels(op):
            found += f", {type.shape[1]} channels"
        rule = "the device has no pad but of zeros, or few repeated pixels, around quantised maps"
        return Reason(rule, f"%{op.result.name}", found)
    if is_op(op, *NORMS):
        why = obstacle(op)
        rule = f"{rule} but of integers, and {why}" if why is not None else rule
    return Reason(rule, f"%{op.results[0].name}", "")


def reject(op: Op, machine: Machine) -> Reason | None:
    """The first rule that ``op`` breaks on ``machine``; ``None`` if the device can run it."""
    if type(op.operator) not in SUPPORT:
        return _lacking(op)
    for rule in SUPPORT[type(op.operator)]:
        found = rule(op, machine)
        if found is not None:
            sigil = "@" if isinstance(found.tensor, Constant) else "%"
            return Reason(text_of(rule), sigil + found.tensor.name, found.value)
    return None
