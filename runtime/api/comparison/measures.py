"""How far the values of two networks lie apart, over all samples: one row for each value that both have."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tilewright.errors import InputError, TilewrightError

from ..simulator.inference import translation, without_ones
from ..simulator.input_data import Feeds
from ..simulator.metrics import METRICS, Sums, sums
from .party import ONNXRUNTIME, ArtifactParty, Party, Value
from .tables import body, text

STAGE = "compare"


@dataclass
class Row:
    """A value that both have.

    Attributes:
        name: the tensor of the model.
        reference, network: the value on either side.
        is_output: whether it is an output of the network.
        inputs: the nearest rows that it is computed of, as the reference has them.
    """

    name: str
    reference: Value
    network: Value
    is_output: bool
    inputs: tuple[str, ...] = ()
    _sums: Sums = field(default_factory=lambda: Sums(0))
    _saturated: int = 0
    _agreeing: int = 0
    _ranked: int = 0

    def metric(self, name: str) -> float:
        """One of `METRICS`, over all samples."""
        return METRICS[name].value(self._sums)

    @property
    def sqnr(self) -> float:
        """dB; inf where all is equal, NaN where numbers are not finite on one side alone."""
        return self.metric("snr")

    @property
    def saturated(self) -> float | None:
        """The share of elements that lie at an end of the integers while the reference lies beyond it."""
        return self._saturated / max(self._sums.count, 1) if self.network.range is not None else None

    @property
    def top1(self) -> float | None:
        """The share of rows of scores whose largest is at the same place."""
        return self._agreeing / self._ranked if self._ranked else None

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, reference: np.ndarray, test: np.ndarray) -> None:
        """Take in a sample."""
        self._sums += sums(reference, test)
        ends, step = self.network.range, self.network.step
        if ends is not None and step is not None:
            low, high = ends
            r, t = reference.reshape(-1), test.reshape(-1)
            above, below = (t >= high - step / 4) & (r > high + step / 2), (t <= low + step / 4) & (r < low - step / 2)
            self._saturated += int(np.count_nonzero(above | below))
        if self.is_output and _are_scores(reference) and _are_scores(test):
            classes = without_ones(reference.shape[1:])[0]
            best = (array.reshape(-1, classes).argmax(1) for array in (reference, test))
            agreeing = np.equal(*best)
            self._agreeing += int(agreeing.sum())
            self._ranked += agreeing.size


def _are_scores(array: np.ndarray) -> bool:
    if array.ndim < 2 or not array.size or array.dtype.kind != "f" or len(without_ones(array.shape[1:])) != 1:
        return False
    # Rows of length 1 are directions, as of embeddings, unless they are probabilities.
    rows = array.reshape(len(array), -1).astype(np.float64)
    return np.allclose(rows.sum(1), 1, atol=1e-2) or not np.allclose(np.square(rows).sum(1), 1, atol=1e-2)


@dataclass
class Result:
    """What a comparison found.

    Attributes:
        reference, network: what users call them.
        samples: how many there were.
        rows: in the order of execution of the reference.
        only_reference, only_network: the values that one of them has alone.
        closed: those of both that are artifacts without values in the middle.
        other_shapes: names of those that both have in different shapes.
    """

    reference: str
    network: str
    samples: int = 0
    rows: Sequence[Row] = ()
    only_reference: Sequence[str] = ()
    only_network: Sequence[str] = ()
    closed: Sequence[str] = ()
    other_shapes: dict[str, str] = field(default_factory=dict)

    @property
    def worst_first(self) -> list[Row]:
        """The rows by rising SQNR, those that are no numbers first."""
        return sorted(self.rows, key=lambda row: -math.inf if math.isnan(row.sqnr) else row.sqnr)

    def __str__(self) -> str:
        return text(self, every=False)

    def _repr_html_(self) -> str:
        return body(self)


def compare_values(
    reference: Party,
    network: Party,
    samples: Iterable[tuple[str, Feeds]],
    report: Callable[[int], object] = lambda done: None,
) -> Result:
    """Compare every value that both compute.
    ``samples``: for the inputs of the reference, by name.
    ``report``: called before each sample with the number of those that are done.
    Raises InputError: there is no sample; the two do not take the same inputs, or have no value in common;
    TilewrightError: one of them cannot be run; says on which sample."""
    translate = translation((reference, network))
    result = Result(*labels(reference.label, network.label))
    rows: dict[str, Row] = {}
    for sample, feeds in samples:
        report(result.samples)
        ends = run_both(reference, network, feeds, translate, sample)
        if not rows:
            rows = {row.name: row for row in paired(reference, network)}
            _fill(result, reference, network, rows)
        result.samples += 1
        for row in rows.values():
            first, second = ends[0].get(row.reference.name), ends[1].get(row.network.name)
            if first is None or second is None or row.name in result.other_shapes:
                continue
            if without_ones(first.shape) != without_ones(second.shape):
                result.other_shapes[row.name] = f"{list(first.shape)} and {list(second.shape)}"
                continue
            row.add(first, second)
    if not result.samples:
        raise InputError("there is no sample", stage=STAGE, hint="Give data with --data.")
    compared = [row for row in rows.values() if row.name not in result.other_shapes]
    if not compared:
        raise _nothing_in_common(reference, network, result)
    names = {row.name for row in compared}
    inputs = feeders(reference, names)
    for row in compared:
        row.inputs = inputs.get(row.name, ())
    result.rows = compared
    return result


def run_both(
    reference: Party, network: Party, feeds: Feeds, translate: Callable[[Feeds, str], Feeds], sample: str
) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """The values of both on a sample; an error says on which."""
    try:
        return reference.run(feeds), network.run(translate(feeds, sample))
    except TilewrightError as error:
        error.message = f"sample {sample!r}: {error.message}"
        raise


def labels(first: str, second: str) -> tuple[str, str]:
    """Names of files without their folders, unless these alone tell them apart."""
    parts = ((ONNXRUNTIME if label.startswith(ONNXRUNTIME) else "", label) for label in (first, second))
    short = [sign + os.path.basename(label.removeprefix(sign)) for sign, label in parts]
    return (short[0], short[1]) if short[0] != short[1] else (first, second)


def paired(reference: Party, network: Party) -> list[Row]:
    """The values that both have, by the tensor that they stand for; outputs of other names by their position."""
    first, second = ({value.source: value for value in party.values} for party in (reference, network))
    ends = [[value.source for value in _outputs(party)] for party in (reference, network)]
    for party, values in ((reference, first), (network, second)):
        for value in reversed(party.values):
            # What computes a tensor, and not what converts it.
            values[value.source] = replace(values[value.source], op=value.op, nodes=value.nodes)
    pairs = {name: (value, second[name]) for name, value in first.items() if name in second}
    if len(ends[0]) == len(ends[1]):
        strangers = [(a, b) for a, b in zip(*ends, strict=True) if a not in second and b not in first]
        pairs |= {a: (first[a], second[b]) for a, b in strangers}
    order = {name: position for position, name in enumerate(first)}
    found = [Row(name, *pairs[name], is_output=name in ends[0]) for name in sorted(pairs, key=order.__getitem__)]
    if not found:
        raise _nothing_in_common(reference, network)
    return found


def _outputs(party: Party) -> list[Value]:
    by_name = {value.name: value for value in party.values}
    return [by_name.get(name, Value(name)) for name in party.outputs]


def _fill(result: Result, reference: Party, network: Party, rows: Mapping[str, Row]) -> None:
    """Say which values one of them has alone."""
    taken = {row.reference.source for row in rows.values()}, {row.network.source for row in rows.values()}
    names = ([*dict.fromkeys(value.source for value in party.values)] for party in (reference, network))
    result.only_reference, result.only_network = (
        [name for name in each if name not in known] for each, known in zip(names, taken, strict=True)
    )
    parties = {result.reference: reference, result.network: network}
    artifacts = {label: party for label, party in parties.items() if isinstance(party, ArtifactParty)}
    result.closed = [label for label, party in artifacts.items() if not any(value.op for value in party.values)]


def feeders(party: Party, compared: set[str]) -> dict[str, tuple[str, ...]]:
    """For each value that is compared the nearest such values that it is computed of."""
    sources = {value.name: value.source for value in party.values}
    nearest: dict[str, dict[str, None]] = {}
    found: dict[str, tuple[str, ...]] = {}
    for value in party.values:
        own: dict[str, None] = {}
        for name in value.inputs:
            source = sources.get(name, name)
            own.update({source: None} if source in compared and source != value.source else nearest.get(name, {}))
        nearest[value.name] = own
        if own or value.source not in found:
            found[value.source] = (*own,)
    return found


def _nothing_in_common(reference: Party, network: Party, result: Result | None = None) -> InputError:
    first, second = ([value.name for value in party.values] for party in (reference, network))
    if result is not None and result.other_shapes:
        name, shapes = next(iter(result.other_shapes.items()))
        return InputError(
            f"{reference.label!r} and {network.label!r} have no value of the same shape",
            stage=STAGE,
            found=f"{name!r} of {shapes}",
            hint="Compare networks that were made of the same model.",
        )
    return InputError(
        f"{reference.label!r} and {network.label!r} have no value in common",
        stage=STAGE,
        expected=f"names such as {', '.join(first[:3])}",
        found=", ".join(second[:3]),
        hint="Compare networks that were made of the same model; name pairs of tensors with --layer NAME=NAME.",
    )
