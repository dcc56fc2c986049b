"""Compiling a model from beginning to end: import, passes, code generation, artifact."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import tilewright
from tilewright.errors import TilewrightError, UsageError, resources
from tilewright.limits import check_seconds

from ..codegen.cpu.constants import ConstantPool
from ..codegen.cpu.llvm.target import TargetDescription
from ..codegen.cpu.llvm.tiles import narrow_gain
from ..codegen.device.program import Assembled, assemble
from ..codegen.package import Package, add_device_arrays, add_device_programs, add_engine
from ..codegen.time_limit import TimeLimit
from ..ir.clone import clone_module, put_back
from ..ir.core import Module
from ..ir.ops import REGISTRY
from ..passes.base import Record, Verification
from ..passes.device.outline_device import device_part
from ..passes.device.share_batch import batch_of
from ..passes.device.tiling.tile_searches import shared_searches
from ..passes.instruments import Timing
from ..passes.named_ops import KEEP_FLOAT, find_named
from ..passes.pipeline import check_names
from ..passes.placement.partition import Partition, parse_order
from ..passes.quantization.quantize import Quantize
from ..runtime.artifact.artifact import Artifact, write_artifact
from ..runtime.commands.console import progress_bar
from ..runtime.files.output_file import check_artifact_name, check_output, is_stream
from ..runtime.machines.machine import DEFAULT as DEFAULT_MACHINE
from ..runtime.machines.machine import Machine, load_energy, samples
from ..runtime.machines.machine import load as load_machine
from ..runtime.pictures.inputs import ImageInput, ImageInputs, declared, fits, for_input, stored_inputs
from .affinity import Affinity, affinity_of
from .calibration.dataset import image_inputs
from .calibration.open_inputs import with_open_inputs
from .calibration.ranges import BITS, make_statistics
from .calibration.statistics import Findings
from .collection import rarely_collected
from .containers.interface import Interface, check_interface, interface_of, normalization_warnings, shapes_before
from .debug_outputs import kept_names, lost_names
from .declarations import option, with_keywords
from .device.plans import choose_plans
from .device.units import check_batch, check_units, clusters_of
from .frontend.control_flow import warnings_of
from .frontend.formats import Model, ModelProto, import_model, shapes_of
from .frontend.ir.document import Document
from .options import CompileOptions
from .pipeline import (
    cpu_pipeline,
    float_pipeline,
    kept_pipeline,
    observers,
    outline_pipeline,
    run_passes,
    schedule_pipeline,
    tile_pipeline,
)
from .progress import StageTimes
from .quantization.methods import Choices, methods_of
from .quantization.quantize import brings_quantization, quantize_module
from .quantization.wide_values import WIDE
from .report.details import answers, layers, maps, placement, schedules

NOTHING_PLACED = "nothing of the network runs on the accelerator; `tilewright inspect` says why, op by op"


@resources("compile")
@rarely_collected()
def build(
    model: Model, options: CompileOptions, interface: Interface | None = None, shared: Shared | None = None
) -> Package:
    """Everything of an artifact, not yet written.

    The passes are also watched by the instruments that the environment asks for.

    Args:
        interface: makes the input and the outputs of each engine the same integers; for precision int8.
        shared: what samples made of the same network by the same options, so that they are not looked at again.

    Raises:
        UsageError, InputError, ParseError: an option has a value that it cannot have, or no use.
        ResourceError: the model asks for more than the limits allow, or than this machine has.
        ModelError: the model cannot be read or uses what is not supported.
        CalibrationError: calibration data is needed and missing, or wrong.
        MachineError: the machine description is wrong, or options ask for more of the machine than there is.
        PassError: a pass failed.
        CodegenError: no code can be generated.
    """
    options = with_open_inputs(model, check_options(options))
    shapes = shapes_of(model, options.input_shapes, options.freeze)
    if interface is not None and len(shapes) > 1:
        shown = f"{shapes[0].text} and {shapes[1].text}"
        raise UsageError("a container holds a model in one shape", expected="one shape", found=shown)
    hint = "Give it more with --time-limit SECONDS."
    limit = TimeLimit(options.time_limit, "this model", stage="compile", hint=hint)
    timing, stages = Timing(), StageTimes(limit.watched(options.report))
    watching = (*observers(options), timing) if options.time_passes else observers(options)
    options = replace(options, instruments=tuple(watching), report=stages)
    machine = load_machine(os.fspath(options.machine or DEFAULT_MACHINE))
    targets = TargetDescription.several(options.target if options.target is not None else "host")
    build_shape = functools.partial(_build_shape, model, machine, targets, interface, shared or Shared())
    package = None
    for shape in shapes:
        try:
            made = build_shape(replace(options, input_shapes=shape.given), shape.extents)
        except TilewrightError as error:
            if len(shapes) > 1:
                error.message = f"in shape {shape.text}, {error.message}"
            raise
        if package is None:
            package = made
        else:
            package.add_shape(made)
    assert package is not None
    if options.time_passes:
        others = {stage: seconds for stage, seconds in stages.seconds.items() if not stage.startswith("passes")}
        timing.records += [Record(stage, seconds=seconds) for stage, seconds in others.items()]
        sys.stderr.write(f"{timing}\n")
    return package


@dataclass
class Shared:
    """What the shapes of a network have in common: what calibration chose for the first, and constants."""

    choices: Choices = field(default_factory=Choices)
    findings: Findings = field(default_factory=Findings)
    pool: ConstantPool = field(default_factory=ConstantPool)


def _build_shape(
    model: Model,
    machine: Machine,
    targets: Sequence[TargetDescription],
    interface: Interface | None,
    shared: Shared,
    options: CompileOptions,
    extents: Mapping[str, int],
) -> Package:
    """Everything of an artifact of one shape."""
    places = affinity_of(options.affinity or ())
    options.report("import", 0, 1)
    module = import_model(model, options.input_shapes, options.external_data, options.freeze, options.bounds)
    options.report("import", 1, 1)
    find_named(module.ops, dict(places), "the affinity", Partition.name)
    find_named(module.ops, options.keep_float, KEEP_FLOAT, Quantize.name, REGISTRY)
    keep = kept_names(module, options.keep)
    if interface is not None:
        check_interface(module)
    has_scales = bool(_ranges_from(options)) or brings_quantization(module)
    precision = options.precision or ("int8" if has_scales else "fp32")
    engines = options.engines_for(precision)
    narrow = min(map(narrow_gain, targets)) if precision == "bf16" else 0
    if precision != "int8":
        for flag in options.given("int8"):
            raise UsageError(
                f"{flag} is for precision int8; in {precision} the whole network runs on the CPU",
                hint=f"Give --precision int8, or leave {flag} out.",
            )
        check_names(options.print_after or (), [each.name for each in float_pipeline(narrow=narrow).passes])
    else:
        check_units(options, machine)
        check_batch(options, machine, batch_of(module))
    findings, quantized = shared.findings, None
    if precision == "int8":
        quantized = quantize_module(module, replace(options, engines=engines), interface, shared.choices, findings)
    details: dict[str, object] = {}
    if quantized is not None and interface is None:
        details = {"warnings": without_effect(module, options)}
    elif quantized is not None and interface is not None:
        details = {"warnings": normalization_warnings(options), **shapes_before(module)}
        interface_of(quantized).run(module)
    if interface is None:
        calibrated = quantized is not None and not brings_quantization(module)
        if images := images_of(module, options, calibrated=calibrated):
            details["images"] = {name: asdict(each) for name, each in images.items()}
    if keep and interface is not None:
        raise UsageError("--keep is for artifacts", hint="Leave it out for a container.")
    if keep and quantized is not None and "float" in engines:
        hint = "Give --engines float or --engines software."
        raise UsageError("with --keep, all engines must compute in integers, or none", hint=hint)
    details["calibration"] = [asdict(each) for each in findings.inputs]
    details["warnings"] = [*cast("list[str]", details.get("warnings", [])), *findings.warnings, *warnings_of(module)]
    details |= answers(module)
    if "elements" in module.metadata:
        details["elements"] = json.loads(module.metadata["elements"])
    package = Package(module, precision, tilewright.__version__, details, pool=shared.pool, extents=extents)
    if quantized is not None:
        run_passes(kept_pipeline(keep), quantized, options)
        package.add_kept(quantized)
        _add_integer_engines(package, quantized, engines, targets, machine, places, options)
    if "float" in engines:
        floating = clone_module(module)
        run_passes(float_pipeline(exact=options.accuracy == "exact", narrow=narrow, keep=keep), floating, options)
        package.add_kept(floating)
        package.details.setdefault("layers", [asdict(layer) for layer in layers(floating)])
        add_engine(package, "float", floating, targets, strict=options.strict, report=options.report)
    cast("list[str]", package.details["warnings"]).extend(lost_names(keep, package))
    return package


def check_options(options: CompileOptions) -> CompileOptions:
    """Refuse values that an option cannot have, and options that have no use, before any work.

    Returns:
        The options, checked.

    Raises:
        UsageError: names the option.
    """
    options = options.checked()
    if options.calibration is None:
        for flag in options.given("calibration"):
            hint = f"Give calibration data, or leave {flag} out."
            raise UsageError(f"{flag} has no use without calibration data", hint=hint)
    parse_order(options.devices)
    make_statistics(options.calibration_method, options.percentile)
    if options.calibration_method != "percentile" and options.percentile != CompileOptions.percentile:
        hint = "Give --calibration-method percentile, or leave --percentile out."
        raise UsageError(f"--percentile has no use for the method {options.calibration_method}", hint=hint)
    methods_of(options.methods)
    declared(options.preprocessing)
    check_names(options.print_after or ())
    check_seconds("--time-limit", options.time_limit)
    return options


def _ranges_from(options: CompileOptions) -> list[str]:
    """What the options give beside the model for ranges to come from, in words that begin a clause."""
    given = {"calibration data was": options.calibration, "encodings were": options.encodings}
    return [words for words, source in given.items() if source is not None]


def without_effect(module: Module, options: CompileOptions) -> list[str]:
    """What to tell of options that do nothing for a network that brings its integers."""
    if not brings_quantization(module):
        return []
    words = [f"the {' and the '.join(unused)} not used"] if (unused := _ranges_from(options)) else []
    named = {KEEP_FLOAT: options.keep_float, WIDE: options.wide}
    words += [f"{flag} has no effect, what it names is as the model has it" for flag, names in named.items() if names]
    for name, each in ImageInputs.of(module.metadata.get("images", "")).inputs.items():
        known, asked = each.read(name), for_input(options.preprocessing, name).preprocessing
        if options.preprocessing is not None and (differences := known.differences(asked)):
            texts = known.text(differences), asked.text(differences)
            words.append(f"input {name!r} is prepared by {texts[1]}, and was calibrated with {texts[0]}")
    return [f"the model is already quantised: {each}" for each in words]


def images_of(module: Module, options: CompileOptions, *, calibrated: bool) -> dict[str, ImageInput]:
    """How images become inputs, for whoever runs the network; empty if that is not known."""
    inputs = {each.name: (each.type.shape, each.type.dtype.numpy) for each in module.main.parameters}
    used = image_inputs(options.calibration, inputs) if calibrated else ()
    if not used and options.preprocessing is None:
        known = ImageInputs.of(module.metadata.get("images", "")).inputs
        return {name: each for name, each in known.items() if name in inputs and fits(each.read(name), *inputs[name])}
    return stored_inputs(options.preprocessing, inputs, used)


def _add_integer_engines(
    package: Package,
    quantized: Module,
    engines: Sequence[str],
    targets: Sequence[TargetDescription],
    machine: Machine,
    places: Affinity,
    options: CompileOptions,
) -> None:
    if "software" in engines:
        software = clone_module(quantized)
        run_passes(cpu_pipeline(), software, options)
        package.details["layers"] = [asdict(layer) for layer in layers(software)]
        add_engine(package, "software", software, targets, strict=options.strict, report=options.report)
    if "device" not in engines:
        return
    machine_name = os.fspath(options.machine or DEFAULT_MACHINE)
    quantized, assembled = _on_device(quantized, machine_name, places, options)
    package.details["machine"] = machine.name
    energy = load_energy(machine_name)
    if energy is not None and machine_name.lower() not in samples():
        package.details["energy"] = asdict(energy)
    package.details["placement"] = [asdict(op) for op in placement(quantized)]
    package.details["layers"] = [asdict(layer) for layer in layers(quantized)]
    package.details["schedules"] = [asdict(each) for each in schedules(quantized, assembled, options.effort)]
    package.details["maps"] = [asdict(each) for each in maps(quantized)]
    add_device_programs(package, quantized, assembled)
    if not package.device_programs and "device" in options.devices:
        cast("list[str]", package.details["warnings"]).append(NOTHING_PLACED)
    add_engine(package, "device", quantized, targets, strict=options.strict, report=options.report)
    if "software" in engines:
        add_device_arrays(package, quantized)


@shared_searches()
def _on_device(
    quantized: Module, machine_name: str, places: Affinity, options: CompileOptions
) -> tuple[Module, dict[str, Assembled]]:
    """The module with ops placed, and its device functions as instructions, by name.

    What is stored of the device's functions, and what reports read, are their ops and not the tiles of these."""
    placed = clone_module(quantized)
    machine = load_machine(machine_name)
    clusters = clusters_of(options, machine)
    # A card for images of its own where there are enough of them, otherwise for some of the layers.
    cards, split = (1, options.cards) if options.cards > batch_of(quantized) else (options.cards, 1)
    shares = clusters, cards, options.images_per_cluster or 0, split
    run_passes(outline_pipeline(machine_name, places, options.devices, *shares), placed, options)
    schedule, tile = schedule_pipeline(machine_name, options.stationary, clusters), tile_pipeline(machine_name)
    report = functools.partial(options.report, "schedules")
    drafts = choose_plans(placed, machine, schedule, tile, clusters, options.effort, report)
    is_watched = options.instruments or Verification.from_environment() is Verification.FULL
    if is_watched:
        run_passes(schedule, placed, options)
    else:
        for draft in drafts.values():
            put_back(placed, draft.function)
        for each in schedule.passes:
            each.check(placed)
    run_passes(cpu_pipeline("device"), placed, options)
    if not is_watched:
        for draft in drafts.values():
            tile.passes[-1].check(draft.module)
        return placed, {name: draft.assembled for name, draft in drafts.items()}
    # Whoever watches sees the passes that made the draft once more.
    tiles = device_part(placed)
    run_passes(tile, tiles, options)
    return placed, {name: assemble(function, machine) for name, function in tiles.functions.items()}


