"""What the manifest records for reports alone. It may come from anyone, and nothing else has checked it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated

from tilewright.errors import ArtifactError
from tilewright.immutable import Immutable

from ..artifact.artifact import Artifact
from ..artifact.json_dataclasses import AtMost, Bounds, OneOf, Source, read
from ..machines.constants import EnergyConstants
from ..machines.machine import CARD_LIMIT, CLUSTER_LIMIT
from ..pictures.inputs import ImageInput
from .table import shortened, show_clusters, show_number

_SHOWN = 3
"""Different plans that a summary tells of."""

NAME = 24
"""Characters of a name that stands whole elsewhere on the page."""

Extents = Annotated[tuple[int, ...], AtMost(16)]
_Real = Annotated[float, Bounds(-math.inf, math.inf, whole=False)]
_Signed = Annotated[int, Bounds(-(2**63))]


_Scale = Annotated[float, Bounds(0, float("inf"), whole=False)]


class _OfIntegers:
    """What follows from an element type, a scale and a zero point."""

    dtype: str
    scale: _Scale | None
    zero_point: _Signed | None

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and the largest number that its result can stand for, if it is of integers of 8 or 16 bits."""
        bounds = {"i8": (-128, 127), "u8": (0, 255), "i16": (-(2**15), 2**15 - 1), "u16": (0, 2**16 - 1)}
        if self.dtype not in bounds or self.scale is None or self.zero_point is None:
            return None
        low, high = bounds[self.dtype]
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


class EngineLayer(Immutable, _OfIntegers):
    """A layer of the preferred engine.

    Attributes:
        name: of its result.
        op: the operator.
        operands: names of the tensors that it reads, without constants.
        inputs: their shapes.
        output: shape of its result.
        kernel, strides, dilations, pads, output_padding: of its window; empty where it has none.
        dtype: of the elements of its result.
        scale, zero_point: what their integers stand for; ``None`` where there is not one scale for all of them.
        tile: rows, columns, blocks of output and of input channels that the device computes at once; empty on the CPU.
        stationary: what a convolution on the device keeps: ``weights`` or ``inputs``.
    """

    name: str
    op: str
    operands: tuple[str, ...]
    inputs: tuple[Extents, ...]
    output: Extents
    kernel: Extents
    strides: Extents
    dilations: Extents
    pads: Annotated[tuple[_Signed, ...], AtMost(16)]
    output_padding: Extents
    dtype: str
    scale: _Scale | None
    zero_point: _Signed | None
    tile: Extents
    stationary: str


class PlacedMap(Immutable):
    """Where the result of an op of the device lies, as the artifact records it.

    Attributes:
        name: of the result.
        memory: ``chip``, ``ring`` for what is on chip with only those rows that are still needed, ``dram``, or ``none``
            for what goes into another op tile by tile.
        rows: on chip, how many rows each cluster holds, those of all images together; of a ring, its rows.
        inside: name of the map on chip that it lies in; empty where it lies in no other one.
        why: why it is not on chip, in words that follow its name.
    """

    name: str
    memory: Annotated[str, OneOf(("chip", "ring", "dram", "none"))]
    rows: Annotated[tuple[Annotated[int, Bounds(0)], ...], AtMost(1 << 10)]
    inside: str
    why: str

    @property
    def place(self) -> str:
        """What of it is on chip, or where it is instead, as users read it; without the reason."""
        if self.memory not in ("chip", "ring"):
            return "DRAM" if self.memory == "dram" else "nowhere"
        different = set(self.rows)
        is_short = len(self.rows) > 2 and len(different) == 1
        rows = f"{len(self.rows)} × {different.pop()}" if is_short else " + ".join(map(str, self.rows))
        held = f"{rows} {'row' if self.rows == (1,) else 'rows'}"
        where = f"a ring of {held}" if self.memory == "ring" else held
        return f"{where}, in %{shortened(self.inside, NAME)}" if self.inside else where


