"""How well a quantised network does what it did in floating point, on samples that it was not calibrated on."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from tilewright import limits
from tilewright.errors import CalibrationError
from tilewright.immutable import Immutable

from ....ir.core import Module, Value, is_op
from ....ir.ops.softmax import Softmax
from ....ir.quantized import limits as limits_of
from ....ir.quantized import parameters
from ....ir.types import TensorType
from ....runtime.files.array_file import StoredArray, open_arrays
from ....runtime.files.label_file import doubts_of, label_lines
from ....runtime.pictures.declaration import SUFFIXES
from ....runtime.pictures.preprocessing import UNCLASSED
from ....runtime.report.classes import image_size, rows_of
from ...calibration.ranges import Function
from ...calibration.runs import RunFunction, compiled, run_on
from ...calibration.sample_sets import ArrayFiles, CalibrationSet, Held, ImageFiles, images_of, numbers_of
from ...report.details import answers as kinds

UNLABELLED = -2
"""The label of what does not count; one below the first class would be -1."""

HALF = 0.5
"""Above it a sigmoid says yes."""
NO_NOISE = 200.0
"""Decibels of what is equal."""

Outputs = list[np.ndarray]
"""What a network answers to each sample: its first result in one row, and all that is compared behind it."""


class Score(Immutable):
    """A quantised network beside itself in floating point.

    Attributes:
        sqnr: power of the results over that of what differs, in decibels; of what a softmax at the end is applied to.
        agreement: share of the samples with the same largest number of the first result.
        top1: share of the samples whose largest number is that of the label; ``None`` without labels.
        outputs: SQNR of each by name, in decibels.
        iou: intersection over union of the pixels of a class, answered and in the mask; the mean of the classes that
            are in either. ``None`` without masks.
    """

    sqnr: float
    agreement: float
    top1: float | None
    outputs: Mapping[str, float] = field(default_factory=dict)
    iou: float | None = None

    @property
    def right(self) -> float | None:
        """What goals are about: the mean IoU where there are masks, else top-1."""
        return self.top1 if self.iou is None else self.iou


def runner(module: Module) -> RunFunction:
    """A run function for a simplified module, quantised or not; of a softmax at the end it gives the operand."""
    found: dict[str, Value] = {}
    for index, value in enumerate(module.main.results):
        op = value.producer
        found[str(index)] = op.operands.x if is_op(op, Softmax) and op.operands.x.producer is not None else value
    return compiled(module, found)


def answers(run: RunFunction, held: Held, report: Callable[[int], object] = lambda done: None) -> Outputs:
    """All results in one row, the first one first, for each sample; float32.
    ``report``: called with the number of samples that are done with, before each."""
    rows: list[list[np.ndarray]] = []
    for number, inputs in zip(numbers_of(held), held, strict=True):
        report(len(rows))
        rows.append([array.ravel() for array in run_on(run, inputs, number).values()])
    return [np.concatenate(row).astype(np.float32, copy=False) for row in rows]


def first_shape(module: Module) -> tuple[int, int, int]:
    """The first result as rows of numbers, of which the largest is the answer, as `rows_of` has them.

    Integers are classes, as of an ArgMax at the end: rows of 0 numbers, each the answer itself. One number is a truth
    value: whether it is above a half, of what a sigmoid makes."""
    type = module.main.results[0].type
    shape, image = type.shape, image_size(each.type.shape for each in module.main.parameters)
    if shape[1:] == image and module.main.result_names[0] in kinds(module)["truths"]:
        # Pixels of what a sigmoid makes, without a dimension of channels.
        return shape[0], 1, math.prod(image)
    if not type.dtype.is_float:
        return (shape[0], 0, math.prod(shape[2:])) if type.rank == 4 and shape[1] == 1 else (type.elements, 0, 1)
    return rows_of(shape, image)


def score(
    expected: Outputs,
    found: Outputs,
    labels: Sequence[int] | np.ndarray | None,
    shape: tuple[int, int, int],
    sizes: Mapping[str, int] | None = None,
    *,
    has_masks: bool = False,
) -> Score:
    """The score of results, given those in floating point, the class of each row, or `UNLABELLED`, and the shape of the
    first.
    ``sizes``: elements of each result by name, in order.
    ``has_masks``: whether the classes are those of pixels."""
    ends = np.cumsum([*(sizes or {}).values()])[:-1]
    powers, size = np.zeros((2, len(ends) + 1)), shape[0] * max(1, shape[1]) * shape[2]
    for a, b in zip(expected, found, strict=True):
        numbers = np.where(np.isfinite(a), a, 0).astype(np.float64)
        wrong = np.where(np.isfinite(a), b, 0) - numbers
        powers += [[np.square(part).sum() for part in np.split(each, ends)] for each in (numbers, wrong)]
    exact, classes = (np.concatenate([_classes(each[:size], shape) for each in rows]) for rows in (expected, found))
    right = float(np.mean((classes == labels)[np.not_equal(labels, UNLABELLED)])) if labels is not None else None
    each = dict(zip(sizes or {}, map(decibels, *powers.tolist()), strict=False))
    iou = _mean_iou(classes, np.asarray(labels)) if has_masks else None
    return Score(decibels(*powers.sum(1).tolist()), float(np.mean(exact == classes)), right, each, iou)


def _mean_iou(answers: np.ndarray, labels: np.ndarray) -> float:
    known = labels != UNLABELLED
    # Integers may be anything; what no mask can have is one more class at either end.
    found, wanted = (each[known].clip(-1, UNCLASSED).astype(np.int64) + 1 for each in (answers, labels))
    count = UNCLASSED + 2
    both = np.bincount(wanted[found == wanted], minlength=count)
    either = np.bincount(found, minlength=count) + np.bincount(wanted, minlength=count) - both
    return float(np.mean(both[either > 0] / either[either > 0]))


def _classes(row: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The answers of a sample."""
    if shape[1] < 2:
        return row > HALF if shape[1] else row
    return row.reshape(shape).argmax(1).ravel()


