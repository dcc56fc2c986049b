"""A planned and tiled device function as a program for the accelerator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.errors import CodegenError, TilewrightError

from ...ir.core import Function
from ...runtime.artifact.manifest import FeatureMapRef
from ...runtime.isa import Program
from ...runtime.machine import Machine
from . import convolution, elementwise, movement, pooling, resize
from .emit import Emitter, lowering_of

FAMILIES = (convolution, elementwise, movement, pooling, resize)
"""Importing them registers the lowerings."""


@dataclass(frozen=True)
class DeviceProgram:
    """A device function in binary form.

    Attributes:
        program: instructions, regions and the machine they were made for.
        constants: contents of the constants region.
        inputs, outputs: how parameters and results lie in their regions, in order.
    """

    program: Program
    constants: bytes
    inputs: tuple[FeatureMapRef, ...]
    outputs: tuple[FeatureMapRef, ...]


def build_device_program(
    function: Function,
    machine: Machine,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> DeviceProgram:
    """Generate instructions for a function that has been tiled and has its DRAM addresses.

    Raises:
        CodegenError: an op has no device form, or its tile does not fit.
    """
    emitter = Emitter(function, machine)
    total = len(function)
    for index, op in enumerate(function.ops):
        lower = lowering_of(type(op.operator))
        if lower is None:
            raise CodegenError("the operator has no device form", op=op.name, node=op.node)
        emitter.layer = op.result.name
        try:
            lower(op, emitter)
        except TilewrightError as error:
            error.stage = error.stage or "device code"
            error.op = error.op or op.name
            error.node = error.node or op.node
            raise
        report(index + 1, total)
    program = emitter.assemble().finish()
    return DeviceProgram(
        program,
        bytes(emitter.constants),
        tuple(emitter.views[value].reference for value in function.parameters),
        tuple(emitter.views[value].reference for value in function.results),
    )
