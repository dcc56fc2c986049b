"""Which integers stand for the input and the outputs of a network whose interface is integers alone."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from tilewright.errors import NoCalibrationError, UnsupportedError, UsageError
from tilewright.immutable import Immutable

from ...ir.core import Function, Module, Value, is_op
from ...ir.ops.activation import HardSigmoid, Sigmoid, Tanh
from ...ir.ops.quantization import Dequantize, Quantize, QuantizeLinear
from ...ir.ops.softmax import Softmax
from ...ir.quantized import quantization_of
from ...ir.types import DType, Quantization
from ...passes.quantization.integer_interface import (
    IMAGE_CHANNELS,
    IntegerInterface,
    covered,
    planes_of,
    symmetric_scale,
)
from ...passes.quantization.parameters import Range
from ...passes.quantization.quantizable import is_moving, sources
from ...runtime.pictures.inputs import Declared, declared
from ...runtime.pictures.preprocessing import Preprocessing
from ..calibration.dataset import are_images
from ..options import CompileOptions

STAGE = "interface"
RADIXES = range(-30, 31)
_TOLERANCE = 1.01
"""Ranges may pass the ends of the integers by so much: 1 is the integer 128 at the radix 7, and saturates."""

_BOUNDED: Mapping[type, Range] = {Softmax: (0.0, 1.0), Sigmoid: (0.0, 1.0), HardSigmoid: (0.0, 1.0), Tanh: (-1.0, 1.0)}
"""Ranges of results that follow from the operator."""


class Interface(Immutable):
    """An interface of integers is asked for. ``radix``: the input is q / 2 ** radix; None: as its range asks for."""

    radix: int | None = None

    def __post_init__(self) -> None:
        if self.radix is not None and self.radix not in RADIXES:
            expected = f"{RADIXES.start} to {RADIXES.stop - 1}"
            raise UsageError("the radix of the input is out of range", expected=expected, found=self.radix)


def check_interface(module: Module) -> None:
    """Refuse networks that devices which take one image of integers cannot run.
    Raises UnsupportedError: names the input or output."""
    parameters = module.main.parameters
    if len(parameters) != 1:
        raise UnsupportedError(
            "devices of the kp API take one image",
            stage=STAGE,
            expected="one input",
            found=", ".join(repr(each.name) for each in parameters) or "none",
            hint="Make constants of the others, or leave what they go into to the program.",
        )
    for parameter in parameters:
        type = parameter.type
        channels = planes_of(type.shape)[1] if type.rank == 4 else 0
        if type.dtype is not DType.F32 or channels not in IMAGE_CHANNELS or type.shape[0] != 1 or 0 in type.shape:
            raise UnsupportedError(
                f"input {parameter.name!r} is no image that devices of the kp API can be sent",
                stage=STAGE,
                expected="f32[1, C, H, W] of 1, 3 or 4 channels",
                found=type,
                hint=None
                if type.dtype.is_float
                else "Give the model with the conversion of its input to integers in it, as the QDQ form has it.",
            )
    for name, value in zip(module.main.result_names, module.main.results, strict=True):
        if value.type.dtype is not DType.F32 or 0 in value.type.shape:
            raise UnsupportedError(
                f"output {name!r} cannot be given as integers of 8 bits that stand for real numbers",
                stage=STAGE,
                expected="f32",
                found=value.type,
                hint="Take the output from before what computes indices, and leave that to the program.",
            )


def shapes_before(module: Module) -> dict[str, object]:
    """For the manifest: the shapes of inputs and outputs before they get those of an interface of integers."""
    main = module.main
    return {
        "source_shapes": {
            "inputs": [list(each.type.shape) for each in main.parameters],
            "outputs": [list(each.type.shape) for each in main.results],
        }
    }


def input_radix(interface: Interface, range: Range) -> int:
    """The radix of the input: that which was asked for, or the largest whose integers cover the range."""
    if interface.radix is not None:
        return interface.radix
    largest = max(range[1], -range[0])
    if not 0 < largest < math.inf:
        return 7
    radix = math.floor(math.log2(128 * _TOLERANCE / largest))
    return min(max(radix, RADIXES.start), RADIXES.stop - 1)


def pixel_range(options: CompileOptions) -> Range | None:
    """The range of inputs that images become, where calibration is with images."""
    if not are_images(options.calibration):
        return None
    return _only_preprocessing(options).range()


def _only_preprocessing(options: CompileOptions) -> Preprocessing:
    found = declared(options.preprocessing)
    return (found if isinstance(found, Declared) else next(iter(found.values()))).preprocessing


_NORMALIZATIONS = {
    "KP_NORMALIZE_KNERON": (128, 1 / 256),
    "KP_NORMALIZE_TENSOR_FLOW": (127.5, 1 / 127.5),
    "KP_NORMALIZE_YOLO": (0, 1 / 255),
}
"""What devices make of pixels: mean and scale of (pixel - mean) * scale."""


def normalization_warnings(options: CompileOptions) -> list[str]:
    """What to know where images become other inputs than devices can make of them."""
    if not are_images(options.calibration):
        return []
    preprocessing = _only_preprocessing(options)
    given = {*zip(*np.broadcast_arrays(preprocessing.mean, preprocessing.scale), strict=True)}
    for mean, scale in _NORMALIZATIONS.values():
        if len(given) == 1 and np.allclose([*given], (mean, scale), rtol=1e-3, atol=1e-6):
            return []
    known = "; ".join(f"{name}: mean={mean:g},scale={scale:.6g}" for name, (mean, scale) in _NORMALIZATIONS.items())
    return [f"no device normalises images as calibration did, so programs have to, and bypass preprocessing ({known})"]


def quantized_input(module: Module) -> Range | None:
    """The range that a network which is quantised already gives its input."""
    value = module.main.parameters[0]
    while len(value.users) == 1 and is_moving(value.users[0]):
        value = value.users[0].results[0]
    for user in value.users:
        quant, dtype = None, DType.I8
        if is_op(user, QuantizeLinear):
            _, scale, zero_point = user.operands
            quant, dtype = quantization_of(scale, zero_point, user.operator.axis), user.operator.to
        elif is_op(user, Quantize):
            quant, dtype = user.result.type.quant, user.result.type.dtype
        if quant is not None and quant.axis is None:
            return _range_of(quant, dtype)
    return None


def _range_of(quant: Quantization, dtype: DType) -> Range:
    limits = np.iinfo(dtype.numpy)
    scale, zero = quant.scale[0], quant.zero_point[0]
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def with_symmetric_outputs(
    main: Function, values: Mapping[str, Value], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """The ranges, of which those of values that are outputs, moved or not, are such that the zero point is 0."""
    names = {value: name for name, value in values.items()}
    found = dict(ranges)
    for value in main.results:
        name = next((names[each] for each in sources(value) if each in names), None)
        if name is not None:
            found[name] = covered(symmetric_scale(found[name]))
    return found


def integer_interface(module: Module, radix: int, observe: Callable[[int], Range | None]) -> IntegerInterface:
    """The pass that gives a network on quantised types its interface.
    ``observe``: the range of an output by its index, where samples tell it.
    Raises NoCalibrationError: nothing tells the range of an output."""
    main = module.main
    scales: list[float] = []
    for index, (name, value) in enumerate(zip(main.result_names, main.results, strict=True)):
        scale = _own_scale(value)
        if scale is None:
            range = _bounds_of(value) or observe(index)
            if range is None:
                raise NoCalibrationError(
                    f"output {name!r} is computed in floating point, and nothing tells its range",
                    stage=STAGE,
                    hint="Give --calibration, or take the output from before what stays in floating point.",
                )
            scale = symmetric_scale(range)
        scales.append(float(np.float32(scale)))
    return IntegerInterface(2.0**-radix, tuple(scales))


def _own_scale(value: Value) -> float | None:
    """The scale for an output that the network computes in integers; None if it does not."""
    op = value.producer
    source = op.operands.x.type if is_op(op, Dequantize) else None
    if source is None or source.quant is None or source.quant.axis is not None:
        return None
    if source.dtype is DType.I8 and source.quant.zero_point == (0,):
        return source.quant.scale[0]
    low, high = _range_of(source.quant, source.dtype)
    scale = source.quant.scale[0]
    # u8 with the zero point 128 are the same numbers, shifted.
    return scale if covered(scale) == (low, high) else symmetric_scale((low, high))


def _bounds_of(value: Value) -> Range | None:
    *_, source = sources(value)
    op = source.producer
    return _BOUNDED.get(type(op.operator)) if op is not None else None


def interface_of(module: Module) -> IntegerInterface:
    """The pass that gives another form of a network the interface of this one, which has its own already."""
    scales: list[float] = []
    for value in (*module.main.parameters, *module.main.results):
        assert value.type.quant is not None, value
        scales += value.type.quant.scale
    return IntegerInterface(scales[0], tuple(scales[1:]))