def compile_to_file(
    model: Model, output: str | os.PathLike[str], options: CompileOptions, shared: Shared | None = None
) -> Artifact:
    """Compile ``model`` into the file ``output``, complete or not at all; arguments as for :func:`build`.
    Raises TilewrightError: see :func:`build`; OutputError if the file cannot be written."""
    check_output(output, source=model)
    check_artifact_name(output)
    cannot_be_read_back = is_stream(output)
    package = build(model, options, shared=shared)
    options.report("write", 0, 1)
    write_artifact(output, package.manifest(), package.sections, is_packed=options.weights_bits < BITS)
    options.report("write", 1, 1)
    return Artifact.open(package.to_bytes() if cannot_be_read_back else output)


def compile_to_memory(model: Model, options: CompileOptions) -> Artifact:
    """Compile ``model`` without writing a file. Raises TilewrightError: see :func:`build`."""
    package = build(model, options)
    return Artifact.open(package.to_bytes())


@dataclass(frozen=True, kw_only=True)
class Compilation(CompileOptions):
    """What ``tilewright.compile`` takes: the options, and what to compile where."""

    model: str | os.PathLike[str] | bytes | ModelProto | Document = field(
        kw_only=False,
        metadata={
            "documentation": "The path or the contents of an ONNX model, or one that onnx has loaded; or the path of "
            "an .xml file of Inference Engine IR, whose .bin file lies beside it."
        },
    )
    output: str | os.PathLike[str] | None = option(None, "The file to write; without it the artifact stays in memory.")
    progress: bool = option(False, "Show a progress bar on stderr if that is a terminal.")


@with_keywords(Compilation, "tilewright.compile")
@resources("compile")
def compile_model(compilation: Compilation) -> Artifact:
    """Compile a model, ONNX or IR; this is ``tilewright.compile``.

    Raises:
        TilewrightError: see :func:`build`; OutputError if the file cannot be written.
    """
    model, output = compilation.model, compilation.output
    with progress_bar(quiet=not compilation.progress) as report:
        options = replace(compilation, report=report) if compilation.progress else compilation
        return compile_to_memory(model, options) if output is None else compile_to_file(model, output, options)
