"""How to compile: what the user chose, and running passes the way that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.errors import UsageError

from ..codegen.cpu.llvm.target import TargetDescription
from ..ir.core import Module
from ..passes.base import Pass, Record
from ..passes.instruments import Instrument
from ..passes.pipeline import Pipeline
from ..passes.placement.partition import parse_order
from .affinity import Affinity
from .calibration.dataset import Source
from .calibration.preprocessing import Preprocessing
from .console import ProgressReport, silent
from .frontend.onnx.reader import InputShapes

PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    Attributes:
        precision: ``fp32`` puts the whole network on CPU kernels; ``int8`` quantises it, puts what it can on the
            accelerator, and adds the engines ``software`` (the same integers on the CPU) and ``float``. By default
            ``int8`` for models that bring their quantisation along or with calibration data, ``fp32`` for others.
        machine: the accelerator: name of a sample (``m4096``, ``s256``) or path of a machine description.
        calibration: sample inputs to derive scales from, see
            :func:`tilewright.compiler.calibration.dataset.open_calibration_set`.
        preprocessing: how calibration images become inputs.
        calibration_limit: use at most so many samples.
        calibration_method: ``mse``, ``minmax`` or ``percentile``.
        percentile: for the method of that name.
        affinity: (name of a node or value, place) pairs that the user chose.
        devices: places by preference; ``cpu`` alone keeps everything off the device.
        input_shapes: full shapes for the inputs that the model leaves open.
        strict: refuse a network with operators that have no kernel.
        target: the processor to generate kernels for; that of this machine by default.
        instruments: observers of the passes.
        report: called as the stages advance.
    """

    precision: str | None = None
    machine: str = "m4096"
    calibration: Source | None = None
    preprocessing: Preprocessing | None = None
    calibration_limit: int | None = None
    calibration_method: str = "mse"
    percentile: float = 99.99
    affinity: Affinity = ()
    devices: str = "device,cpu"
    input_shapes: InputShapes | None = None
    strict: bool = False
    target: TargetDescription | None = None
    instruments: Sequence[Instrument] = ()
    report: ProgressReport = silent

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError("unknown precision", expected=" or ".join(PRECISIONS), found=self.precision)
        parse_order(self.devices)


class _PassProgress:
    """Instrument that reports each pass of a pipeline."""

    def __init__(self, report: ProgressReport, stage: str, total: int) -> None:
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
