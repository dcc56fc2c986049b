"""From an imported network to ops on quantised types: by the scales it brings along, or by calibration."""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tilewright.errors import CalibrationError, NoCalibrationError, NothingToQuantizeError, UsageError, first_of

from ...ir.clone import clone_module
from ...ir.core import Constant, Function, Module, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.quantization import QuantizeLinear
from ...ir.types import DType
from ...passes.named_ops import KEEP_FLOAT, named_nodes, still_there
from ...passes.quantization.integer_interface import covered
from ...passes.quantization.parameters import Range
from ...passes.quantization.plan import plan_quantization
from ...passes.quantization.quantize import Quantize, like_others
from ...passes.quantization.split_weights import split_weights
from ...runtime.files.input_file import SAMPLE_FILES
from ...runtime.machines.machine import DEFAULT
from ..calibration.bounds import BOUNDS, is_bounds, pixel_bounds, ranges_by_bounds
from ..calibration.observation import Observation
from ..calibration.ranges import BITS, encoded_ranges
from ..calibration.statistics import Findings
from ..containers.interface import (
    Interface,
    input_radix,
    integer_interface,
    pixel_range,
    quantized_input,
    with_symmetric_outputs,
)
from ..one_thread import on_one_thread
from ..options import CompileOptions
from ..pipeline import (
    attention_pipeline,
    calibration_pipeline,
    interface_pipeline,
    post_training_pipeline,
    quantized_import_pipeline,
    run_passes,
)
from .exact_inputs import choose_inputs, set_inputs
from .methods import (
    UNSEEN,
    Choices,
    apply_weights,
    choose_weights,
    learn_narrow_weights,
    methods_of,
    observed_values,
    prepared_network,
)
from .scale_channels import candidates, set_scales
from .smooth_maps import function_behind, map_boundaries
from .smooth_products import boundaries, choose_scales, looked_at, set_boundary_scales
from .wide_values import EVERY, wide_names, wide_values


def brings_quantization(module: Module) -> bool:
    """Whether activations of the network are quantised as it comes; integer weights alone do not count."""
    return any(
        isinstance(op.operator, QuantizeLinear) or any(value.type.quant is not None for value in op.results)
        for op in module.ops
    )


def quantize_module(
    module: Module,
    options: CompileOptions,
    interface: Interface | None = None,
    choices: Choices | None = None,
    findings: Findings | None = None,
) -> Module:
    """A copy of ``module`` with ops on quantised types, which attention and normalisations are, too, where an engine is
    the device: what all engines in integers compute.

    Args:
        interface: makes inputs and outputs integers, too.
        choices: what samples made of the same network in another shape; where it is empty, what they make of this one
            is put there.
        findings: receives what the samples are like.

    Raises:
        NothingToQuantizeError: integers have no place in the network.
        NoCalibrationError: scales are neither in the model nor given by samples.
        CalibrationError: the samples are wrong, or the values that need ranges are not those of ``choices``.
        PassError: an accumulator may overflow.
    """
    copy = clone_module(module)
    keep = named_nodes(module.ops, options.keep_float, KEEP_FLOAT, Quantize.name)
    machine = os.fspath(options.machine or DEFAULT) if "device" in (options.engines or ()) else None
    if brings_quantization(module):
        # What is named is as the model has it.
        keep, _ = (), wide_names(module, options)
        run_passes(quantized_import_pipeline(machine), copy, options)
        if interface is not None:
            _add_interface_to_quantized(copy, quantized_input(module), options, interface)
    else:
        _calibrate(copy, module, options, keep, interface, choices, findings)
    if machine is not None:
        run_passes(attention_pipeline(machine, keep), copy, options)
    return copy


