"""The memory of one request: an arena, the graph's inputs, checked, its outputs, and the shared constants."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import ArtifactError, InputError

from .artifact.manifest import BufferRef, TensorSpec

_HUGE_PAGE = 1 << 21


class Context(ctypes.Structure):
    """What a CPU program receives: ``struct Context { uint8 *arena; const uint8 *constants; uint8 **io; }``.

    `io` points to the addresses of the graph's inputs followed by those of its outputs.
    """

    _fields_ = (("arena", ctypes.c_void_p), ("constants", ctypes.c_void_p), ("io", ctypes.c_void_p))


def bytes_of(section: memoryview) -> np.ndarray:
    """A section as u8[length], without a copy; it also keeps the mapped file alive."""
    return np.frombuffer(section, np.uint8) if len(section) else np.empty(0, np.uint8)


def allocate_arena(size: int) -> np.ndarray:
    """Work memory, u8[size] and page aligned; physical memory is taken when it is first touched.

    Raises:
        ArtifactError: the system has no such amount.
    """
    try:
        pages = mmap.mmap(-1, max(size, 1))
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise ArtifactError(f"no memory for an arena of {size} bytes: {error}", stage="load artifact") from error
    if size >= 2 * _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # Fewer address translations for large activations; a kernel without huge pages says no, which is fine.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8, size)


class Buffers:
    """Memory that one run at a time uses.

    Args:
        arena_bytes: size of the arena.
        constants: u8[…], shared by all runs and never written.
        outputs: what the graph returns.
        inputs: number of graph inputs.

    Raises:
        ArtifactError: no memory for the arena.
    """

    def __init__(self, arena_bytes: int, constants: np.ndarray, inputs: int, outputs: Sequence[TensorSpec]) -> None:
        self._arena = allocate_arena(arena_bytes)
        self._constants = constants
        self._output_specs = outputs
        self._addresses = (ctypes.c_void_p * max(1, inputs + len(outputs)))()
        self._context = Context(self._arena.ctypes.data, constants.ctypes.data, ctypes.addressof(self._addresses))
        self.inputs: Sequence[np.ndarray] = ()
        self.outputs: list[np.ndarray] = []

    @property
    def context(self) -> int:
        """Address of the `Context` for native code."""
        return ctypes.addressof(self._context)

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        """Start a run on checked, C-contiguous arrays, with new arrays for its outputs."""
        self.inputs = inputs
        self.outputs = [np.empty(spec.shape, spec.numpy) for spec in self._output_specs]
        for index, array in enumerate((*inputs, *self.outputs)):
            self._addresses[index] = array.ctypes.data

    def release(self) -> list[np.ndarray]:
        """End a run: the outputs, which nothing here refers to any more."""
        outputs, self.outputs, self.inputs = self.outputs, [], ()
        return outputs

    def view(self, ref: BufferRef) -> np.ndarray:
        """The tensor that a checked reference locates, without a copy."""
        if ref.memory == "input":
            return self.inputs[ref.position]
        if ref.memory == "output":
            return self.outputs[ref.position]
        memory = self._arena if ref.memory == "arena" else self._constants
        if not math.prod(ref.shape):
            return np.empty(ref.shape, ref.numpy)
        return np.ndarray(ref.shape, ref.numpy, memory, ref.position)


def check_inputs(inputs: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], *, copy: bool) -> list[np.ndarray]:
    """The arrays in the order of `specs`, C-contiguous and aligned; copied where they are not, or when asked to.

    Raises:
        InputError: a name is unknown or missing, or an array has another shape or dtype than the network takes.
    """
    if not isinstance(inputs, Mapping):
        raise InputError("the inputs must be arrays by name", expected="a dict", found=type(inputs).__name__)
    if len(inputs) != len(specs) or any(spec.name not in inputs for spec in specs):
        _refuse_names(inputs, specs)
    return [_checked(inputs[spec.name], spec, copy) for spec in specs]


def _refuse_names(inputs: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> None:
    names = [spec.name for spec in specs]
    for name in inputs:
        if name not in names:
            raise InputError(f"unknown input {name!r}", expected=" and ".join(map(repr, names)) or "no input")
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(f"input {spec.name!r} is missing", expected=f"{spec.numpy} of shape {spec.shape}")


def _checked(array: np.ndarray, spec: TensorSpec, copy: bool) -> np.ndarray:
    if not isinstance(array, (np.ndarray, np.generic)):
        raise InputError(
            f"input {spec.name!r} is not an array",
            expected=f"a numpy array of {spec.numpy}",
            found=type(array).__name__,
        )
    array = np.asarray(array)
    if array.dtype != spec.numpy:
        raise InputError(
            f"input {spec.name!r} has the wrong dtype",
            expected=spec.numpy,
            found=array.dtype,
            hint=f"Convert it with array.astype({str(spec.numpy)!r}).",
        )
    if array.shape != spec.shape:
        raise InputError(f"input {spec.name!r} has the wrong shape", expected=spec.shape, found=array.shape)
    if copy or not (array.flags.c_contiguous and array.flags.aligned):
        return np.array(array, order="C")
    return array
