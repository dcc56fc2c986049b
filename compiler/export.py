"""Writing a network as an ONNX model, as IR, or for C: ``tilewright export`` and ``tilewright.export``."""

from __future__ import annotations

import functools
import math
import os
import re
from collections import Counter
from collections.abc import Set
from dataclasses import fields, replace
from pathlib import Path

from tilewright.errors import ArtifactError, CalibrationWarning, UsageError, resources, warn
from tilewright.limits import check_seconds

from ..codegen.c_library import c_library, exportable
from ..codegen.cpu.llvm.target import TargetDescription
from ..codegen.time_limit import KERNELS
from ..ir.core import Module
from ..ir.text.names import Names
from ..passes.cpu.real_results import RealResults
from ..passes.cpu.unsigned_activations import UnsignedActivations
from ..passes.pipeline import Pipeline
from ..passes.quantization.symmetric_weights import SymmetricWeights
from ..runtime.artifact.artifact import Artifact
from ..runtime.files.output_file import check_output, make_folder, write_file
from ..runtime.pictures.inputs import ImageInputs
from .calibration.open_inputs import with_open_inputs
from .calibration.statistics import Findings
from .declarations import check_type, with_keywords
from .driver import check_options, images_of, without_effect
from .frontend.formats import Model, ModelProto, further_files, import_model, is_ir, read_module
from .frontend.ir.document import Document
from .frontend.ir.exporter import export_document
from .frontend.ir.writer import weights_path, write_document
from .frontend.onnx.large_models import data_path, write_model
from .frontend.onnx.writer import export_onnx
from .options import ACTIVATIONS, CALIBRATION, FORMS, IMPORTED, CompileOptions, Exporting
from .pipeline import run_passes
from .progress import ProgressReport, silent
from .quantization.methods import Choices, exported
from .quantization.quantize import brings_quantization, quantize_module

_NO_OPERATORS = ("Parameter", "Const", "Result")

_TAKEN = (*CALIBRATION, *IMPORTED, "external_data", "report")
"""The options that have a use here."""


@with_keywords(Exporting, "tilewright.export")
@resources("export")
def export_model(exporting: Exporting) -> dict[str, int]:
    """Write a network as an ONNX model or as IR, for other tools; this is ``tilewright.export``.

    Of the options, only those that say how to read and to quantise a model have a use.

    Returns:
        How many nodes of each operator were written; of IR, how many layers of each type, without those that only hold
        constants and stand for inputs and outputs.

    Raises:
        UsageError: an option has a value that it cannot have, or no use; the output is the model.
        ModelError: the model cannot be read, or holds what the format has no form for.
        UnsupportedError: the network is too large for an ONNX file, and the output is a stream.
        CalibrationError: calibration data is needed and missing, or wrong.
        OutputError: the output cannot be written.
    """
    for each in fields(CompileOptions):
        given = getattr(exporting, each.name)
        if each.name not in _TAKEN and check_type(each.name, given, str(each.type)) != each.default:
            raise UsageError(f"option {each.name!r} has no use for what is exported", hint="Leave it out.")
    return export_by(exporting.model, exporting.output, exporting, exporting.quantized, exporting.activations)