@on_one_thread()
def _calibrate(
    copy: Module,
    module: Module,
    options: CompileOptions,
    keep: tuple[str, ...],
    interface: Interface | None,
    choices: Choices | None,
    findings: Findings | None,
) -> None:
    """Quantise a copy of a module in floating point by samples; arguments as of `quantize_module`.
    ``keep``: names of source nodes, of results and of operators that stay as they are."""
    wide = wide_names(module, options)
    in_half = any(value.type.dtype is DType.F16 for op in copy.ops for value in (*op.inputs, *op.results))
    if findings is not None and HALF not in findings.warnings and in_half:
        findings.warnings.append(HALF)
    on_device = "device" in (options.engines or ())
    run_passes(calibration_pipeline(keep, prelu=on_device), copy, options)
    keep = still_there(copy.ops, keep)
    # Integers at the ends have scales that samples do not choose.
    methods = methods_of(options.methods) if options.calibration is not None and interface is None else ()
    if options.weights_bits > BITS and not options.wide:
        hint = "Give --wide all."
        raise UsageError("weights of 16 bits are for layers whose results have 16", stage="calibration", hint=hint)
    if is_bounds(options.calibration):
        _check_bounds(options, methods, all_wide=EVERY in options.wide and interface is None)
    choices = Choices() if choices is None else choices
    is_first = not choices.ranges
    observed: dict[str, Value] = {}
    observation = Observation(copy, observed, options, findings)
    if is_first and "inputs" in methods and options.encodings is None:
        choices.inputs = choose_inputs(copy, observation.samples)
    moved = set_inputs(copy, choices.inputs)
    keep = (*keep, *(name for names in moved.values() for name in names))
    forms = {
        "real_outputs": "outputs" in methods,
        "exact_sums": "additions" in methods,
        # They are of 16 bits, which containers have no form for.
        "shortcuts": on_device and interface is None,
        # Other runtimes compute in floating point what is not rounded between the two.
        "slopes": options.engines is not None,
    }
    plan = plan_quantization(copy.main, keep, **forms)
    quotients: dict[str, str] = {}
    while True:
        # What is made of a table gets results on its other side that only floating point reads.
        divided = {*quotients, *quotients.values()}
        wanted = {
            **(boundaries(plan, tables=on_device, wide=options.engines is not None) if "products" in methods else {}),
            **(map_boundaries(plan) if "channels" in methods else {}),
        }
        wanted = {name: each for name, each in wanted.items() if name not in divided}
        if is_first and options.encodings is None:
            here = Observation(copy, looked_at(wanted), options)
            choices.boundaries.update(choose_scales(copy, wanted, here))
        scaled = set_boundary_scales(copy, wanted, choices.boundaries)
        if not scaled:
            break
        quotients |= scaled
        plan = plan_quantization(copy.main, keep, **forms)
    values = plan.values
    if not values:
        products = [op for op in copy.ops if isinstance(op.operator, (Conv, MatMul))]
        dtypes = {op.result.type.dtype for op in products}
        others = sorted({dtype.value for dtype in dtypes if dtype.is_float} - {DType.F32.value})
        outside = ", outside of branches and loops" if {*products} - {*copy.main.ops} else ""
        raise NothingToQuantizeError(
            "nothing in this network can be quantised",
            stage="calibration",
            expected=f"convolutions or matrix products {'in f32 ' if others else ''}with constant weights{outside}",
            found=f"some in {' and '.join(others)}" if others else None,
            hint=f"{'Convert the model to float32, or leave' if others else 'Leave'} it in floating point.",
        )
    if findings is not None:
        told = multiplied_far(copy.main, values.values())
        findings.warnings += [each for each in told if each not in findings.warnings]
    moving = [quotients[name] for name, each in choices.boundaries.items() if each.is_wide]
    wide = tuple(dict.fromkeys((*wide_values(plan, copy.main, wide, choices.idle), *moving)))
    if options.weights_bits > BITS:
        # What the sums are of needs ranges, too.
        made = split_weights(copy, plan, wide)
        plan = plan_quantization(copy.main, keep, **forms)
        values = plan.values
        wide = (*wide, *(name for name, value in values.items() if value in made))
    ranges = encoded_ranges(options.encodings, values) if options.encodings is not None else {}
    names = {value: name for name, value in values.items()}
    for value, other in like_others(plan) if ranges else ():
        if names[other] in ranges:
            ranges.setdefault(names[value], ranges[names[other]])
    missing = {name: value for name, value in values.items() if name not in ranges}
    ends = _ends(copy.main) if interface is not None else {}
    observed.update({**(observed_values(plan) if methods else values), **ends})
    observation.fix()
    if is_first and "channels" in methods and len(missing) == len(values):
        choices.scales = choose_scales(copy, candidates(plan), observation)
    if choices.scales:
        set_scales(copy, plan, choices.scales)
    if missing or ends:
        known = choices.ranges
        if is_first:
            given = {name: each.range for name, each in choices.scales.items()}
            given |= {quotients[name]: each.range for name, each in choices.boundaries.items()}
            grids = {moved.get(name, (name,))[-1]: each.range for name, each in choices.inputs.items()}
            given |= {name: range for name, range in grids.items() if name in missing}
            if is_bounds(options.calibration):
                known.update(ranges_by_bounds(copy.main, missing, pixel_bounds(copy.main, options.preprocessing)))
            else:
                known.update(_observed(observation, {**missing, **ends}, options, wide, choices.whole))
                choices.extremes = observation.extremes({*missing} - {*given, *wide})
            known.update(given)
        if {*known} != {*missing, *ends}:
            unlike = sorted({*known} ^ {*missing, *ends})
            raise CalibrationError(
                "the network is quantised in another form than in the first shape, whose samples serve all of them",
                stage="calibration",
                expected=f"ranges for the same {len(known)} values",
                found=", ".join(unlike[:5]),
                hint="Compile an artifact for each shape.",
            )
        ranges.update(known)
    at_ends = {name: ranges.pop(name) for name in ends}
    if is_first and options.weights_bits < BITS and options.calibration is not None:
        choices.weights = learn_narrow_weights(copy, plan, ranges, observation, options, wide)
    elif is_first and "rounding" in methods:
        choices.weights = choose_weights(plan, choices, ranges, observation, wide)
    if is_first and interface is None:
        choices.prepared = prepared_network(copy, plan, choices, keep, forms, ranges, wide)
    apply_weights(copy, plan, choices)
    if interface is None:
        run_passes(post_training_pipeline(ranges, keep, wide=wide, **forms), copy, options)
        return
    radix = input_radix(interface, pixel_range(options) or at_ends[_INPUT])
    ranges = with_symmetric_outputs(copy.main, values, ranges)
    parameter = copy.main.parameters[0]
    ranges |= {name: covered(2.0**-radix) for name, value in values.items() if value is parameter}
    run_passes(post_training_pipeline(ranges, keep), copy, options)
    integers = integer_interface(copy, radix, lambda index: at_ends.get(_OUTPUT.format(index)))
    run_passes(interface_pipeline(integers), copy, options)