def _class_count(shape: tuple[int, int, int], unknown: int) -> int:
    """How many classes answers have; ``unknown`` where the network does not say."""
    return {0: unknown, 1: 2}.get(shape[1], shape[1])


def decibels(signal: float, noise: float) -> float:
    """Ten times the logarithm of the ratio of two powers, within `NO_NOISE` of 0, which equal zeros have, too; noise
    that is no number is endless."""
    if noise == 0:
        return NO_NOISE
    noise = noise if math.isfinite(noise) else 1e300
    return max(-NO_NOISE, min(10 * float(np.log10(max(signal, 1e-300) / max(noise, 1e-300))), NO_NOISE))


def read_labels(
    path: str | os.PathLike[str],
    samples: CalibrationSet,
    type: TensorType,
    shape: tuple[int, int, int],
    at: Sequence[int],
) -> np.ndarray:
    """The classes of some samples: of a ``.npy`` file of whole numbers, or of lines ``CLASS``, in the order of the
    samples, or ``NAME CLASS``, by the name of the image, with the folders before it or without; or of a folder of
    images with the same names, whose pixels are classes, 255 none, made to fit as the samples are.
    ``type``, ``shape``: of the first result, and of the answers in it.
    ``at``: numbers of these samples.
    Raises CalibrationError: classes are missing, too many, or none of the network's."""
    where = f"the labels {os.fspath(path)!r}"
    if os.path.isdir(path):
        return _masks(Path(path), where, samples, type, shape, at)
    named, listed = _named_or_listed(path, where)
    rows = shape[0] * shape[2]
    files = [*map(Path, samples.files)] if isinstance(samples, (ImageFiles, ArrayFiles)) else None
    if isinstance(samples, ArrayFiles) and (len(samples.files) != len(samples) or rows != 1):
        files = None
    several = files is not None and len(files) <= (len(samples) - 1) * rows
    files = None if several else files
    if named and files is None:
        seen, hint = (
            ("several answers a sample", "Of a map, give masks.")
            if several
            else ("samples without names", "Give lines CLASS, in the order of the samples.")
        )
        raise _wrong(f"{where} name images", "a class for each answer, in order", seen, hint)
    if named and files is not None:
        found = [next((named[key] for key in _keys(file) if key in named), None) for file in files]
        if None in found:
            raise _wrong(f"{where} lack images", "NAME CLASS", f"none for {files[found.index(None)].name!r}")
        listed = [label for label in found if label is not None]
    count = len(samples) * rows if files is None else len(files)
    if len(listed) != count:
        raise _wrong(f"{where} are not as many as the samples", count, len(listed))
    classes = _class_count(shape, int(limits.ELEMENTS))
    outside = [label for label in listed if not 0 <= label < classes]
    if outside:
        raise _wrong(f"{where} hold a class that the network lacks", f"0 to {classes - 1}", outside[0])
    return np.asarray([listed[(index * rows + row) % count] for index in at for row in range(rows)])


