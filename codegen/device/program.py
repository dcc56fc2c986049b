"""A planned and tiled device function as a program for the accelerator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.errors import CodegenError, TilewrightError

from ...ir.core import Function, Value
from ...runtime.isa import Program
from ...runtime.machine import Machine
from . import convolution, movement, vector
from .emit import Emitter, lowering_of
from .maps import MapView

FAMILIES = (convolution, movement, vector)
"""Importing them registers the lowerings."""


@dataclass(frozen=True)
class Port:
    """How an input or output of a device function lies in its region; distances in bytes.

    Attributes:
        value: the parameter or result.
        view: its place.
    """

    value: Value
    view: MapView


@dataclass(frozen=True)
class DeviceProgram:
    """A device function in binary form.

    Attributes:
        program: instructions, regions and the machine they were made for.
        constants: contents of the constants region.
        inputs, outputs: parameters and results in order.
    """

    program: Program
    constants: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


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
        emitter.begin_layer(op)
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
        tuple(Port(value, emitter.views[value]) for value in function.parameters),
        tuple(Port(value, emitter.views[value]) for value in function.results),
    )
