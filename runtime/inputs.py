"""Checking what the caller passes to a run against what the network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import InputError

from .artifact.manifest import TensorSpec


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
