"""Other weights in an artifact: the module that it stores is changed, and its engine generated anew."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

import tilewright
from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ..codegen.cpu.constants import ConstantPool
from ..codegen.cpu.llvm.target import TargetDescription
from ..codegen.device.program import Assembled, assemble
from ..codegen.package import Package, add_device_arrays, add_device_programs, add_engine
from ..codegen.stored_module import load_device_module, load_module
from ..codegen.time_limit import generation_limit
from ..ir.accumulators import is_accumulating, overflowing_channels
from ..ir.core import Constant, Module, Op, Value, is_op
from ..ir.ops.call import Call
from ..ir.ops.convolution import Conv
from ..ir.ops.matmul import MatMul
from ..passes.device.cascade_rows import cascade
from ..passes.device.lower_to_tiles import LowerToTiles
from ..passes.device.order_tiles import order as order_tiles
from ..passes.device.outline_device import device_part, planned_machine
from ..passes.device.planning.check_scratchpads import check_scratchpads
from ..passes.device.planning.plan_scratchpads import plan as plan_scratchpads
from ..runtime.artifact.artifact import Artifact, artifact_bytes
from ..runtime.execution.device import program_names, read_programs
from ..runtime.machines.machine import Machine
from .progress import silent

_WEIGHTS, _BIAS = 1, 2
"""Positions of the operands."""


class WeightedLayer(Immutable):
    """A convolution or a matrix product with constant weights, as an engine computes it.

    Attributes:
        name: the nodes of the source model that it comes from, joined by commas.
        weights: as stored: integers or real numbers [outputs, inputs, *kernel], read-only.
        bias: as stored, [outputs]: real numbers, or integers of the input's scale times that of the weights. None where
            there is none.
        scale: float32, and ``zero_point``, int64, of integers: [outputs, 1, …], or [1, 1, …] for all; 1 and 0 of
            real numbers.
        input_scale: of integers that it is given; 1 of real numbers.
    """

    name: str
    weights: np.ndarray
    bias: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    input_scale: float

    @property
    def is_quantized(self) -> bool:
        """Whether the weights are integers."""
        return self.weights.dtype.kind in "iu"

    def real(self, stored: np.ndarray) -> np.ndarray:
        """What stored weights, of the shape of this layer's, stand for: float32."""
        return (stored.astype(np.float32) - self.zero_point.astype(np.float32)) * self.scale

    def stored(self, real: np.ndarray) -> np.ndarray:
        """Real weights, of the shape of this layer's, as it stores them: integers are rounded to even and saturate."""
        if not self.is_quantized:
            return real.astype(self.weights.dtype)
        bounds = np.iinfo(self.weights.dtype)
        integers = np.rint(real.astype(np.float32) / self.scale) + self.zero_point
        return np.clip(integers, bounds.min, bounds.max).astype(self.weights.dtype)

    def stored_bias(self, real: np.ndarray) -> np.ndarray:
        """A real bias [outputs] as it stores one."""
        if not self.is_quantized:
            return real.astype(np.float32)
        scale = np.broadcast_to(self.scale.reshape(-1), real.shape).astype(np.float64) * self.input_scale
        return np.clip(np.rint(real / scale), -(2**31), 2**31 - 1).astype(np.int32)


class Parameters(Immutable):
    """What a layer gets in place of its own, as it stores them; None for what it keeps."""

    weights: np.ndarray | None = None
    bias: np.ndarray | None = None


class _Modules(Immutable):
    """What an engine was generated from: the program of the host, and a function for each program of the device."""

    host: Module
    device: Mapping[str, Module]

    def layers(self) -> Iterator[tuple[Module, Op]]:
        """Each op that has constant weights, in order of execution, and the module that it is in."""
        for op in self.host.main.ops:
            if is_op(op, Call):
                inner = self.device[op.operator.callee]
                yield from ((inner, each) for each in inner.ops if _has_weights(each))
            elif _has_weights(op):
                yield self.host, op


def _load(artifact: Artifact, engine: str) -> _Modules:
    described = artifact.manifest.engines[engine]
    if described.cpu_program is None:
        raise InputError(f"engine {engine!r} of {artifact.origin} has no program of the host to change")
    device = {name: load_device_module(artifact, name) for name in program_names(described)}
    return _Modules(load_module(artifact, described.cpu_program), device)


def _has_weights(op: Op) -> bool:
    return is_op(op, Conv, MatMul) and isinstance(op.operands[_WEIGHTS], Constant)


def _constant(value: Value | None) -> Constant | None:
    return value if isinstance(value, Constant) else None


def _name(op: Op) -> str:
    return op.node or op.result.name


def _by_outputs(op: Op, array: np.ndarray) -> np.ndarray:
    """Weights as stored to [outputs, inputs, …], and back."""
    is_transposed = isinstance(op.operator, MatMul) and not op.operator.transpose_b
    return np.swapaxes(array, -1, -2) if is_transposed else array


