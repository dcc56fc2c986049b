"""The memory of one request: an arena, checked inputs, outputs, also those of the caller, and the shared constants."""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.errors import InputError

from ..artifact.manifest import NUMPY_DTYPES, BufferRef, TensorSpec
from ..artifact.memory import private_pages
from ..waiting import Abandoned, Asked
from .team import Team

Outputs = dict[str, np.ndarray]

_lent: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer

_NEVER = ctypes.c_int32(0)
_NEVER_AT = ctypes.addressof(_NEVER)


class Context(ctypes.Structure):
    """What a CPU program receives, five addresses: arena, constants, io, stop and team.

    `io` points to the addresses of the graph's inputs followed by those of its outputs, `stop` to what is not 0 as soon
    as the run has been abandoned, `team` to what threads share that compute together; null where there is but one."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("arena", "constants", "io", "stop", "team"))


def bytes_of(section: memoryview) -> np.ndarray:
    """A section as u8[length], without a copy; it also keeps the memory alive."""
    return np.frombuffer(section, np.uint8) if len(section) else np.empty(0, np.uint8)


def allocate_arena(size: int) -> np.ndarray:
    """Work memory, u8[size] and page aligned. Raises ResourceError: the system has no such amount."""
    return bytes_of(private_pages(size, "an arena"))


def _address(array: np.ndarray) -> int:
    """Where a C-contiguous array lies; most lend their memory in a quarter of the time that NumPy takes to tell."""
    try:
        return ctypes.addressof(_lent(array))
    except (TypeError, ValueError, BufferError):
        return array.ctypes.data


class Buffers:
    """Memory that one run at a time uses.

    Args:
        constants: u8[…], shared by all runs and never written.
        inputs: how many the graph has.

    Attributes:
        context: address of the `Context` for native code.
        inputs, outputs: the tensors of the run.
        abandoned: where the run can be abandoned, what its executors ask between steps.

    Raises:
        ResourceError: no memory for the arena.
    """

    def __init__(self, arena_bytes: int, constants: np.ndarray, inputs: int, outputs: Sequence[TensorSpec]) -> None:
        self._arena = allocate_arena(arena_bytes)
        self._constants = constants
        self._outputs = [(spec.shape, spec.numpy) for spec in outputs]
        self._addresses = (ctypes.c_void_p * max(1, inputs + len(outputs)))()
        self._context = Context(
            self._arena.ctypes.data, constants.ctypes.data, ctypes.addressof(self._addresses), _NEVER_AT, 0
        )
        self.context = ctypes.addressof(self._context)
        self.inputs: Sequence[np.ndarray] = ()
        self.outputs: list[np.ndarray] = []
        self.abandoned: Asked | None = None
        self._team: Team | None = None

    @property
    def team(self) -> Team | None:
        """The threads that compute a run, where there are several."""
        return self._team

    @team.setter
    def team(self, team: Team) -> None:
        self._team, self._context.team = team, team.address

    def bind(self, inputs: Sequence[np.ndarray], abandoned: Asked | None = None) -> None:
        """Start a run on checked, C-contiguous arrays, with new arrays for its outputs."""
        self.inputs, self.abandoned = inputs, abandoned
        if abandoned is not None:
            self._context.stop = ctypes.addressof(abandoned.flag)
        self.outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        for index, array in enumerate((*inputs, *self.outputs)):
            self._addresses[index] = _address(array)

    def copy(self) -> list[np.ndarray]:
        """What steps write, as it is now, for `restore`."""
        return [array.copy() for array in (self._arena, *self.outputs)]

    def restore(self, copied: Sequence[np.ndarray]) -> None:
        """Bring back what `copy` saw in the same run."""
        for array, before in zip((self._arena, *self.outputs), copied, strict=True):
            array[...] = before

    def release(self) -> None:
        """End a run: nothing here refers to its inputs and outputs any more."""
        if self.abandoned is not None:
            self._context.stop = _NEVER_AT
        self.inputs, self.outputs, self.abandoned = (), [], None

    def check_abandoned(self) -> None:
        """End the run if it has been abandoned. Raises Abandoned: it has."""
        if self.abandoned is not None and self.abandoned():
            raise Abandoned

    def view(self, ref: BufferRef) -> np.ndarray:
        """The tensor that a checked reference locates, without a copy."""
        if ref.memory == "input":
            return self.inputs[ref.position].reshape(ref.shape)
        if ref.memory == "output":
            return self.outputs[ref.position].reshape(ref.shape)
        memory = self._arena if ref.memory == "arena" else self._constants
        if not math.prod(ref.shape):
            return np.empty(ref.shape, ref.numpy)
        return np.ndarray(ref.shape, ref.numpy, memory, ref.position)


def check_inputs(inputs: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], *, copy: bool) -> list[np.ndarray]:
    """The arrays in the order of `specs`, C-contiguous and aligned; copied where they are not, or when asked to.
    Raises InputError: a name is unknown or missing, or an array has another shape or dtype than the network takes."""
    if type(inputs) is dict and len(inputs) == len(specs) and not copy:
        # Most arrays are taken as they are, and this is asked in each run.
        found: list[np.ndarray] = []
        for spec in specs:
            array = inputs.get(spec.name)
            if type(array) is not np.ndarray or array.shape != spec.shape:
                break
            # Of spec.numpy the call would take longer than the comparison.
            if array.dtype != NUMPY_DTYPES[spec.dtype] or not array.flags.carray:
                break
            found.append(array)
        else:
            return found
    check_arrays(inputs, specs)
    return [_checked(inputs[spec.name], spec, copy) for spec in specs]


def check_arrays(inputs: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> None:
    """Raise InputError unless there is an array for each input, of which nothing is masked, and nothing else."""
    if not isinstance(inputs, Mapping):
        raise InputError("the inputs must be arrays by name", expected="a dict", found=type(inputs).__name__)
    check_names(inputs, specs)
    for spec in specs:
        if not isinstance(inputs[spec.name], (np.ndarray, np.generic)):
            raise InputError(
                f"input {spec.name!r} is not an array",
                expected=f"a numpy array of {spec.numpy}",
                found=type(inputs[spec.name]).__name__,
            )
        refuse_masked(inputs[spec.name], f"input {spec.name!r}")


def refuse_masked(data: object, what: str) -> None:
    """Raise InputError where elements of an array, or of arrays in a list, are masked: what lies beneath is no number
    that the network is meant to see. ``what`` begins what is said about it."""
    if type(data) is np.ndarray:
        return
    parts = data if isinstance(data, (list, tuple)) else [data]
    if count := sum(int(np.ma.count_masked(part)) for part in parts if np.ma.is_masked(part)):
        hint = "Give them numbers with array.filled(…)."
        raise InputError(f"{what} has masked elements", expected="none", found=count, hint=hint)


def check_names(inputs: Mapping[str, object], specs: Sequence[TensorSpec]) -> None:
    """Raise InputError unless there is something for each input, and nothing else."""
    if len(inputs) == len(specs) and all(spec.name in inputs for spec in specs):
        return
    names = [spec.name for spec in specs]
    for name in inputs:
        if name not in names:
            raise InputError(f"unknown input {name!r}", expected=" and ".join(map(repr, names)) or "no input")
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(f"input {spec.name!r} is missing", expected=f"{spec.numpy} of shape {spec.shape}")


def _checked(array: np.ndarray, spec: TensorSpec, copy: bool) -> np.ndarray:
    array = np.asarray(array)
    check_type(array.dtype, array.shape, spec)
    if copy or not (array.flags.c_contiguous and array.flags.aligned):
        return np.array(array, order="C")
    return array


def is_narrower(dtype: np.dtype, wanted: np.dtype) -> bool:
    """Whether numbers in files may become what is wanted: integers that all exist in a wider type."""
    return dtype.kind in "iu" and wanted.kind in "iu" and np.can_cast(dtype, wanted)


def check_type(dtype: np.dtype, shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise InputError unless an array of this type and shape is what the network takes."""
    if dtype != spec.numpy:
        # Types of other packages, such as bfloat16 of ml_dtypes, are stored in integers of their width.
        has_bits = dtype.isbuiltin == 2 and dtype.itemsize == spec.numpy.itemsize
        raise InputError(
            f"input {spec.name!r} has the wrong dtype",
            expected=spec.numpy,
            found=dtype,
            hint=f"{'Give its bits' if has_bits else 'Convert it'} with "
            f"array.{'view' if has_bits else 'astype'}({str(spec.numpy)!r}).",
        )
    if shape != spec.shape:
        is_batch = len(shape) > 1 and shape[1:] == spec.shape[1:]
        hint = f"Give batches of {spec.shape[0]}, as `tilewright batch infer` makes of files." if is_batch else None
        raise InputError(f"input {spec.name!r} has the wrong shape", expected=spec.shape, found=shape, hint=hint)


