"""The module that a CPU program was generated from, as the artifact stores it, and modules of ops without kernel."""

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Literal

import numpy as np

from tilewright.errors import ArtifactError, IRError
from tilewright.immutable import Immutable

from ..ir.calls import host_functions
from ..ir.clone import clone_module
from ..ir.core import Constant, Function, Module, Op, Value, is_op, types_of
from ..ir.layout import bytes_of, unpack
from ..ir.ops.control_flow import ControlFlow
from ..ir.text.literals import digest_of
from ..ir.text.parser import parse_module
from ..ir.types import DType, TensorType
from ..ir.verify import verify
from ..runtime.artifact.artifact import Artifact
from ..runtime.artifact.json_dataclasses import Source, parse, read
from .cpu.constants import ConstantPool


class StoredArray(Immutable):
    """An array in the section of constants."""

    kind: Literal["stored"] = field(default="stored", init=False)
    offset: int
    dtype: DType
    shape: tuple[int, ...]
    layout: str


class InlineArray(Immutable):
    """An array that only the module text needs, such as scales; ``data`` in hexadecimal."""

    kind: Literal["inline"] = field(default="inline", init=False)
    dtype: DType
    shape: tuple[int, ...]
    data: str


class BlobIndex(Immutable):
    """Where the arrays lie that a module text names by hash; `again` lists those that lie there in another layout, too.

    Artifacts of older versions do not have the second list."""

    arrays: Mapping[str, StoredArray | InlineArray]
    again: tuple[StoredArray, ...] = ()


def load_module(artifact: Artifact, program: str) -> Module:
    """The module that a CPU program of an artifact was generated from."""
    entry = artifact.manifest.cpu_programs[program]
    arrays = _load_arrays(artifact, entry.module, entry.constants)
    return _parsed(artifact, entry.module, arrays, artifact.manifest.device_programs.keys())


def load_device_module(artifact: Artifact, program: str) -> Module:
    """The module, of one function, that a device program of an artifact was generated from.
    Raises ArtifactError: the stored text and constants do not belong together, or the constants are in no form but the
    device's; IRError: the text is no sound module."""
    if f"module.{program}.blobs" not in artifact.sections:
        raise ArtifactError(
            f"{artifact.origin} holds the weights of {program!r} for the device alone",
            stage="load artifact",
            hint="Compile the model with --engines device,software.",
        )
    arrays: dict[str, np.ndarray] = {}
    for entry in artifact.manifest.cpu_programs.values():
        arrays |= _load_arrays(artifact, entry.module, entry.constants)
    constants = next((entry.constants for entry in artifact.manifest.cpu_programs.values()), None)
    arrays |= _load_arrays(artifact, f"module.{program}", constants)
    return _parsed(artifact, f"module.{program}", arrays)


def _parsed(artifact: Artifact, text: str, arrays: Mapping[str, np.ndarray], elsewhere: Collection[str] = ()) -> Module:
    try:
        module = parse_module(artifact.text(text), arrays)
        verify(module, elsewhere=elsewhere)
    except IRError as error:
        error.stage = f"load artifact: {text} of {artifact.origin}"
        raise
    return module


def stored_constants(artifact: Artifact, program: str) -> ConstantPool:
    """The constants that a CPU program of an artifact reads, where they lie.
    Raises ArtifactError: the index of the constants is damaged."""
    entry = artifact.manifest.cpu_programs[program]
    index, source = _index(artifact, entry.module)
    try:
        stored = [each for each in (*index.arrays.values(), *index.again) if isinstance(each, StoredArray)]
        stretches = [(each.offset, bytes_of(_type(each))) for each in stored]
    except IRError as error:
        source.refuse("arrays", f"is no table of arrays: {error}")
    return ConstantPool(artifact.copy(entry.constants), stretches)


def _index(artifact: Artifact, text: str) -> tuple[BlobIndex, Source]:
    source = Source(f"index of constants of {artifact.origin}", ArtifactError, "load artifact")
    found = parse(artifact.copy(f"{text}.blobs"), source)
    return read(BlobIndex, {"again": [], **found} if isinstance(found, dict) else found, source), source


def _type(stored: StoredArray) -> TensorType:
    return TensorType(stored.shape, stored.dtype, None, stored.layout)


def _load_arrays(artifact: Artifact, text: str, constants: str | None) -> dict[str, np.ndarray]:
    """The arrays that a module text of an artifact names, by hash; `constants` is the section that holds them."""
    # What is generated may be kept under the artifact's digest: so it is taken from what the digest stands for.
    held = artifact.copy(constants) if constants is not None else b""
    index, source = _index(artifact, text)
    arrays: dict[str, np.ndarray] = {}
    for digest, where in index.arrays.items():
        try:
            if isinstance(where, InlineArray):
                arrays[digest] = np.frombuffer(bytes.fromhex(where.data), where.dtype.numpy).reshape(where.shape)
                continue
            type = _type(where)
            count = bytes_of(type) // type.dtype.bytes
            arrays[digest] = unpack(np.frombuffer(held, type.dtype.numpy, count, where.offset), type)
        except (ValueError, OverflowError, IRError) as error:
            source.refuse(f"arrays.{digest}", f"is no array: {error}")
    for digest, array in arrays.items():
        if digest_of(array) != digest:
            raise ArtifactError(
                f"a constant of {artifact.origin} is not the one that its module text names",
                stage="load artifact",
                expected=f"SHA-256 {digest}",
                found=digest_of(array),
            )
    return arrays


def constants_inside(module: Module, op: Op) -> list[Constant]:
    """The constants that the bodies of an op read, each once."""
    read = (value for body in _bodies(module, op) for each in body.ops for value in each.inputs)
    return [value for value in dict.fromkeys(read) if isinstance(value, Constant)]


def alone(module: Module, op: Op) -> Module:
    """A module whose ``main`` applies one op.

    Constants become parameters, since they are stored already: those that are operands, and behind all operands those
    that :func:`constants_inside` gives, which each body is handed on."""
    inside = constants_inside(module, op)
    single = clone_module(module, [body.name for body in _bodies(module, op)])
    for body in single.functions.values():
        lifted = {single.constants[each.name]: _parameter(body, f"constant{i}", each) for i, each in enumerate(inside)}
        for each in body.ops:
            for index, value in enumerate(each.operands):
                if isinstance(value, Constant):
                    each.set_operand(index, lifted[value])
            if is_op(each, ControlFlow):
                wider = Op(each.operator, [*each.operands, *lifted.values()], types_of(each.results), loc=each.loc)
                each.replace_with(*body.insert(wider, each).results)
    single.drop_unused_constants()
    main = single.add_function(Function("main"))
    operands = [_parameter(main, f"operand{i}", v) if v is not None else None for i, v in enumerate(op.operands)]
    operands += [_parameter(main, f"constant{i}", each) for i, each in enumerate(inside)]
    copy = main.append(op.operator, operands, [value.type.plain for value in op.results], loc=op.loc)
    main.set_results(copy.results, [f"result{i}" for i in range(len(copy.results))])
    return single


def _parameter(function: Function, name: str, value: Value) -> Value:
    taken = {each.name for each in function.parameters}
    while name in taken:
        name += "_"
    return function.add_parameter(name, value.type.plain)


def _bodies(module: Module, op: Op) -> list[Function]:
    """The functions that an op runs, directly or not."""
    return host_functions(module, op.operator.bodies) if is_op(op, ControlFlow) else []
