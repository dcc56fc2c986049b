"""What the data select: how many there are is known only when the network runs.

Such an operator has room for as many as there can be, its *bound*, and tells beside it how many there are. What it
selected comes first; what is behind that is zero.
"""

import math

import numpy as np

from tilewright.errors import InputError, IRError

from ..core import Value
from ..op import Operator, UnaryOperands, operator
from ..types import DType, ResultTypes, TensorType, Types
from .control_flow import COUNT
from .movement import check_axis


@operator("nonzero")
class NonZero(Operator[UnaryOperands]):
    """Where x is not zero.

    Results: i64 [rank of x, elements of x], whose columns are the positions, in row-major order; how many there are,
    i64[]. NaN is not zero; a scalar counts as a tensor of one element."""

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        return TensorType((max(x.rank, 1), x.elements), DType.I64), COUNT

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        found = np.stack(np.nonzero(np.atleast_1d(x)))
        positions = np.zeros((len(found), x.size), np.int64)
        positions[:, : found.shape[1]] = found
        return positions, np.asarray(found.shape[1])


@operator("unique")
class Unique(Operator[UnaryOperands]):
    """Which elements of x, or slices along an axis, are the first of their value.

    Results, all i64, with n elements or slices: their positions [n]; for each element or slice of x, which of those
    its value is [n]; how often each occurs [n]; how many there are []. NaN equals NaN and is larger than all numbers.
    ``axis``: slices along it are compared, element by element; ``None`` for the elements of x in row-major order.
    ``sorted``: the smallest value first; otherwise the first position first."""

    axis: int | None = None
    sorted: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        if self.axis is not None:
            check_axis(self.axis, x)
        line = TensorType((x.elements if self.axis is None else x.shape[self.axis],), DType.I64)
        return line, line, line, COUNT

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        (x,) = operand_types
        assert x is not None
        return x.elements * max(1, result_types[0].elements.bit_length())

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        count = x.size if self.axis is None else x.shape[self.axis]
        # Ranks of the numbers in place of them, among which NaN is one like others.
        ranks = np.unique(x, return_inverse=True)[1].reshape(x.shape)
        lines = (ranks if self.axis is None else np.moveaxis(ranks, self.axis, 0)).reshape(
            count, x.size // max(count, 1)
        )
        positions, which, often = np.zeros((3, count), np.int64)
        if not lines.size:
            # Slices without elements are equal.
            found, each, times = np.zeros(min(count, 1), int), np.zeros(count, int), np.full(min(count, 1), count)
        else:
            _, found, each, times = np.unique(lines, axis=0, return_index=True, return_inverse=True, return_counts=True)
        order = np.arange(len(found)) if self.sorted else np.argsort(found)
        place = np.argsort(order)
        positions[: len(found)], often[: len(found)] = found[order], times[order]
        which[:] = place[each.reshape(-1)] if count else 0
        return positions, which, often, np.asarray(len(found))


@operator("bounded")
class Bounded(Operator[tuple[Value, Value]]):
    """x, i64[], which must be from 0 to ``limit``, i64[]: the run ends (`InputError`) where it is not."""

    def infer(self, x: TensorType, limit: TensorType) -> TensorType:
        if (x, limit) != (COUNT, COUNT):
            raise IRError("numbers of elements are scalars", expected=COUNT, found=f"{x} and {limit}")
        return COUNT

    def reference(self, x: np.ndarray, limit: np.ndarray) -> np.ndarray:
        if not 0 <= x <= limit:
            raise InputError("an extent is out of range", op=self.name, expected=f"0 to {limit}", found=int(x))
        return x


@operator("non_max_suppression")
class NonMaxSuppression(Operator[tuple[Value, Value, Value, Value, Value]]):
    """The best boxes of each class that do not overlap much.

    Operands: boxes f32 [images, n, 4]; scores f32 [images, classes, n]; how many boxes a class of an image has at most,
    i64[]; the overlap, as intersection over union, beyond which the worse of two boxes goes, f32[]; the score that a
    box must exceed, f32[], of which minus infinity lets all pass. Scores that are no numbers lose.

    Results: i64 [images * classes * least of n and ``room``, 3], rows of image, class and box, by image, then by class,
    then the best first, of equal scores the lower box; how many there are, i64[].
    ``room``: how many boxes a class of an image has room for.
    ``centred``: boxes are [x, y, width, height], x and y of the centre; otherwise [y, x, y, x] of two opposite
    corners."""

    room: int
    centred: bool = False

    def infer(
        self, boxes: TensorType, scores: TensorType, most: TensorType, overlap: TensorType, threshold: TensorType
    ) -> tuple[TensorType, ...]:
        number = TensorType((), DType.F32)
        if (boxes.dtype, scores.dtype, most, overlap, threshold) != (DType.F32, DType.F32, COUNT, number, number):
            found = f"{boxes}, {scores}, {most}, {overlap}, {threshold}"
            raise IRError("wrong types", expected=f"two tensors of f32, {COUNT}, {number}, {number}", found=found)
        if boxes.rank != 3 or scores.rank != 3 or boxes.shape != (scores.shape[0], scores.shape[2], 4):
            raise IRError("boxes and scores do not fit", expected="[images, n, 4]", found=f"{boxes} and {scores}")
        if self.room < 0:
            raise IRError("there is no room of a negative size", found=self.room)
        return TensorType((scores.shape[0] * scores.shape[1] * min(self.room, scores.shape[2]), 3), DType.I64), COUNT

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        scores = operand_types[1]
        assert scores is not None
        count = scores.shape[2] if len(scores.shape) == 3 else 0
        return scores.elements * (count.bit_length() + min(self.room, count))

    def reference(
        self, boxes: np.ndarray, scores: np.ndarray, most: np.ndarray, overlap: np.ndarray, threshold: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        limit = min(int(most), self.room)
        rows: list[tuple[int, int, int]] = []
        for image, label in np.ndindex(scores.shape[:2]):
            line, corners = scores[image, label], self._corners(boxes[image])
            passes = ~np.isnan(line) if threshold == -np.inf else line > threshold
            kept: list[int] = []
            for box in sorted(np.flatnonzero(passes).tolist(), key=lambda box: (-line[box], box)):
                if len(kept) >= limit:
                    break
                if not any(overlap_of(corners[box], corners[other]) > overlap for other in kept):
                    kept.append(box)
            rows += [(image, label, box) for box in kept]
        selected = np.zeros((math.prod(scores.shape[:2]) * min(self.room, scores.shape[2]), 3), np.int64)
        if rows:
            selected[: len(rows)] = rows
        return selected, np.asarray(len(rows))

    def _corners(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes as [low, low, high, high]."""
        first, second = boxes[:, :2], boxes[:, 2:]
        if self.centred:
            half = second / np.float32(2)
            return np.concatenate([first - half, first + half], 1)
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def overlap_of(box: np.ndarray, other: np.ndarray) -> np.float32:
    """Intersection over union of two boxes [low, low, high, high], in float32; 0 where one has no area."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    if not (sides[0] > 0 and sides[1] > 0):
        return np.float32(0)
    shared = sides[0] * sides[1]
    first, second = ((each[2] - each[0]) * (each[3] - each[1]) for each in (box, other))
    whole = first + second - shared
    return shared / whole if shared > 0 and first > 0 and second > 0 and whole > 0 else np.float32(0)
