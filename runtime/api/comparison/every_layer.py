"""The first value, in order of execution, in which a network differs from its reference by more than rounding."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from tilewright.immutable import Immutable

from ..simulator.inference import translation, without_ones
from ..simulator.input_data import Feeds
from .measures import Row, feeders, labels, paired, run_both
from .party import Party

TOLERANCE = 1e-3
"""Of the largest number of a value, what sums in another order may add up to over many layers."""


class Difference(Immutable):
    """Where two networks part.

    Attributes:
        name: the tensor.
        op: the operator that computes it, with its node.
        inputs: the nearest values before it, which agree.
        sample: on which one.
        index: of the element that lies furthest apart.
        expected, found: there, in the reference and in the network; shapes in words where these differ.
        largest: how far they lie apart; ``None`` for shapes.
        scale: the largest number of the reference.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    sample: str
    index: tuple[int, ...]
    expected: float | str
    found: float | str
    largest: float | None
    scale: float

    @property
    def text(self) -> str:
        """As a sentence."""
        where = f" at {[*self.index]}" if self.largest is not None else ""
        told = f"expected {_spelled(self.expected)}, found {_spelled(self.found)}{where}"
        far = f"; {self.largest:.4g} apart, of numbers up to {self.scale:.4g}" if self.largest is not None else ""
        before = f". What it is computed of agrees: {', '.join(self.inputs)}" if self.inputs else ""
        return f"The first value that differs is {self.name}, of {self.op}: {told}{far}{before}."


def _spelled(number: float | str) -> str:
    return number if isinstance(number, str) else f"{number:.6g}"


class Agreement(Immutable):
    """What was looked at.

    Attributes:
        reference, network: what users call them.
        samples, values: how many there were, in both networks.
        others: how many values the network has not, because they became part of others.
        difference: the first one, if there is any.
    """

    reference: str
    network: str
    samples: int
    values: int
    others: int
    difference: Difference | None

    @property
    def text(self) -> str:
        """In sentences."""
        if self.difference is not None:
            return self.difference.text
        more = f" {self.others} others are no values of their own in {self.network}." if self.others else ""
        return f"All {self.values} values that {self.network} has in common with {self.reference} agree.{more}"


def first_difference(
    reference: Party,
    network: Party,
    samples: Iterable[tuple[str, Feeds]],
    tolerance: float = TOLERANCE,
    report: Callable[[int], object] = lambda done: None,
) -> Agreement:
    """Compare every value that both have.

    Integers must be equal, and floats as near as ``tolerance`` times the largest of the value; those that stand for
    integers may lie two of their steps apart as well.

    Args:
        samples: for the inputs of the reference, by name.
        report: called before each sample with the number of those that are done.

    Raises:
        InputError: the two do not take the same inputs, or have no value in common.
        TilewrightError: one of them cannot be run; says on which sample.
    """
    translate = translation((reference, network))
    count, rows, first = 0, list[Row](), None
    for sample, feeds in samples:
        report(count)
        count += 1
        expected, found = run_both(reference, network, feeds, translate, sample)
        rows = rows or paired(reference, network)
        # A later sample can only bring an earlier value.
        for position, row in enumerate(rows if first is None else rows[: first[0]]):
            pair = expected.get(row.reference.name), found.get(row.network.name)
            difference = _difference(row, pair[0], pair[1], sample, tolerance)
            if difference is not None:
                first = position, difference
                break
    difference = first[1] if first is not None else None
    if difference is not None:
        inputs = feeders(reference, {row.name for row in rows}).get(difference.name, ())
        difference = replace(difference, inputs=inputs)
    others = len({value.source for value in reference.values}) - len(rows)
    return Agreement(*labels(reference.label, network.label), count, len(rows), others, difference)


def _difference(
    row: Row, expected: np.ndarray | None, found: np.ndarray | None, sample: str, tolerance: float
) -> Difference | None:
    if expected is None or found is None:
        return None
    op = row.reference.computed_by or row.network.computed_by
    if without_ones(expected.shape) != without_ones(found.shape):
        # What the data decide the extents of has the most that they can be in the middle of our networks.
        first, second = (f"shape {list(array.shape)}" for array in (expected, found))
        return Difference(row.name, op, (), sample, (), first, second, None, 0.0) if row.is_output else None
    is_float = expected.dtype.kind == "f" or found.dtype.kind == "f"
    with np.errstate(all="ignore"):
        r, t = (array.reshape(expected.shape).astype(np.float64) for array in (expected, found))
        # A difference of numbers without dimensions is no array.
        apart = np.asarray(np.abs(r - t))
        apart[(r == t) | (np.isnan(r) & np.isnan(t))] = 0
        apart[np.isnan(apart)] = np.inf
    finite = np.abs(r[np.isfinite(r)])
    scale = float(finite.max()) if finite.size else 0.0
    allowed = tolerance * scale + 2 * (row.network.step or row.reference.step or 0.0) if is_float else 0.0
    if not apart.size or apart.max() <= allowed:
        return None
    index = tuple(int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape))
    largest = float(apart[index])
    return Difference(row.name, op, (), sample, index, float(r[index]), float(t[index]), largest, scale)
