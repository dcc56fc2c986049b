"""How well a quantised network does what it did in floating point, on samples that it was not calibrated on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilewright import limits
from tilewright.errors import CalibrationError

from ...codegen.cpu.llvm.target import TargetDescription
from ...codegen.package import Package, add_engine
from ...ir.clone import clone_module
from ...ir.core import Module, is_op
from ...ir.ops.softmax import Softmax
from ...ir.types import DType
from ...passes.quantization.parameters import affine_parameters
from ...runtime.artifact.artifact import Artifact
from ...runtime.files.array_file import open_arrays
from ...runtime.files.input_file import contents
from ...runtime.session import load
from ..calibration.dataset import ImageFiles, Inputs
from ..calibration.ranges import RunFunction
from ..pipeline import cpu_pipeline
from ..progress import silent

Outputs = list[np.ndarray]
"""What a network answers to each sample: its first result in one row, and all that is compared behind it."""


@dataclass(frozen=True)
class Score:
    """A quantised network beside itself in floating point.

    Attributes:
        sqnr: power of the results over that of what differs, in decibels; of what a softmax at the end is applied to.
        agreement: share of the samples with the same largest number of the first result.
        top1: share of the samples whose largest number is that of the label; ``None`` without labels.
    """

    sqnr: float
    agreement: float
    top1: float | None


def runner(module: Module) -> RunFunction:
    """A run function for a simplified module, quantised or not; of a softmax at the end it gives the operand."""
    copy = clone_module(module)
    results = []
    for value in copy.main.results:
        op = value.producer
        results.append(op.operands.x if is_op(op, Softmax) and op.operands.x.producer is not None else value)
    names = [str(index) for index in range(len(results))]
    copy.main.set_results(results, names)
    cpu_pipeline().run(copy)
    package = Package(copy, "fp32", "quantize")
    add_engine(package, "float", copy, TargetDescription.several("host"), report=silent)
    session = load(Artifact.open(package.to_bytes()))
    return session.run


def answers(run: RunFunction, samples: Sequence[Inputs]) -> Outputs:
    """All results in one row, the first one first, for each sample; float32."""
    return [np.concatenate([array.ravel() for array in run(inputs).values()]) for inputs in samples]


def first_size(module: Module) -> int:
    """Elements of the first result."""
    return module.main.results[0].type.elements


def score(expected: Outputs, found: Outputs, labels: Sequence[int] | None, size: int) -> Score:
    """The score of results, given those in floating point, and the elements of the first."""
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in expected)
    noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(expected, found, strict=True))
    classes = [int(b[:size].argmax()) for b in found]
    same = [int(a[:size].argmax()) == c for a, c in zip(expected, classes, strict=True)]
    right = [c == label for c, label in zip(classes, labels, strict=True)] if labels is not None else None
    sqnr = decibels(signal, noise)
    return Score(sqnr, float(np.mean(same)), float(np.mean(right)) if right is not None else None)


def decibels(signal: float, noise: float) -> float:
    """Ten times the logarithm of the ratio of two powers; at most 200."""
    return min(10 * float(np.log10(max(signal, 1e-300) / max(noise, 1e-300))), 200.0)


def read_labels(path: str | os.PathLike[str], samples: object, count: int) -> list[int]:
    """The class of each sample: of a ``.npy`` file of whole numbers, or of lines ``CLASS``, in the order of the
    samples, or ``NAME CLASS``, by the name of the image.

    Raises:
        CalibrationError: a class is missing or none.
    """
    where = f"the labels {os.fspath(path)!r}"
    if Path(path).suffix == ".npy":
        array = np.load(path, allow_pickle=False) if isinstance(open_arrays(path), dict) is False else None
        found = [int(each) for each in np.asarray(array).reshape(-1)]
        return _enough(found, count, where)
    lines = contents(os.fspath(path), limits.AFFINITY, where).decode(errors="replace").split("\n")
    words = [line.rsplit(maxsplit=1) for line in lines if line.strip()]
    try:
        if all(len(each) == 1 for each in words):
            return _enough([int(each[0]) for each in words], count, where)
        by_name = {each[0]: int(each[1]) for each in words if len(each) == 2}
    except ValueError as error:
        raise CalibrationError(f"{where} hold no whole number: {error}", stage="quantize") from None
    if not isinstance(samples, ImageFiles):
        raise CalibrationError(f"{where} name images", stage="quantize", expected="a class for each sample, in order")
    missing = [file.name for file in samples.files if file.name not in by_name]
    if missing:
        raise CalibrationError(
            f"{where} lack images", stage="quantize", expected="NAME CLASS", found=f"none for {missing[0]!r}"
        )
    return [by_name[file.name] for file in samples.files]


def _enough(labels: list[int], count: int, where: str) -> list[int]:
    if len(labels) < count:
        raise CalibrationError(
            f"{where} are fewer than the samples", stage="quantize", expected=count, found=len(labels)
        )
    return labels[:count]


@dataclass(frozen=True)
class LayerLoss:
    """A value of the network in integers.

    Attributes:
        name: the tensor.
        own: SQNR of the value if it alone were rounded, in decibels.
        here: SQNR of the value as the quantised network computes it.
        levels: of 256, that samples use.
        saturated: share of the numbers beyond the range.
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
    ranges: Mapping[str, tuple[float, float]],
) -> list[LayerLoss]:
    """What each value loses, the most harmed first."""
    found: list[LayerLoss] = []
    for name, arrays in floating.items():
        quant = affine_parameters(ranges[name], DType.I8)
        scale, zero = quant.scale[0], quant.zero_point[0]
        signal = own = here = 0.0
        used: set[int] = set()
        outside = total = 0
        for a, b in zip(arrays, quantized[name], strict=True):
            steps = np.rint(a.astype(np.float64) / scale) + zero
            stored = np.clip(steps, -128, 127)
            outside += int((np.abs(steps - stored) >= 1).sum())
            total += a.size
            used.update(np.unique(stored.astype(np.int64)).tolist())
            signal += float(np.square(a, dtype=np.float64).sum())
            own += float(np.square((stored - zero) * scale - a).sum())
            here += float(np.square(b.astype(np.float64) - a).sum())
        alone, arrived = decibels(signal, own), decibels(signal, here)
        share = outside / max(total, 1)
        found.append(LayerLoss(name, alone, arrived, len(used), share, _why(alone, arrived, len(used), share)))
    return sorted(found, key=lambda each: each.here)


FEW_LEVELS = 64
MUCH_SATURATED = 0.001
"""Share of the numbers."""


def _why(own: float, here: float, levels: int, saturated: float) -> str:
    if here < own - 3:
        return "errors of layers before, and of its weights"
    if levels < FEW_LEVELS:
        return f"few levels used: {levels} of 256"
    return "numbers beyond its range" if saturated > MUCH_SATURATED else "one scale for all of its range"
