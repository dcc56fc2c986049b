"""Compiling a model from beginning to end: import, passes, code generation, artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tilewright
from tilewright.errors import UsageError

from ..codegen.cpu.target import TargetDescription
from ..codegen.package import Package, add_engine
from ..ir.core import Module
from ..passes import Instrument, Pass, Pipeline, Record
from ..runtime.artifact import Artifact, artifact_bytes, write_artifact
from .frontend.onnx import InputShapes, import_onnx
from .output import check_output
from .pipeline import float_pipeline

Report = Callable[[str, int, int], None]
"""Progress: called as ``report(stage, done, total)``."""

PRECISIONS = ("fp32",)

Model = str | os.PathLike[str] | bytes


def _silent(stage: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    Attributes:
        precision: ``fp32`` puts the whole network on CPU kernels.
        input_shapes: full shapes for the inputs that the model leaves open.
        strict: refuse a network with operators that have no kernel.
        target: the processor to generate kernels for; that of this machine by default.
        instruments: observers of the passes.
        report: called as the stages advance.
    """

    precision: str = "fp32"
    input_shapes: InputShapes | None = None
    strict: bool = False
    target: TargetDescription | None = None
    instruments: Sequence[Instrument] = ()
    report: Report = _silent

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError("unknown precision", expected=" or ".join(PRECISIONS), found=self.precision)


class _PassProgress:
    """Instrument that reports each pass of a pipeline."""

    def __init__(self, report: Report, stage: str, total: int) -> None:
        self._report = report
        self._stage = stage
        self._total = total

    def before(self, index: int, current: Pass, module: Module) -> None:
        self._report(self._stage, index, self._total)

    def after(self, index: int, current: Pass, module: Module, record: Record) -> None:
        self._report(self._stage, index + 1, self._total)


def run_passes(pipeline: Pipeline, module: Module, stage: str, options: CompileOptions) -> None:
    """Run a pipeline in place, watched by the instruments of ``options`` and with progress."""
    progress = _PassProgress(options.report, stage, len(pipeline.passes))
    pipeline.run(module, instruments=(*options.instruments, progress))


def build(model: Model, options: CompileOptions) -> Package:
    """Everything of an artifact, not yet written.

    Raises:
        ModelError: the model cannot be read or uses what is not supported.
        PassError: a pass failed.
        CodegenError: no code can be generated.
    """
    options.report("import", 0, 1)
    module = import_onnx(model, options.input_shapes)
    options.report("import", 1, 1)
    package = Package(module, options.precision, tilewright.__version__)
    run_passes(float_pipeline(), module, "passes (float)", options)
    add_engine(
        package,
        "float",
        module,
        options.target or TargetDescription.host(),
        strict=options.strict,
        report=options.report,
    )
    return package


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
