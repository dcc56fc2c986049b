"""The first value, in order of execution, in which a network differs from its reference by more than rounding."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from tilewright.immutable import Immutable

from ..simulator.inference import translation, without_ones
from ..simulator.input_data import Feeds
from .measures import Row, feeders, labels, paired, run_both
from .party import Party

TOLERANCE = 1e-3
"""Of the largest number of a value, what sums in another order may add up to over many layers."""

_ROUNDING = 1e-6
"""Of the largest number of a value, what operators that are computed as one may round otherwise than is seen."""

_CHOOSING = frozenset({"ArgMax", "ArgMin", "TopK", "arg_max", "arg_min", "top_k"})
"""Operators that give indices along a dimension of what they read, as ONNX and as we call them."""


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
        ties: indices that differ on some sample, of elements within rounding of each other; what is computed of them is
            not compared there.
        difference: the first one, if there is any.
    """

    reference: str
    network: str
    samples: int
    values: int
    others: int
    ties: tuple[str, ...]
    difference: Difference | None

    @property
    def text(self) -> str:
        """In sentences."""
        more = f" {self.others} others are no values of their own in {self.network}." if self.others else ""
        what = "The one value" if self.values == 1 else f"All {self.values} values"
        agree = "agrees" if self.values == 1 else "agree"
        found = f"{what} that {self.network} has in common with {self.reference} {agree}.{more}"
        found = found if self.difference is None else self.difference.text
        if self.ties:
            what = "Elements within rounding of each other change places in"
            found += f" {what} {', '.join(self.ties)}: what is computed of that is not compared on such samples."
        return found


def first_difference(
    reference: Party,
    network: Party,
    samples: Iterable[tuple[str, Feeds]],
    tolerance: float = TOLERANCE,
    report: Callable[[int], object] = lambda done: None,
) -> Agreement:
    """Compare every value that both have.

    Integers must be equal, and floats as near as ``tolerance`` times the largest of the value; those that stand for
    integers may lie two of their steps apart as well, and all as far as the reference, where it is onnxruntime, makes
    of what the network computed them of. Indices of extremes may be others where the elements lie no further apart than
    rounding moved them.
    ``samples``: for the inputs of the reference, by name.
    ``report``: called before each sample with the number of those that are done."""
    translate = translation((reference, network))
    count, rows, first = 0, list[Row](), None
    inputs: dict[str, tuple[str, ...]] = {}
    ties: dict[str, None] = {}
    for sample, feeds in samples:
        report(count)
        count += 1
        expected, found = run_both(reference, network, feeds, translate, sample)
        if not rows:
            rows = paired(reference, network)
            inputs = feeders(reference, {row.name for row in rows})
        pairs = {row.name: (row, expected.get(row.reference.name), found.get(row.network.name)) for row in rows}
        chance: set[str] = set()
        # A later sample can only bring an earlier value.
        for position, row in enumerate(rows if first is None else rows[: first[0]]):
            read = inputs.get(row.name, ())
            if not chance.isdisjoint(read):
                chance.add(row.name)
                continue
            difference = _difference(*pairs[row.name], sample, tolerance)
            if difference is None:
                continue
            if any(_are_ties(pairs[row.name], pairs[name]) for name in read):
                chance.add(row.name)
                ties[row.name] = None
                continue
            if _is_right_by_itself(reference, pairs[row.name], [pairs[name] for name in read], feeds, tolerance):
                continue
            first = position, replace(difference, inputs=read)
            break
    difference = first[1] if first is not None else None
    others = len({value.source for value in reference.values}) - len(rows)
    return Agreement(*labels(reference.label, network.label), count, len(rows), others, (*ties,), difference)


_Pair = tuple[Row, np.ndarray | None, np.ndarray | None]
"""A value, in the reference and in the network."""


def _are_ties(indices: _Pair, elements: _Pair) -> bool:
    """Whether indices differ only where their elements lie within rounding of each other, and these are not the same in
    both networks: along some dimension, for the operator's own is not known here. Two elements that are the n-th lie at
    most twice as far apart as the two networks do in what is chosen from."""
    (row, first, second), (of, r, t) = indices, elements
    if first is None or second is None or r is None or t is None or row.reference.op not in _CHOOSING:
        return False
    if first.size != second.size or r.size != t.size or not r.size:
        return False
    ends, both = np.stack([first.reshape(-1), second.reshape(-1)]), np.stack([r, t.reshape(r.shape)]).astype(np.float64)
    if ends.dtype.kind != "i" or ends.min() < 0:
        return False
    for axis, extent in enumerate(r.shape):
        shape = (2, *r.shape[:axis], first.size * extent // r.size, *r.shape[axis + 1 :])
        if math.prod(shape) != ends.size or ends.max() >= extent:
            continue
        # In each network the elements that each of the two took: [network, who took them, …].
        taken = np.stack([np.take_along_axis(both, np.stack([end] * 2), axis + 1) for end in ends.reshape(shape)], 1)
        with np.errstate(invalid="ignore"):
            moved = np.where(both[0] == both[1], 0, np.abs(both[0] - both[1])).max(axis, keepdims=True)
            rounded = 2 * moved + _allowed(of, _largest(both[0]), _ROUNDING)
            near = np.abs(taken[:, 0] - taken[:, 1]) <= rounded
        differs = (taken[0] != taken[1]).any((0, axis + 1), keepdims=True)
        if (near & differs)[:, ends.reshape(shape)[0] != ends.reshape(shape)[1]].all():
            return True
    return False


def _is_right_by_itself(reference: Party, result: _Pair, read: Sequence[_Pair], feeds: Feeds, tolerance: float) -> bool:
    """Whether the reference makes the same of what the network has computed a value of: what rounding moved by a step
    may come out far apart."""
    row, _, found = result
    arrays = {of.reference.source: (r, t) for of, r, t in read if r is not None and t is not None and r.size == t.size}
    given = {name: t.reshape(r.shape) for name, (r, t) in arrays.items()}
    again = reference.again(row.reference.name, {**feeds, **given}) if given else None
    return again is not None and found is not None and _difference(row, again, found, "", tolerance) is None


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far numbers lie apart; what is no number is as far from a number as can be."""
    with np.errstate(all="ignore"):
        r, t = (array.reshape(first.shape).astype(np.float64) for array in (first, second))
        # A difference of numbers without dimensions is no array.
        apart = np.asarray(np.abs(r - t))
        apart[(r == t) | (np.isnan(r) & np.isnan(t))] = 0
        apart[np.isnan(apart)] = np.inf
    return apart


def _step(row: Row) -> float:
    """How far numbers of a value lie apart that stand for integers; 0 for others."""
    return row.network.step or row.reference.step or 0.0


def _allowed(row: Row, scale: float, tolerance: float) -> float:
    """How far floats of a value may lie apart, whose largest is ``scale``."""
    return tolerance * scale + 2 * _step(row)


def _largest(array: np.ndarray) -> float:
    """The largest number in magnitude."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


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
    apart, scale = _apart(expected, found), _largest(expected)
    allowed = _allowed(row, scale, tolerance) if is_float else 0.0
    if not apart.size or apart.max() <= allowed:
        return None
    index = tuple(int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape))
    largest = float(apart[index])
    first, second = float(expected[index]), float(found.reshape(expected.shape)[index])
    return Difference(row.name, op, (), sample, index, first, second, largest, scale)
