"""What each input is given in calibration: its statistics, and what in them tells that samples are not as they should
be."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from hashlib import blake2b
from math import fsum
from typing import Any

import numpy as np

from ...ir.types import TensorType
from ...passes.quantization.parameters import Range
from ...runtime.pictures.preprocessing import CHANNELS
from ...runtime.report.details import InputStatistics
from ...runtime.report.input_doubts import INTERLEAVED, is_interleaved, neighbours
from .sample_sets import Inputs

FEW = 4
"""Fewer different samples than these give ranges that do not hold for others."""

_CLIPPED, _LEVELS = 0.001, 32
"""The share of values outside the range that an input is expected to have, and how many of its 256 levels the middle
98 % of the values span, that give rise to doubt."""

NOISE = "random inputs tell nothing of what the network will meet: calibrate with real samples before relying on it"
_TRY = "Prepare arrays so, or let --preprocess say how they were prepared"
_ENOUGH = "50 or more as the network will meet them serve most networks"


@dataclass
class Findings:
    """What calibration found out about its samples."""

    inputs: list[InputStatistics] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Watched:
    """Samples that are looked at as they pass.
    ``inputs``: types by name.
    ``expected``: ranges that inputs are expected to have, where something tells them."""

    def __init__(
        self, samples: Iterable[Inputs], inputs: Mapping[str, TensorType], expected: Mapping[str, Range]
    ) -> None:
        self._samples = samples
        self._inputs = {name: _Input(name, type, expected.get(name)) for name, type in inputs.items()}

    def __iter__(self) -> Iterator[Inputs]:
        for sample in self._samples:
            for name, array in sample.items():
                self._inputs[name].observe(array)
            yield sample

    def seen(self) -> dict[str, dict[str, Any]]:
        """What was seen so far, by name of the input, of numbers, lists and arrays."""
        return {name: {key: vars(each)[key] for key in _SEEN} for name, each in self._inputs.items()}

    def include(self, seen: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in what was seen of the samples that follow."""
        for name, each in seen.items():
            self._inputs[name].include(each)

    def report(self, findings: Findings) -> None:
        """Put what was seen into the findings."""
        for each in self._inputs.values():
            findings.inputs.append(each.statistics())
            findings.warnings += each.warnings()


_COUNTS = ("count", "samples", "rows", "constant", "zero", "grey", "clipped", "levels")
_LISTS = ("sum", "squares", "near", "far")
_SEEN = ("low", "high", "digests", *_COUNTS, *_LISTS)


