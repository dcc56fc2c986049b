"""From an imported network to ops on quantised types: by the scales it brings along, or by calibration."""

from __future__ import annotations

from tilewright.errors import NoCalibrationError, NothingToQuantizeError

from ..ir.clone import clone_module
from ..ir.core import Module
from ..ir.ops.convolution import Conv
from ..ir.ops.matmul import MatMul
from ..ir.ops.quantization import QuantizeLinear
from ..ir.types import DType
from ..passes.quantization.plan import plan_quantization
from .calibration.compiled import compiled
from .calibration.dataset import open_calibration_set
from .calibration.observe import collect_ranges
from .options import CompileOptions
from .pipeline import calibration_pipeline, post_training_pipeline, quantized_import_pipeline
from .run_passes import run_passes


def brings_quantization(module: Module) -> bool:
    """Whether activations of the network are quantised as it comes; integer weights alone do not count."""
    return any(
        isinstance(op.operator, QuantizeLinear) or any(value.type.quant is not None for value in op.results)
        for op in module.ops
    )


def quantize_module(module: Module, options: CompileOptions) -> Module:
    """A copy of ``module`` with ops on quantised types.

    Raises:
        NothingToQuantizeError: integers have no place in the network.
        NoCalibrationError: scales are neither in the model nor given by samples.
        CalibrationError: the samples are wrong.
        PassError: an accumulator may overflow.
    """
    copy = clone_module(module)
    if brings_quantization(module):
        run_passes(quantized_import_pipeline(), copy, options)
        return copy
    run_passes(calibration_pipeline(), copy, options)
    values = plan_quantization(copy.main, options.keep_float).values
    if not values:
        products = [op.result.type.dtype for op in copy.ops if isinstance(op.operator, (Conv, MatMul))]
        others = sorted({dtype.value for dtype in products if dtype.is_float} - {DType.F32.value})
        raise NothingToQuantizeError(
            "nothing in this network can be quantised",
            stage="calibration",
            expected=f"convolutions or matrix products {'in f32 ' if others else ''}with constant weights",
            found=f"some in {' and '.join(others)}" if others else None,
            hint=f"{'Convert the model to float32, or leave' if others else 'Leave'} it in floating point.",
        )
    if options.calibration is None:
        raise NoCalibrationError(
            "the model is in floating point, and int8 needs sample inputs to derive scales from",
            stage="calibration",
            hint="Give --calibration FOLDER of images, a .npy or .npz file, or 'random' to try things out; "
            "or leave the network in floating point.",
        )
    inputs = {parameter.name: parameter.type for parameter in copy.main.parameters}
    samples = open_calibration_set(
        options.calibration, inputs, preprocessing=options.preprocessing, limit=options.calibration_limit
    )
    ranges = collect_ranges(
        compiled(copy, values, options.report),
        samples,
        method=options.calibration_method,
        percentile=options.percentile,
        report=options.report,
    )
    run_passes(post_training_pipeline(ranges, options.keep_float), copy, options)
    return copy