def check_out(out: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that outputs cannot be written to, whatever the shapes of these will be.
    Raises InputError: an array is for no output, of another dtype, not C-contiguous, read-only, or shares memory with
    another or with an input."""
    if not isinstance(out, Mapping):
        raise InputError("out is no mapping", expected="arrays by the names of outputs", found=type(out).__name__)
    known = {spec.name: spec for spec in specs}
    taken = [(f"input {name!r}", array) for name, array in inputs.items()]
    for name, array in out.items():
        spec = known.get(name)
        if spec is None:
            raise InputError("out has an array for no output", expected=", ".join(known), found=str(name))
        if not isinstance(array, np.ndarray):
            raise InputError(f"out[{name!r}] is no array", expected=str(spec), found=type(array).__name__)
        if array.dtype != spec.numpy:
            raise _unfit(name, array, str(spec))
        if not array.flags.c_contiguous or not array.flags.writeable:
            found = "read-only" if array.flags.c_contiguous else "strides"
            raise InputError(f"out[{name!r}] cannot be written", expected="C-contiguous and writable", found=found)
        for what, other in taken:
            if isinstance(other, np.ndarray) and np.may_share_memory(array, other):
                raise InputError(f"out[{name!r}] overlaps {what}", expected="memory of its own", found="shared memory")
        taken.append((f"out[{name!r}]", array))


def written_to(out: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, those of which there is an array in it.
    Raises InputError: an array has another shape than the output, which padding cuts and the data may decide."""
    for name, array in out.items():
        if array.shape != found[name].shape:
            raise _unfit(name, array, _typed(found[name]))
    for name, array in out.items():
        np.copyto(array, found[name])
    return {name: out.get(name, array) for name, array in found.items()}


def _unfit(name: str, array: np.ndarray, expected: str) -> InputError:
    return InputError(f"out[{name!r}] does not fit the output", expected=expected, found=_typed(array))


def _typed(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
