"""Arrays of the caller's that receive outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import InputError

from ..artifact.manifest import TensorSpec


def check_out(out: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that outputs cannot be written to, whatever the shapes of these will be.

    Raises:
        InputError: an array is for no output, of another dtype, not C-contiguous, read-only, or shares memory with
            another or with an input.
    """
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

    Raises:
        InputError: an array has another shape than the output, which padding cuts and the data may decide.
    """
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