def _keys(file: Path) -> list[str]:
    """What a file may go by: its name, behind all folders, some or none."""
    return [Path(*file.parts[at:]).as_posix() for at in range(len(file.parts))]


def _masks(
    folder: Path, where: str, samples: CalibrationSet, type: TensorType, shape: tuple[int, int, int], at: Sequence[int]
) -> np.ndarray:
    """The class of each pixel of some samples."""
    parts, count = images_of(samples), _class_count(shape, UNCLASSED)
    size = type.shape[2:] if shape[2] > 1 and type.rank > 3 else type.shape[1:3]
    if len(size) != 2 or not 1 < math.prod(size) == shape[0] * shape[2] / type.shape[0] or count > UNCLASSED:
        raise _wrong(f"{where} are a folder, which suits maps of 2 to {UNCLASSED} classes", "a file of classes", type)
    if len(parts) != 1:
        raise _wrong(f"{where} are masks by the names of images", "one input of images", f"{len(parts)} of them")
    files = [each for each in sorted(folder.rglob("*.*")) if each.suffix.lower() in SUFFIXES and each.is_file()]
    masks = {each.relative_to(folder).with_suffix("").as_posix(): each for each in files}
    found: list[np.ndarray] = []
    for file in map(Path, parts[0].only(at).files):
        mask = next((masks[key] for key in _keys(file.with_suffix("")) if key in masks), None)
        if mask is None:
            raise _wrong(f"{where} lack masks", "an image of the same name", f"none for {file.name!r}")
        found.append(parts[0].preprocessing.classes(mask, size).astype(np.int16).ravel())
    labels = np.concatenate(found)
    labels[labels == UNCLASSED] = UNLABELLED
    # Binary masks as image editors write them.
    is_white = count == 2 and labels.max() == 0 and bool((labels == UNLABELLED).any())
    if is_white or not 0 <= labels.max() < count:
        what = f"pixels that are classes, and 255 where there is none: 0 to {count - 1}"
        none = {0: "no pixel of a class above 0", UNLABELLED: "255 alone"}.get(labels.max(), labels.max())
        hint = "Give pixels that are yes as 1, not as 255." if is_white else None
        raise _wrong(f"{where} hold no classes of the network", what, none, hint)
    return labels


def _named_or_listed(path: str | os.PathLike[str], where: str) -> tuple[dict[str, int], list[int]]:
    """Classes by name, or in order."""
    whole = "a whole number, the first class being 0"
    if Path(path).suffix == ".npy":
        array = open_arrays(path)
        if not isinstance(array, StoredArray) or array.dtype.kind not in "iu":
            raise _wrong(f"{where} are no classes", whole, array.dtype if isinstance(array, StoredArray) else ".npz")
        return {}, array.read().reshape(-1).tolist()
    labels = [*label_lines(path, "Give lines CLASS or NAME CLASS, or a folder of masks.")]
    is_named = bool(labels and labels[0].name)
    for at, line, name, label in labels:
        if label is None:
            raise _wrong(f"line {at} of {where} is no class", whole, repr(line[:80]))
        if bool(name) != is_named:
            what = f"line {at} of {where} is unlike those before"
            raise _wrong(what, "lines CLASS, or lines NAME CLASS, not both", repr(line[:80]))
    numbers = [each.number for each in labels if each.number is not None]
    found: dict[str, int] = {}
    for each, number in zip(labels if is_named else (), numbers, strict=False):
        if found.setdefault(each.name, number) != number:
            raise _wrong(f"{where} give {each.name!r} two classes", "one", f"{found[each.name]} and {number}")
    return found, [] if is_named else numbers


