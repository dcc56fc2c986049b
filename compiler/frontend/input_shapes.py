"""What users give for inputs: their shapes, what a model calls an extent that it leaves open, and constants."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from numbers import Integral
from typing import NamedTuple

import numpy as np

from tilewright.errors import ModelError, UsageError, similar
from tilewright.limits import SHAPES

from ...ir.types import DType
from ...passes.named_ops import named_like
from ...runtime.execution.buffers import refuse_masked
from ...runtime.files.array_file import open_array

InputShapes = Mapping[str, Sequence[int]]
"""By the name of an input its shape; by the name of an open extent what it may be; ``*`` in a name is any text."""

GivenShapes = InputShapes | Sequence[InputShapes]
"""One such mapping, or one for each of several shapes."""

Declared = Mapping[str, Sequence[int | str | None] | None]
"""Extents of a model's inputs: of an open one its name, ``None`` without; ``None`` for all where the rank is open."""


class NetworkShape(NamedTuple):
    """One shape of a network: the shapes given for inputs, and what the names of open extents stand for."""

    inputs: dict[str, tuple[int, ...]]
    extents: dict[str, int]

    @property
    def given(self) -> dict[str, Sequence[int]]:
        """What leads to this shape alone."""
        return {**{name: (extent,) for name, extent in self.extents.items()}, **self.inputs}

    @property
    def text(self) -> str:
        """As it is given on the command line."""
        shapes = {name: ",".join(map(str, shape)) for name, shape in self.given.items()}
        return " ".join(f"{name}={extents}" for name, extents in shapes.items())

    def declared(self, extents: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
        """The extents of an input with those that are known by name."""
        return tuple(self.extents.get(extent, extent) if isinstance(extent, str) else extent for extent in extents)


def each_shape(declared: Declared, given: GivenShapes | None) -> tuple[NetworkShape, ...]:
    """The shapes that are given for a model, each once, in order; of several extents by name each with each.
    Raises ModelError: a name is neither an input of the model nor one of its open extents; UsageError: what is given is
    no shape, contradicts itself, or is more than an artifact holds."""
    mappings = _mappings(given)
    found: dict[tuple[object, ...], NetworkShape] = {}
    for shape in (shape for each in mappings for shape in _shapes(declared, each)):
        found.setdefault((*sorted(shape.inputs.items()), *sorted(shape.extents.items())), shape)
        if len(found) > SHAPES:
            raise UsageError("too many shapes", expected=f"at most {SHAPES} {SHAPES.what}")
    return tuple(found.values())


def names_in(given: GivenShapes | None) -> set[str]:
    """The names that something is given for."""
    return {name for each in _mappings(given) for name in each}


def _mappings(given: GivenShapes | None) -> Sequence[InputShapes]:
    if not given:
        return [{}]
    if isinstance(given, Mapping):
        return [given]
    if isinstance(given, Sequence) and all(isinstance(each, Mapping) for each in given):
        return given
    raise UsageError(
        "wrong input_shapes", expected="a mapping by input name, or a list of them", found=f"{given!r:.60}"
    )


def one_shape(declared: Declared, given: GivenShapes | None) -> NetworkShape:
    """The one shape that is given. Raises ModelError, UsageError: as :func:`each_shape`; or there are several."""
    first, *others = each_shape(declared, given)
    if others:
        shown = " and ".join(shape.text for shape in (first, others[0]))
        raise UsageError("only `compile` makes one network of several shapes", expected="one shape", found=shown)
    return first


def _shapes(declared: Declared, given: InputShapes) -> Iterator[NetworkShape]:
    names = dict.fromkeys(e for extents in declared.values() for e in extents or () if isinstance(e, str))
    inputs: dict[str, tuple[int, ...]] = {}
    lists: dict[str, tuple[int, ...]] = {}
    # A pattern stands for inputs, else for extents; what is given by name goes before it.
    for name, extents in sorted(given.items(), key=lambda each: "*" not in each[0]):
        for each in named_like(name, declared) or named_like(name, names) or [name]:
            if each in declared:
                inputs[each] = _whole_numbers(f"shape for input {each!r}", extents)
            elif each in names:
                lists[each] = _open_extents(each, extents)
            else:
                _refuse(each, declared, names)
    for chosen in product(*lists.values()):
        named = dict(zip(lists, chosen, strict=True))
        yield NetworkShape(inputs, {**_implied(declared, inputs, named), **named})


def _refuse(name: str, declared: Declared, names: Iterable[str]) -> None:
    expected = [", ".join(declared) or "no inputs", *([f"open extents {', '.join(names)}"] if names else [])]
    raise ModelError(
        "a shape was given for an input that the model does not have",
        stage="import",
        expected="; ".join(expected),
        found=name,
        hint="Give --input-shape once for each." if "=" in name else similar(name, [*declared, *names]),
    )


def _whole_numbers(what: str, extents: object) -> tuple[int, ...]:
    is_text = isinstance(extents, (str, bytes, bytearray))
    if is_text or not isinstance(extents, Iterable) or not all(isinstance(extent, Integral) for extent in extents):
        hint = "In Python they are no text: [1, 4] or range(32, 513, 32)." if is_text else None
        raise UsageError(f"wrong {what}", expected="whole numbers", found=f"{extents!r:.60}", hint=hint)
    return tuple(int(extent) for extent in extents)


def _open_extents(name: str, extents: object) -> tuple[int, ...]:
    """What an open extent may be."""
    what = f"extents {name!r}"
    if isinstance(extents, Sequence) and len(extents) > SHAPES:
        raise UsageError(f"too many {what}", expected=f"at most {SHAPES} {SHAPES.what}", found=len(extents))
    found = _whole_numbers(what, [extents] if isinstance(extents, Integral) else extents)
    if not found or min(found) < 0:
        raise UsageError(f"wrong {what}", expected="whole numbers of at least 0", found=list(found))
    return tuple(dict.fromkeys(found))


def _implied(declared: Declared, inputs: Mapping[str, Sequence[int]], named: Mapping[str, int]) -> dict[str, int]:
    """The open extents that follow from shapes of inputs; those that two shapes disagree about do not."""
    found: dict[str, set[int]] = {}
    for name, shape in inputs.items():
        extents = declared[name] or ()
        for extent, number in zip(extents, shape, strict=False) if len(extents) == len(shape) else ():
            if isinstance(extent, str):
                found.setdefault(extent, set()).add(number)
                if number != named.get(extent, number):
                    expected = f"{extent}={named[extent]}, as is given too"
                    raise UsageError(f"wrong shape for input {name!r}", expected=expected, found=list(shape))
    return {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1}


Frozen = Mapping[str, object]
"""Values by the names of inputs: numbers, nested lists of them, arrays, paths of .npy files, or texts such as 1,2,3."""

_TRUTHS = {"true": True, "false": False}


def frozen_array(name: str, given: object, dtype: DType, declared: Sequence[int | str | None] | None) -> np.ndarray:
    """The elements of a frozen input.
    ``declared``: extents of the input, where they are not open; ``None`` where not even their number is known. One
    number stands for all shapes of one element.
    Raises UsageError: the value is no array of the input's type; InputError: it is a file that cannot be read, or is
    none, or elements of it are masked."""
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given.endswith(".npy")):
        given = open_array(given).read()
    given = _numbers(name, given, dtype) if isinstance(given, str) else given
    is_typed = isinstance(given, np.ndarray)
    refuse_masked(given, f"frozen input {name!r}")
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    found = array.astype(dtype.numpy) if array.dtype.kind in "biuf" else None
    # Arrays have a type of their own; numbers only have to be such elements.
    is_equal = found is not None and array.dtype == dtype.numpy
    is_exact = found is not None and (dtype.is_float or dtype.is_integer) and array.dtype.kind != "b"
    is_exact = is_exact and (dtype.is_float or bool((found == array).all()))
    if found is None or not (is_equal or (is_exact and not is_typed)):
        shown = f"{array.dtype}{list(array.shape)}" if is_typed else f"{given!r:.60}"
        raise _error(name, f"elements of {dtype.numpy}", shown)
    if declared is None:
        return found
    if found.size == 1 and not found.ndim:
        found = found.reshape([1 for _ in declared])
    if len(declared) != found.ndim or any(
        isinstance(d, int) and d != e for d, e in zip(declared, found.shape, strict=True)
    ):
        expected = ", ".join("?" if extent is None else str(extent) for extent in declared)
        raise _error(name, f"shape [{expected}]", list(found.shape))
    return found


def _numbers(name: str, text: str, dtype: DType) -> object:
    """One number, or a list of several between commas."""
    try:
        if dtype is DType.BOOL:
            found: list[object] = [_TRUTHS[each.strip().lower()] for each in text.split(",")]
        else:
            found = [float(each) if dtype.is_float else int(each) for each in text.split(",")]
    except (KeyError, ValueError):
        expected = "true or false" if dtype is DType.BOOL else f"elements of {dtype.numpy}"
        raise _error(
            name, f"{expected}, with commas between them, or the path of a .npy file", repr(text)[:60]
        ) from None
    return found if len(found) > 1 else found[0]


def _error(name: str, expected: object, found: object) -> UsageError:
    return UsageError(f"wrong value for the frozen input {name!r}", stage="import", expected=expected, found=found)
