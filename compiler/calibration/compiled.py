"""Calibration on compiled kernels: the network with every observed value as an output."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...codegen.cpu.llvm.target import TargetDescription
from ...codegen.package import Package, add_engine
from ...codegen.time_limit import KERNELS
from ...ir.clone import clone_module
from ...ir.core import Module, Value
from ...runtime.artifact.artifact import Artifact
from ...runtime.session import load
from ..pipeline import cpu_pipeline
from ..progress import ProgressReport, silent
from .dataset import Inputs
from .observe import RunFunction

STAGE = f"{KERNELS} (calibration)"


def compiled(module: Module, values: Mapping[str, Value], report: ProgressReport = silent) -> RunFunction:
    """A run function on CPU kernels, which take milliseconds where the reference interpreter takes seconds.

    Args:
        values: parameters and results of ``module.main`` to return, by the name to return them under.
        report: called as the kernels are compiled.
    """
    positions = {value: index for index, value in enumerate(_values_of(module))}
    copy = clone_module(module)
    twins = _values_of(copy)
    parameters = {name: value.name for name, value in values.items() if value in module.main.parameters}
    computed = {name: twins[positions[value]] for name, value in values.items() if name not in parameters}
    copy.main.set_results(list(computed.values()), list(computed))
    cpu_pipeline().run(copy)
    package = Package(copy, "fp32", "calibration")
    target = TargetDescription.host()
    add_engine(package, "float", copy, target, report=lambda _, done, total: report(STAGE, done, total))
    session = load(Artifact.open(package.to_bytes()))

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        return {**session.run(inputs), **{name: inputs[source] for name, source in parameters.items()}}

    return run


def _values_of(module: Module) -> list[Value]:
    return [*module.main.parameters, *(value for op in module.main.ops for value in op.results)]