class PlacedOp(Immutable):
    """Where an op of engine ``device`` runs, as the artifact records it.

    Attributes:
        name: of its result.
        nodes: source nodes.
        on: ``device`` or ``cpu``.
        why: the reason as users read it; ``rule``, ``tensor`` and ``found`` are its parts.
        macs: multiply-accumulates.
        routine: whether every network has such ops on the CPU, so that a summary need not tell.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    on: Annotated[str, OneOf(("device", "cpu"))]
    why: str
    rule: str
    tensor: str
    found: str
    macs: int
    routine: bool


class Schedule(Immutable):
    """The schedule of a device program, as the artifact records it.

    Attributes:
        name: of the program.
        clusters: of a card that it uses.
        cards: that compute the images of a batch with it, or run it together.
        images_per_cluster: how many images each cluster works on at once; 0 where all clusters work on each image.
        kept_share: of the maps scratchpad of a cluster, what maps may take that stay there from op to op, 0 to 1.
        reduced: fields of the machine that it was made for less of, and how much.
        effort: with which plans were compared.
        cascades: runs of operators that are computed in turn, stripe of rows by stripe of rows.
    """

    name: str
    clusters: Annotated[int, Bounds(1, CLUSTER_LIMIT)]
    cards: Annotated[int, Bounds(1, CARD_LIMIT)]
    images_per_cluster: Annotated[int, Bounds(0)]
    kept_share: Annotated[float, Bounds(0, 1, whole=False)]
    reduced: Mapping[str, Annotated[int, Bounds(0)]]
    effort: str
    cascades: Annotated[int, Bounds(0)] = 0

    @property
    def text(self) -> str:
        """In words, without the name."""
        images = (
            f", {show_number(self.images_per_cluster, 'image')} on each cluster at once"
            if self.images_per_cluster
            else ""
        )
        less = ", ".join(f"{name} {value:,}" for name, value in self.reduced.items())
        machine = f"as if it had {less}" if less else "for the whole machine"
        in_turn = f", {show_number(self.cascades, 'cascade')} of operators" if self.cascades else ""
        return (
            f"{show_clusters(self.clusters, self.cards)}{images}; planned {machine} (effort {self.effort}), "
            f"up to {self.kept_share:.0%} of the maps scratchpad for maps that stay there{in_turn}"
        )


def schedule_lines(schedules: Sequence[Schedule]) -> list[str]:
    """What was planned, as lines for people: equal plans of several programs together, the most frequent ones."""
    counts = Counter(each.text for each in schedules).most_common()
    if len(counts) < 2:
        return [text for text, _ in counts]
    lines = [f"{show_number(count, 'program')} on {text}" for text, count in counts[:_SHOWN]]
    rest = sum(count for _, count in counts[_SHOWN:])
    return [*lines, f"{show_number(rest, 'program')} by other plans"] if rest else lines


class KeptValue(Immutable, _OfIntegers):
    """An output of an artifact that was compiled with further ones, to be looked at.

    Attributes:
        name, is_output: of the output, and whether it is one of the network.
        op, nodes: the operator that computes it, and the nodes of the model that it came from.
        inputs: names of the nearest inputs and kept values that it is computed of.
        dtype, scale, zero_point: of the integers that its numbers are stored in; ``None`` where there are none, or not
            one scale for all.
    """

    name: str
    is_output: bool
    op: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    dtype: str
    scale: _Scale | None
    zero_point: _Signed | None


class InputStatistics(Immutable):
    """What an input was given in calibration.

    Attributes:
        samples: how many.
        mean, deviation: of each channel of an image, otherwise of all numbers; empty for integers.
        expected: the range that the preprocessing or the encodings let expect.
        clipped: the share of values outside it, 0 to 1.
        levels: how many of its 256 levels the middle 98 % of the values span; 0 without an expected range.
        fit: how images were made to fit, in words; empty where nothing is lost, of arrays, and in older artifacts.
        rate: numbers a second, of sounds; otherwise 0.
    """

    input: str
    samples: Annotated[int, Bounds()]
    minimum: _Real
    maximum: _Real
    mean: tuple[_Real, ...]
    deviation: tuple[_Real, ...]
    expected: tuple[_Real, ...] | None
    clipped: _Real
    levels: Annotated[int, Bounds()]
    fit: str = ""
    rate: Annotated[int, Bounds()] = 0

    @property
    def text(self) -> str:
        """In words, without the name."""
        parts = [show_number(self.samples, "sample"), f"{self.minimum:.4g} to {self.maximum:.4g}"]
        for name, values in (("mean", self.mean), ("deviation", self.deviation)):
            if values:
                parts.append(f"{name} {'/'.join(f'{value:.3g}' for value in values)}")
        if self.expected is not None:
            parts.append(f"{self.levels} of 256 levels, {self.clipped:.1%} clipped")
        return ", ".join([*parts, *filter(None, [self.fit, f"{self.rate} numbers a second" * bool(self.rate)])])


class Details(Immutable):
    """What reports know of an artifact beside the manifest proper.

    Attributes:
        machine: what the device programs were made for; ``None`` without any.
        energy: constants of the energy model, where that machine is none of the samples and its file states them.
        warnings: sentences of the compiler.
        placement: each op of engine ``device``, in order of execution.
        layers: the shapes of the ops of the preferred engine, in order of execution.
        maps: where the results of the device's ops lie.
        schedules: how the work of each device program was planned.
        elements: what the integers of inputs and outputs stand for, by name, where NumPy has no such type: the name
            that the ml_dtypes package has for it, such as ``bfloat16``.
        images: how images become inputs, by the names of these; ``None`` where that is not known.
        kept: the outputs, in order of execution, where some are values in the middle of the network; else empty.
        calibration: what inputs were given in calibration.
        truths: names of the outputs that a sigmoid makes, one number of which says yes above a half.
        shares: names of the outputs that a softmax makes.
    """

    machine: str | None = None
    energy: EnergyConstants | None = None
    warnings: tuple[str, ...] = ()
    placement: tuple[PlacedOp, ...] = ()
    layers: tuple[EngineLayer, ...] = ()
    maps: tuple[PlacedMap, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    elements: Mapping[str, str] | None = None
    images: Mapping[str, ImageInput] | None = None
    kept: tuple[KeptValue, ...] = ()
    calibration: tuple[InputStatistics, ...] = ()
    truths: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()


def details_of(artifact: Artifact) -> Details:
    """The details of an artifact; what is missing there is empty, and what else stands there is of no interest."""
    found = artifact.manifest.details
    known = {each.name: found.get(each.name, each.default) for each in fields(Details)}
    unsaid = {each.name: each.default for each in fields(InputStatistics) if each.default is not MISSING}
    if isinstance(inputs := known["calibration"], list):
        known["calibration"] = [unsaid | each if isinstance(each, dict) else each for each in inputs]
    return read(Details, known, Source(f"details of {artifact.origin}", ArtifactError))