class _Input:
    """What is seen of an input.

    Terms of sums are kept, one of each sample, and added up at the end: so the sums do not depend on who saw what."""

    def __init__(self, name: str, type: TensorType, expected: Range | None) -> None:
        shape = type.shape
        self.is_number = math.prod(shape[1:] or shape) == 1
        self.name, self.is_float, self.expected = name, type.dtype.is_float, expected
        self.axis = next((axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in CHANNELS), None)
        self.channels = shape[self.axis] if self.axis is not None else 1
        self.low, self.high = math.inf, -math.inf
        self.count = self.samples = self.rows = self.constant = self.zero = self.grey = 0
        self.sum: list[list[float]] = []
        self.squares: list[list[float]] = []
        self.digests: dict[str, int] = {}
        self.levels = np.zeros(256, np.int64)
        self.clipped = 0
        self.near: list[float] = []
        self.far: list[float] = []

    def include(self, seen: Mapping[str, Any]) -> None:
        self.low, self.high = min(self.low, seen["low"]), max(self.high, seen["high"])
        self.digests |= seen["digests"]
        for name in (*_COUNTS, *_LISTS):
            setattr(self, name, getattr(self, name) + seen[name])

    def observe(self, array: np.ndarray) -> None:
        if not array.size:
            return
        self.samples += 1
        for row in array if array.ndim > 1 else [array]:
            self.rows += 1
            self.digests[blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).hexdigest()] = 1
            first = row.flat[0]
            if not self.is_number and (row == first).all():
                self.constant += 1
                self.zero += int(first == 0)
        # Of -0 becomes 0, as it is shown.
        self.low, self.high = min(self.low, float(array.min()) + 0.0), max(self.high, float(array.max()) + 0.0)
        if not self.is_float:
            return
        values = array.astype(np.float64)
        planes = np.moveaxis(values, self.axis, 0) if self.axis is not None else values[np.newaxis]
        planes = planes.reshape(len(planes), -1)
        self.count += planes.shape[1]
        self.sum.append(planes.sum(1).tolist())
        self.squares.append((planes**2).sum(1).tolist())
        if self.expected is not None:
            low, high = self.expected
            step = (high - low) / 255 or 1.0
            codes = np.rint((planes - low) / step)
            self.clipped += int(((codes < 0) | (codes > 255)).sum())
            self.levels += np.bincount(np.clip(codes, 0, 255).astype(np.int64).ravel(), minlength=256)
        if self.axis == 1 and len(planes) == 3 and array.shape[-1] > 8:
            self.grey += sum(bool((row == row[:1]).all()) for row in array)
            near, far = neighbours(values)
            self.near.append(near)
            self.far.append(far)

    def statistics(self) -> InputStatistics:
        summed, squares = (reduce(np.add, terms, np.zeros(self.channels)) for terms in (self.sum, self.squares))
        mean = summed / max(self.count, 1)
        deviation = np.sqrt(np.maximum(squares / max(self.count, 1) - mean**2, 0))
        total = self.count * len(mean)
        return InputStatistics(
            input=self.name,
            samples=self.samples,
            minimum=self.low if self.rows else 0.0,
            maximum=self.high if self.rows else 0.0,
            mean=tuple(mean.tolist()) if self.is_float else (),
            deviation=tuple(deviation.tolist()) if self.is_float else (),
            expected=self.expected if self.is_float else None,
            clipped=self.clipped / total if total else 0.0,
            levels=self._span() if self.expected is not None and self.is_float else 0,
        )

    def _span(self) -> int:
        """How many of 256 levels of the expected range the middle 98 % of the values span."""
        below = np.cumsum(self.levels)
        first, last = np.searchsorted(below, (0.01 * below[-1], 0.99 * below[-1]))
        return int(last - first) + 1

    def warnings(self) -> list[str]:
        if not self.rows:
            return []
        what, found = f"input {self.name!r}", []
        if self.constant == self.rows:
            kind = "zero" if self.zero == self.rows else "constant"
            found.append(f"the samples of {what} are {kind} throughout, and tell no ranges")
        elif 2 * self.constant >= self.rows:
            found.append(f"{self.constant} of {self.rows} samples of {what} are constant")
        if self.rows > 1 and len(self.digests) == 1:
            found.append(f"all {self.rows} samples of {what} are the same")
        elif (self.rows if self.is_number else len(self.digests)) < FEW:
            number = "one sample" if len(self.digests) == 1 else f"{len(self.digests)} different samples"
            found.append(f"{what} has only {number}, too few for ranges that hold for others: {_ENOUGH}")
        if not self.is_float or self.constant == self.rows:
            return found
        if self.grey == self.rows:
            found.append(f"all samples of {what} are grey, although it takes three colours")
        if is_interleaved(fsum(self.near), fsum(self.far)):
            found.append(f"{what} {INTERLEAVED}")
        if self.expected is None:
            return found
        statistics, (low, high) = self.statistics(), self.expected
        shown, wanted = f"{self.low:.4g} to {self.high:.4g}", f"{low:.4g} to {high:.4g}, which it is expected to have"
        if statistics.clipped > _CLIPPED:
            told = f"{statistics.clipped:.1%} of the values of {what} lie outside {wanted}: they are {shown}"
        elif statistics.levels < _LEVELS:
            told = f"the values of {what} use {statistics.levels} of the 256 levels from {wanted}"
        elif self.low >= 0.51 * low + 0.49 * high or self.high <= 0.49 * low + 0.51 * high:
            told = f"the values of {what} are {shown}, and lie in one half of {wanted}: they may be in other units"
        else:
            return found
        return [*found, f"{told}. {_TRY}"]
