"""Compiling a model from beginning to end: import, passes, code generation, artifact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import tilewright
from tilewright.errors import UsageError

from ..codegen.cpu.llvm.target import TargetDescription
from ..codegen.package import Package, add_engine
from ..ir.clone import clone_module
from ..ir.core import Module
from ..passes.instruments import instruments_from_environment
from ..runtime.artifact.artifact import Artifact, artifact_bytes, write_artifact
from ..runtime.machine import Machine
from ..runtime.machine import load as load_machine
from .affinity import Affinity, affinity_of, read_affinity
from .calibration.dataset import Source
from .calibration.preprocessing import Preprocessing
from .console import Diagnostics
from .frontend.onnx.reader import InputShapes, import_onnx
from .options import CompileOptions, run_passes
from .output import check_output
from .pipeline import cpu_pipeline, device_pipeline, float_pipeline
from .quantization import brings_quantization, quantize_module
from .report.placement import placement

Model = str | os.PathLike[str] | bytes


def build(model: Model, options: CompileOptions) -> Package:
    """Everything of an artifact, not yet written.

    The passes are also watched by the instruments that the environment asks for.

    Raises:
        ModelError: the model cannot be read or uses what is not supported.
        CalibrationError: calibration data is needed and missing, or wrong.
        MachineError: the machine description is wrong.
        PassError: a pass failed.
        CodegenError: no code can be generated.
    """
    options = replace(options, instruments=(*options.instruments, *instruments_from_environment()))
    machine = load_machine(options.machine)
    options.report("import", 0, 1)
    module = import_onnx(model, options.input_shapes)
    options.report("import", 1, 1)
    precision = options.precision or default_precision(module, options)
    if options.affinity and precision != "int8":
        raise UsageError(
            "places are for precision int8; in fp32 the whole network runs on the CPU",
            hint="Give --calibration or --precision int8, or leave the affinity out.",
        )
    package = Package(module, precision, tilewright.__version__)
    target = options.target or TargetDescription.host()
    if precision == "int8":
        _add_integer_engines(package, module, target, machine, options)
    floating = clone_module(module)
    run_passes(float_pipeline(), floating, "passes (float)", options)
    add_engine(package, "float", floating, target, strict=options.strict, report=options.report)
    return package


def default_precision(module: Module, options: CompileOptions) -> str:
    """``int8`` where scales are at hand, ``fp32`` elsewhere."""
    return "int8" if options.calibration is not None or brings_quantization(module) else "fp32"


def _add_integer_engines(
    package: Package, module: Module, target: TargetDescription, machine: Machine, options: CompileOptions
) -> None:
    quantized = quantize_module(module, options)
    software = clone_module(quantized)
    run_passes(cpu_pipeline(), software, "passes (software)", options)
    pipeline = device_pipeline(options.machine, options.affinity, options.devices)
    run_passes(pipeline, quantized, "passes (device)", options)
    package.details["machine"] = machine.name
    package.details["placement"] = placement(quantized)
    for name, variant in (("device", quantized), ("software", software)):
        add_engine(package, name, variant, target, machine=machine, strict=options.strict, report=options.report)


def compile_model(
    model: Model,
    *,
    output: str | os.PathLike[str] | None = None,
    machine: str = "m4096",
    calibration: Source | None = None,
    preprocessing: Preprocessing | str | None = None,
    precision: str | None = None,
    affinity: Mapping[str, str] | str | os.PathLike[str] | None = None,
    input_shapes: InputShapes | None = None,
    strict: bool = False,
    progress: bool = False,
) -> Artifact:
    """Compile an ONNX model; this is ``tilewright.compile``.

    Args:
        model: path or contents of the model.
        output: the file to write; the artifact stays in memory without it.
        machine, calibration, precision, input_shapes, strict: see :class:`CompileOptions`.
        preprocessing: how calibration images become inputs; text as for ``--preprocess``.
        affinity: places by name of a node or value, or the path of an affinity file.
        progress: show a progress bar on stderr where that is a terminal.

    Raises:
        TilewrightError: see :func:`build`; ArtifactError if the file cannot be written.
    """
    if isinstance(preprocessing, str):
        preprocessing = Preprocessing.parse(preprocessing)
    places: Affinity = ()
    if affinity is not None:
        places = affinity_of(affinity) if isinstance(affinity, Mapping) else read_affinity(affinity)
    with Diagnostics(quiet=not progress).progress() as report:
        options = CompileOptions(
            precision=precision,
            machine=machine,
            calibration=calibration,
            preprocessing=preprocessing,
            affinity=places,
            input_shapes=input_shapes,
            strict=strict,
            report=report,
        )
        return compile_to_memory(model, options) if output is None else compile_to_file(model, output, options)


def compile_to_file(model: Model, output: str | os.PathLike[str], options: CompileOptions) -> Artifact:
    """Compile ``model`` into the file ``output``, complete or not at all.

    Raises:
        TilewrightError: see :func:`build`; ArtifactError if the file cannot be written.
    """
    check_output(model, output)
    package = build(model, options)
    options.report("write", 0, 1)
    write_artifact(output, package.manifest(), package.sections)
    options.report("write", 1, 1)
    return Artifact.open(output)


def compile_to_memory(model: Model, options: CompileOptions) -> Artifact:
    """Compile ``model`` without writing a file.

    Raises:
        TilewrightError: see :func:`build`.
    """
    package = build(model, options)
    return Artifact.open(artifact_bytes(package.manifest(), package.sections))