def layers_of(artifact: Artifact, engine: str) -> tuple[WeightedLayer, ...]:
    """The layers with weights of an engine, in the order in which they are computed."""
    return tuple(_layer(op) for _, op in _load(artifact, engine).layers())


def last_layer(artifact: Artifact, engine: str) -> WeightedLayer:
    """The last layer with weights of an engine. Raises InputError: it has none; and as `layers_of`."""
    found = layers_of(artifact, engine)
    if not found:
        raise InputError(f"no layer of {os.fspath(artifact.origin)!r} has weights")
    return found[-1]


def _layer(op: Op) -> WeightedLayer:
    stored, bias = _constant(op.operands[_WEIGHTS]), _constant(op.operands[_BIAS] if len(op.operands) > _BIAS else None)
    assert stored is not None
    quant, given = stored.type.quant, op.inputs[0].type.quant
    rank = stored.array.ndim
    scale, zero = quant.broadcast(rank) if quant is not None else (np.ones(1, np.float32), np.zeros(1, np.int64))
    if scale.ndim == rank:
        scale, zero = _by_outputs(op, scale), _by_outputs(op, zero)
    return WeightedLayer(
        _name(op),
        _by_outputs(op, stored.array),
        None if bias is None else bias.array,
        scale,
        zero,
        given.scale[0] if given is not None else 1.0,
    )


def with_parameters(artifact: Artifact, engine: str, parameters: Mapping[str, Parameters]) -> Artifact:
    """An artifact in memory that holds this engine alone, with other weights or biases in some of its layers, in all of
    its shapes.

    Everything that was folded from them is derived anew, and everything else is as it was: with a layer's own weights
    no byte of any result differs."""
    pool = ConstantPool()
    first, *others = (_changed(each, engine, parameters, pool) for each in artifact.in_shapes())
    for other in others:
        first.add_shape(other)
    described = replace(first.manifest(), model=artifact.manifest.model)
    return Artifact.open(artifact_bytes(described, first.sections))


def _changed(artifact: Artifact, engine: str, parameters: Mapping[str, Parameters], pool: ConstantPool) -> Package:
    """An engine in one shape, with other parameters."""
    modules = _load(artifact, engine)
    known = {_name(op) for _, op in modules.layers()}
    for name in parameters:
        if name not in known:
            raise InputError(f"there is no layer {name!r} with weights", expected=", ".join(sorted(known)))
    for module, op in list(modules.layers()):
        if _name(op) in parameters:
            _replace(module, op, parameters[_name(op)])
    return _generated(artifact, engine, modules, pool)


def _replace(module: Module, op: Op, parameters: Parameters) -> None:
    for position, array in ((_WEIGHTS, parameters.weights), (_BIAS, parameters.bias)):
        if array is None:
            continue
        what, do = ("weights", "do") if position == _WEIGHTS else ("bias", "does")
        old = _constant(op.operands[position] if len(op.operands) > position else None)
        if old is None:
            raise InputError(f"layer {_name(op)!r} has no constant {what} to replace")
        own = _by_outputs(op, old.array) if position == _WEIGHTS else old.array
        if array.dtype != own.dtype or array.size != own.size:
            raise InputError(
                f"the {what} {do} not fit layer {_name(op)!r}",
                expected=f"{own.size} of {own.dtype}, {list(own.shape)}",
                found=f"{array.size} of {array.dtype}",
            )
        values = array.reshape(own.shape)
        values = np.array(_by_outputs(op, values) if position == _WEIGHTS else values, order="C")
        # Another layer may share the constant.
        op.set_operand(position, module.add_constant(old.name, values, old.type))
    module.drop_unused_constants()
    if is_accumulating(op) and overflowing_channels(op).size:
        raise InputError(
            f"with these weights an accumulator of layer {_name(op)!r} may overflow",
            expected="sum of |weight| * max|x| + |bias| below 2**31",
            hint="Give smaller weights.",
        )


def _assembled(module: Module, machine: Machine) -> dict[str, Assembled]:
    """The device functions of a module as instructions, by name."""
    tiles = device_part(module)
    LowerToTiles().run(tiles)
    for function in tiles.functions.values():
        planned = planned_machine(function, machine)
        cascade(function)
        order_tiles(function, planned)
        plan_scratchpads(function, planned)
        check_scratchpads(function)
    return {name: assemble(function, machine) for name, function in tiles.functions.items()}


def _generated(artifact: Artifact, engine: str, modules: _Modules, pool: ConstantPool) -> Package:
    manifest = artifact.manifest
    hint = "Compile the model with these weights instead."
    report = generation_limit(artifact, None, stage="replace weights", hint=hint).watched(silent)
    details = dict(manifest.details)
    version, extents = tilewright.__version__, artifact.extents
    package = Package(modules.host, manifest.precision, version, details, pool=pool, extents=extents)
    for name, module in modules.device.items():
        machine = read_programs(artifact, name)[0].machine
        add_device_programs(package, module, _assembled(module, machine))
    add_engine(package, engine, modules.host, [TargetDescription.host()], report=report)
    for module in modules.device.values():
        add_device_arrays(package, module)
    return package