def export_by(
    model: Model,
    output: str | os.PathLike[str],
    options: CompileOptions,
    quantized: str | None = None,
    activations: str | None = None,
    choices: Choices | None = None,
) -> dict[str, int]:
    """As :func:`export_model`, whose arguments the options have. ``choices``: what samples made of the network."""
    if quantized is not None and quantized not in FORMS:
        raise UsageError("unknown form of a quantised network", expected=" or ".join(FORMS), found=quantized)
    if activations not in (None, *ACTIVATIONS):
        raise UsageError("unknown type of activations", expected=" or ".join(ACTIVATIONS), found=activations)
    as_ir = is_ir(output)
    if as_ir and quantized not in (None, "qdq"):
        hint = "Give --quantized qdq, or write ONNX."
        raise UsageError("IR has no operators on integers", expected="qdq", found=quantized, hint=hint)
    if options.calibration is None and options.preprocessing is not None:
        hint = "Give calibration data, or leave --preprocess out."
        raise UsageError("--preprocess has no use without calibration data", hint=hint)
    check_type("model", model, "str | os.PathLike[str] | bytes | ModelProto | Document")
    check_type("output", output, "str | os.PathLike[str]")
    unused = [*options.given("int8"), *(["--activations"] if activations else [])]
    for flag in unused if quantized is None else ():
        hint = f"Give --quantized {FORMS[0]}, or leave {flag} out."
        raise UsageError(f"{flag} is for quantised networks", hint=hint)
    options = with_open_inputs(model, check_options(options))
    options = replace(options, methods=exported(options.methods))
    check_model_output(output, model, options.external_data)
    given = options.input_shapes or {}, options.external_data, options.freeze, options.bounds
    if isinstance(model, (bytes, ModelProto, Document)):
        module = import_model(model, *given)
    else:
        module = read_module(Path(model), *given)
    if quantized is not None:
        brings = brings_quantization(module)
        if options.calibration is not None and brings:
            raise UsageError("the network is already quantised", hint="Leave --calibration out.")
        if images := images_of(module, options, calibrated=not brings):
            module.metadata["images"] = ImageInputs(images).to_text()
        findings, unused = Findings(), without_effect(module, options)
        tensors = {value.name for op in module.main.ops for value in op.results}
        module = quantize_module(module, options, None, choices, findings)
        _rename_other_numbers(module, tensors)
        for each in (*unused, *findings.warnings):
            warn(each, CalibrationWarning)
        is_signed = (activations or ACTIVATIONS[FORMS.index(quantized)]) == "int8"
        signed = UnsignedActivations(signed=is_signed, exact=False)
        # No QLinear operator gives real numbers.
        further = SymmetricWeights(rounds=not brings) if quantized == "qdq" else RealResults()
        run_passes(Pipeline((signed, further), "export"), module, options)
        # IR spells conversions as layers of real numbers, like the others of this form.
        module = import_model(export_onnx(module, is_qdq=True)) if as_ir else module
    if as_ir:
        document = export_document(module)
        write_document(document, output)
        kinds = (layer.type for layer in document.layers.values() if layer.type not in _NO_OPERATORS)
        return dict(Counter(kinds).most_common())
    written = export_onnx(module, is_qdq=quantized == "qdq")
    write_model(output, written)
    return dict(Counter(node.op_type for node in written.graph.node).most_common())


def _rename_other_numbers(module: Module, tensors: Set[str]) -> None:
    """What holds no tensor of the source, as what was divided on its way, does not have the name of one."""
    values = [value for op in module.main.ops for value in op.results]
    names = Names(value.name for value in values)
    for value in values:
        if value.origin is None and value.name in tensors and not value.is_returned:
            value.name = names.take(f"{value.name}_scaled")


def check_model_output(
    output: str | os.PathLike[str], model: Model, external_data: str | os.PathLike[str] | None = None
) -> None:
    """As `check_output`, for the file of a model that is made of another one, and for that of its constants, which is
    none of those that the other one's are read from."""
    check_output(output, source=model)
    constants = weights_path(output) if is_ir(output) else data_path(output)
    if os.path.exists(constants) or is_ir(output):
        for each in (model, *further_files(model, external_data)):
            check_output(constants, source=each)


@resources("export")
def export_c(
    artifact: Artifact | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    engine: str | None = None,
    target: str = "host",
    name: str | None = None,
    time_limit: float | None = None,
    report: ProgressReport = silent,
) -> dict[str, int]:
    """Write a network of an artifact for programs in C, C++ and Rust.

    Args:
        folder: where the files go; it is made if it is not there.
        engine: ``software`` or ``float``; by default the first of these that the artifact holds.
        target: the processor that code is generated for, as for ``tilewright.compile``.
        name: what files and names in C begin with; by default the model's name.
        time_limit: seconds of processor time that making the kernels may take. By default there is no limit for an
            artifact that is trusted, made here for example; for others 7, and one more for each 50 KB of it.

    Returns:
        Sizes in bytes of the files, by name.

    Raises:
        UsageError, UnsupportedError: as `c_library` says.
        ArtifactError: the artifact is damaged, or does not hold the engine.
        OutputError: a file cannot be written.
    """
    check_seconds("time_limit", time_limit)
    opened = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    held = [each for each in opened.manifest.engines if engine in (None, each)]
    if not held:
        known = " or ".join(exportable(opened)) or None
        raise ArtifactError(f"{opened.origin} does not hold engine {engine!r}", stage="export", expected=known)
    chosen = next((each for each in ("software", "float") if each in held), held[0])
    processor, *others = TargetDescription.several(target)
    if others:
        hint = "Export once for each, into folders of their own."
        raise UsageError("an object is for one target", stage="export", found=target, hint=hint)
    name = name or re.sub(r"[^A-Za-z0-9]", "_", opened.manifest.model.name) or "network"
    name = f"_{name}" if name[0].isdigit() else name
    if time_limit is None and opened.judge().trusted:
        time_limit = math.inf
    progress = functools.partial(report, KERNELS)
    files = c_library(opened, chosen, processor, name, progress, seconds=time_limit)
    make_folder(Path(folder))
    for each, content in files.items():
        write_file(Path(folder) / each, content)
    return {each: len(content) for each, content in files.items()}