FAR = 1e6
"""Times the median, by which few numbers of a constant make much of small errors."""


def multiplied_far(main: Function, values: Iterable[Value]) -> list[str]:
    """What to tell of values that rest on integers and meet factors of which a few are far larger than the others, as
    the distances to endless depth of radiance fields: so is what rounding does to them."""
    rest, told = {*values}, []
    for op in main.ops:
        x = next((value for value in op.inputs if value in rest), None)
        if x is None:
            continue
        rest.update(op.results)
        for each in op.inputs if is_op(op, Mul) else ():
            factors = np.abs(each.array[each.array != 0]) if isinstance(each, Constant) else np.ones(1)
            if factors.size and factors.max() > FAR * np.median(factors):
                told.append(
                    f"{x.name!r} is multiplied by numbers of up to {factors.max():.4g}, half of which are at most "
                    f"{np.median(factors):.4g}: where they are large, so are the errors of its integers. 16 bits "
                    "(--wide) or floating point (--keep-float) help"
                )
    return told


HALF = "the network is in half precision: integers are made of it as if it were in single, inputs and outputs stay"
"""What is told of a network in float16."""


_INPUT, _OUTPUT = "input of the network", "output {} of the network"
"""What the ranges of the ends of a network go by."""


def _ends(main: Function) -> dict[str, Value]:
    found = {_INPUT: main.parameters[0]}
    return found | {_OUTPUT.format(index): value for index, value in enumerate(main.results)}


def _add_interface_to_quantized(
    module: Module, own: Range | None, options: CompileOptions, interface: Interface
) -> None:
    """Make the input and the outputs integers of a network whose own scales stay as they are.
    ``own``: the range that the network gives its input."""
    ends = _ends(module.main)
    needed = {} if options.calibration is None else ends
    observed = _observed(Observation(module, ends, options), needed, options) if needed else {}
    range = own or pixel_range(options) or observed.get(_INPUT)
    if range is None and interface.radix is None:
        raise NoCalibrationError(
            "nothing tells the range of the input",
            stage="interface",
            hint="Say with --kp-radix that it is q / 2^radix: 8 for KP_NORMALIZE_KNERON, otherwise 7.",
        )
    radix = input_radix(interface, range or (0.0, 0.0))
    integers = integer_interface(module, radix, lambda index: observed.get(_OUTPUT.format(index)))
    run_passes(interface_pipeline(integers), module, options)


def _check_bounds(options: CompileOptions, methods: Sequence[str], *, all_wide: bool) -> None:
    """Refuse options that need samples, or more than 8 bits of ranges without. Raises UsageError: names the option."""
    looking = [*(name for name in methods if name not in UNSEEN), *(["4 bits"] if options.weights_bits < BITS else [])]
    if looking:
        hint = "Give calibration data, or leave them out."
        raise UsageError("methods look at samples", stage="calibration", found=", ".join(looking), hint=hint)
    if not all_wide:
        raise UsageError(
            f"calibration by {BOUNDS} leaves 8 bits too few levels",
            stage="calibration",
            expected="activations of 16 bits, in no container",
            hint="Give --wide all, or samples.",
        )


def _observed(
    observation: Observation,
    values: Mapping[str, Value],
    options: CompileOptions,
    wide: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> dict[str, Range]:
    """The ranges of values on the samples of the options.
    ``wide``: names of those of 16 bits, which have integers enough for the whole range, and for twice that, so that
    nothing is cut off of what other samples make of them.
    ``whole``: names of others that have the whole range."""
    if options.calibration is not None:
        # What an input may be, and not what may be cut off of it.
        functions = {name: function_behind(value) for name, value in values.items()}
        known = {name: each for name, each in functions.items() if each is not None}
        found = observation.ranges(values, whole=(_INPUT, *wide, *whole), functions=known)
        # Others have encodings.
        return found | {name: (2 * found[name][0], 2 * found[name][1]) for name in wide if name in found}
    hint = (
        f"Give --calibration FOLDER of images, {SAMPLE_FILES}, or 'random' to try things out; "
        "or leave the network in floating point."
    )
    if options.encodings is None:
        message = "the model is in floating point, and int8 needs sample inputs to derive scales from"
        raise NoCalibrationError(message, stage="calibration", hint=hint)
    names = first_of([*map(repr, values)], 5)
    message = f"encodings file {os.fspath(options.encodings)!r} does not tell all ranges"
    expected = "8-bit integers with one scale for each activation"
    raise NoCalibrationError(message, stage="calibration", expected=expected, found=f"none for {names}", hint=hint)