def _wrong(message: str, expected: object, found: object, hint: str | None = None) -> CalibrationError:
    return CalibrationError(message, stage="quantize", expected=expected, found=found, hint=hint)


def doubts(outputs: Outputs, labels: np.ndarray, shape: tuple[int, int, int]) -> list[str]:
    """What to tell of labels that a network in floating point meets no better than by guessing."""
    guessed, known = 1 / _class_count(shape, max(2, labels.max() + 1)), labels != UNLABELLED
    count = int(known.sum())
    right = {by: score(outputs, outputs, labels + by * known, shape).top1 or 0.0 for by in (0, 1, -1)}
    how = "classes count from 0, in the order of the samples unless lines name images"
    return doubts_of(right, count, guessed, how, "in floating point ")


class LayerLoss(Immutable):
    """A value of the network in integers; where only a function such as SiLU reads it, by what that makes of it.

    Attributes:
        name: the tensor.
        own: SQNR of the value if it alone were rounded, in decibels.
        here: SQNR of the value as the quantised network computes it.
        levels: integers that samples use.
        saturated: share of the numbers beyond the range, whether that changes much or not.
        why: the largest cause in words.
    """

    name: str
    own: float
    here: float
    levels: int
    saturated: float
    why: str


def losses(
    floating: Mapping[str, list[np.ndarray]],
    quantized: Mapping[str, list[np.ndarray]],
    types: Mapping[str, TensorType],
    functions: Mapping[str, Function],
) -> list[LayerLoss]:
    """What each value loses as integers of its type, the most harmed first.
    ``functions``: what alone is made of values, by name."""
    found: list[LayerLoss] = []
    for name, arrays in floating.items():
        (scale, zero), (low, high) = parameters(types[name]), limits_of(types[name])
        made = functions.get(name, np.asarray)
        signal = own = here = cut = 0.0
        used = np.zeros(high - low + 1, np.bool_)
        outside = total = 0
        for a, b in zip(arrays, quantized[name], strict=True):
            steps = np.rint(a.astype(np.float64) / scale) + zero
            stored = np.clip(steps, low, high)
            beyond = np.abs(steps - stored) >= 1
            outside += int(beyond.sum())
            total += a.size
            used[(stored - low).astype(np.int64)] = True
            exact = made(a).astype(np.float64)
            wrong = np.square(made(((stored - zero) * scale).astype(a.dtype)) - exact)
            signal += float(np.square(exact).sum())
            own += float(wrong.sum())
            cut += float(wrong[beyond].sum())
            here += float(np.square(made(b) - exact).sum())
        alone, arrived = decibels(signal, own), decibels(signal, here)
        levels = int(used.sum())
        # A few numbers have no more levels than there are of them.
        is_few = levels < min(FEW_LEVELS, total // 4)
        why = _why(alone, arrived, levels if is_few else None, used.size, cut / max(own, 1e-300))
        found.append(LayerLoss(name, alone, arrived, levels, outside / max(total, 1), why))
    return sorted(found, key=lambda each: each.here)


FEW_LEVELS = 64


def _why(own: float, here: float, levels: int | None, steps: int, cut: float) -> str:
    """The cause, given the share of what cutting off does in what rounding does; levels where few are used."""
    if here < own - 3:
        return "layers before, and its weights"
    if levels is not None:
        return f"few levels used: {levels} of {steps}"
    return "numbers beyond its range" if cut > 0.5 else f"rounding to {steps} equal steps"
