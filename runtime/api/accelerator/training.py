"""On-line training of a linear layer: the calls ``TrainlinearStart`` to ``TrainlinearEnd`` of the Accelerator API."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import warn

from .errors import AcceleratorError, SaturationWarning
from .fixed_point import narrowed, product, saturated, shifted, to_fixed, to_float

_BATCH_LIMIT, _WIDTH_LIMIT, _ELEMENTS_LIMIT = 2**16, 2**20, 2**28
"""Columns and rows of a matrix, and elements of all that one training keeps: sums then fit 64 bits."""

_FRACTION_LIMIT = 15
_RATE_BITS, _RATE_FRACTION_LIMIT = 15, 30
"""Significant bits of the learning rate in fixed point, and fraction bits that it has at most."""


@dataclass
class _Weights:
    """One course of training: weights [nout, nin], biases [nout] and the latest outputs [nout, batch], as the course
    represents them."""

    a: np.ndarray
    b: np.ndarray
    y: np.ndarray | None = None


class LinearTraining:
    """Trains ``Y = A·X + b`` by gradient descent, in 16-bit fixed point or in floating point.

    A step computes the outputs of its inputs, then the gradient ``G`` of the loss by the outputs: with a positive rate
    that of least mean squares, outputs minus targets; with rate 0 it is what the caller gave in place of targets. Then
    ``A -= rate·G·Xᵀ`` and ``b -= rate·ΣG``, sums over the batch, with 1 for a rate of 0. Without targets or a
    gradient a step only computes outputs.

    In fixed point, weights, inputs, outputs and gradients have 16 bits, of which the shifts say how many are fraction;
    biases have 32 bits at the scale of a product of weight and input. Products are summed exactly, every result is
    rounded to the nearest, ties upward, and saturated.

    The steps of the hardware, of its software model and of floating point are three courses that start from the same
    weights and do not meet: after the same steps the first two are equal in every bit. `get` and `outputs` give
    those of the latest step.

    Original: undocumented. That sums are over the batch, not means, the width of biases and the separate courses are
    choices of ours.

    Args:
        batch_size: columns of inputs and targets.
        a, b: the weights [nout, nin] and biases [nout] to start with; they are copied.
        weight_bits, input_bits, output_bits, gradient_bits: fraction bits, 0 to 15.
        rate: the learning rate; 0 where the caller gives the gradient.
        warnings: whether a `SaturationWarning` tells of numbers that do not fit.

    Raises:
        AcceleratorError: an argument is out of range, or an array of the wrong shape or not finite.
    """

    def __init__(
        self,
        batch_size: int,
        a: np.ndarray,
        b: np.ndarray,
        weight_bits: int,
        input_bits: int,
        output_bits: int,
        gradient_bits: int,
        rate: float,
        *,
        warnings: bool = True,
    ) -> None:
        bits = {"Ashift": weight_bits, "Xshift": input_bits, "Yshift": output_bits, "Ygshift": gradient_bits}
        for name, value in bits.items():
            _check_whole(name, value, 0, _FRACTION_LIMIT)
        _check_whole("batchsize", batch_size, 1, _BATCH_LIMIT)
        if not math.isfinite(rate) or not 0 <= rate < 2**_RATE_BITS:
            raise _refusal("rate is out of range", f"a number from 0 to below {2**_RATE_BITS}", rate)
        if not isinstance(a, np.ndarray) or a.ndim != 2 or not 1 <= a.shape[1] <= _WIDTH_LIMIT or not a.size:
            raise _refusal("A is no matrix of weights", "an array [nout, nin]", _shape(a))
        self._warnings = warnings
        self._bits = (weight_bits, input_bits, output_bits, gradient_bits)
        self._rate = float(rate)
        self._y_shape, self._x_shape = (a.shape[0], int(batch_size)), (a.shape[1], int(batch_size))
        self._kept = 0
        self._keep(a.size)
        weights = self._checked("A", a, a.shape, weight_bits)
        biases = self._checked("b", b, (a.shape[0],))
        fixed_biases = np.clip(np.rint(biases * 2.0 ** (weight_bits + input_bits)), -(2**31), 2**31 - 1)
        fixed = to_fixed(weights, weight_bits), fixed_biases.astype(np.int64)
        self._hardware, self._software = _Weights(*fixed), _Weights(*fixed)
        self._floating = _Weights(weights, biases)
        self._latest = self._hardware
        self._x: dict[int, NDArray[np.float32]] = {}
        self._y: dict[int, NDArray[np.float32]] = {}
        self._index = 0

    def data(self, x: np.ndarray | None, y: np.ndarray | None, index: int) -> None:
        """``TrainlinearData``: inputs [nin, batch], and targets or the gradient [nout, batch], for steps on ``index``.

        They are copied; None keeps what was there, but for a gradient, which belongs to the inputs it came with.

        Raises:
            AcceleratorError: an array of the wrong shape or not finite, or more than can be kept.
        """
        _check_whole("idx", index, 0, 2**31)
        if x is not None and not self._rate:
            self._y.pop(index, None)
        for held, given, shape, name, bits in (
            (self._x, x, self._x_shape, "X", self._bits[1]),
            (self._y, y, self._y_shape, "Y", self._bits[2] if self._rate else self._bits[3]),
        ):
            if given is not None:
                if index not in held:
                    self._keep(math.prod(shape))
                held[index] = self._checked(name, given, shape, bits)
        self._index = index

    def step(self, index: int) -> None:
        """``TrainlinearStep``: a step in fixed point on the data of ``index``.

        Raises:
            AcceleratorError: no inputs were given for it.
        """
        self._fixed_step(self._hardware, index)

    def step_software(self) -> None:
        """``TrainlinearStepSw``: the same on the data given last, by the software model, with a positive rate only.

        Raises:
            AcceleratorError: no inputs were given, or the rate is 0.
        """
        if not self._rate:
            raise _refusal("the software model computes the gradient itself", "a rate above 0", 0)
        self._fixed_step(self._software, self._index)

    def step_float(self) -> None:
        """``TrainlinearStepFloat``: the same on the data given last, in binary32.

        Raises:
            AcceleratorError: no inputs were given.
        """
        course, (x, y) = self._floating, self._data_of(self._index)
        course.y = course.a @ x + course.b[:, None]
        if y is not None:
            gradient, rate = (course.y - y, np.float32(self._rate)) if self._rate else (y, np.float32(1))
            course.a = course.a - rate * (gradient @ x.T)
            course.b = course.b - rate * gradient.sum(axis=1)
        self._latest = course

    def get(self, a: np.ndarray, b: np.ndarray) -> None:
        """``TrainlinearGet``: the weights and biases of the latest step into float32 arrays of nout·nin and nout.

        Raises:
            AcceleratorError: an array of another size.
        """
        course, weight_bits = self._latest, self._bits[0]
        exact = course is self._floating
        _fill("A", a, course.a if exact else to_float(course.a, weight_bits))
        _fill("b", b, course.b if exact else to_float(course.b, weight_bits + self._bits[1]))

    def outputs(self, y: np.ndarray) -> None:
        """``TrainlinearGetY``: the outputs of the latest step, before its update, into a float32 array of nout·batch.

        Raises:
            AcceleratorError: no step was made, or an array of another size.
        """
        found = self._latest.y
        if found is None:
            raise _refusal("there are no outputs yet", "TrainlinearStep before", None)
        _fill("Y", y, found if self._latest is self._floating else to_float(found, self._bits[2]))

    def _fixed_step(self, course: _Weights, index: int) -> None:
        weight_bits, input_bits, output_bits, gradient_bits = self._bits
        data, given = self._data_of(index)
        x = to_fixed(data, input_bits)
        sums = product(course.a, x) + course.b[:, None]
        course.y = narrowed(shifted(sums, weight_bits + input_bits - output_bits))
        self._latest = course
        if given is None:
            return
        if self._rate:
            # Both have the fraction bits of outputs; the difference takes a bit more than 16 until it is narrowed.
            difference = course.y.astype(np.int64) - to_fixed(given, output_bits)
            gradient = narrowed(shifted(difference, output_bits - gradient_bits))
            exponent = min(_RATE_BITS - math.frexp(self._rate)[1], _RATE_FRACTION_LIMIT)
            rate = round(math.ldexp(self._rate, exponent))
        else:
            gradient, rate, exponent = to_fixed(given, gradient_bits), 1, 0
        change = rate * product(gradient, x.T)
        course.a = narrowed(course.a - shifted(change, gradient_bits + input_bits + exponent - weight_bits))
        change = rate * gradient.sum(axis=1, dtype=np.int64)
        biases = course.b - shifted(change, gradient_bits + exponent - weight_bits - input_bits)
        course.b = np.clip(biases, -(2**31), 2**31 - 1)

    def _data_of(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        if index not in self._x:
            raise _refusal("there are no inputs to train on", "TrainlinearData with X before", f"idx {index}")
        return self._x[index], self._y.get(index)

    def _checked(
        self, name: str, array: object, shape: tuple[int, ...], fraction_bits: int | None = None
    ) -> NDArray[np.float32]:
        """A copy of an array of so many finite elements in this shape."""
        if not isinstance(array, np.ndarray) or array.size != math.prod(shape) or array.dtype.kind not in "fiu":
            raise _refusal(f"{name} has the wrong size or type", f"an array of numbers {list(shape)}", _shape(array))
        copy = np.array(array, np.float32).reshape(shape)
        if not np.isfinite(copy).all():
            raise _refusal(f"{name} is not finite", "numbers", "infinity or NaN")
        beyond = saturated(copy, fraction_bits) if self._warnings and fraction_bits is not None else 0
        if beyond:
            bound = 2.0 ** (15 - fraction_bits) if fraction_bits is not None else 0.0
            warn(f"{beyond} of {copy.size} numbers of {name} do not fit ±{bound:g} and are cut off", SaturationWarning)
        return copy

    def _keep(self, elements: int) -> None:
        self._kept += elements
        if self._kept > _ELEMENTS_LIMIT:
            raise _refusal("the data for training is too much", f"at most {_ELEMENTS_LIMIT} elements", self._kept)


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise _refusal(f"{name} is out of range", f"a whole number from {least} to {most}", value)


def _fill(name: str, array: object, values: np.ndarray) -> None:
    if not isinstance(array, np.ndarray) or array.size != values.size or array.dtype.kind != "f":
        raise _refusal(f"{name} cannot take the result", f"a float32 array of {values.size} elements", _shape(array))
    array[...] = values.reshape(array.shape)


def _shape(array: object) -> str:
    return f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__


def _refusal(message: str, expected: object, found: object) -> AcceleratorError:
    return AcceleratorError(message, stage="Trainlinear", expected=expected, found=found)
