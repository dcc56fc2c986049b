"""Proposal: the regions of an image that may show something, as two-stage detectors find them.

As in the specification of OpenVINO's operation set, Proposal-4, which is that of Faster R-CNN in Caffe and TensorFlow;
where that leaves something open, as OpenVINO's CPU plugin has it.
"""

import math

import numpy as np

from tilewright.errors import InputError, IRError
from tilewright.limits import PRIORS

from ...core import Value
from ...op import Operator, operator
from ...types import DType, ResultTypes, TensorType, Types


@operator("proposal")
class Proposal(Operator[tuple[Value, Value, Value]]):
    """The best boxes of each image without overlaps, and their scores.

    Operands, all f32: scores [N, 2 * anchors, H, W], of which the second half of the channels says how likely there is
    something; deltas [N, 4 * anchors, H, W]; image [3 or 4] or [1, 3 or 4]: height, width, and a scale of both or one
    of each. Results: regions f32 [N * post_nms_topn, 5], image, xmin, ymin, xmax, ymax; where an image has fewer, zeros
    after one that begins with -1; scores f32 [N * post_nms_topn], zeros there.

    Of equal scores, that of the lower cell and then of the lower anchor is better; what is no number counts as -inf. An
    image without positive finite
    sides or with a negative scale is an error when the network runs.

    Attributes:
        base_size, ratio, scale: anchors are the squares of ``base_size`` at every ratio, height over width, times every
            scale.
        feat_stride: pixels of the image from cell to cell.
        min_size: pixels, before scaling, below which the score of a box is 0.
        pre_nms_topn, post_nms_topn: how many boxes of an image compete, and how many it has in the end.
        nms_thresh: overlap, as intersection over union, beyond which the worse of two boxes goes.
        box_coordinate_scale, box_size_scale: what deltas of centres and of sides are divided by.
        is_tensorflow: sides do not count their last pixel, anchors are centred on the beginning of a cell, not rounded
            and cut at the borders of the image; and rows and columns are swapped.
        normalize: regions are parts of the image.
        clip_before_nms, clip_after_nms: cut boxes at the borders of the image before or after they compete.
    """

    base_size: int
    ratio: tuple[float, ...]
    scale: tuple[float, ...]
    feat_stride: int
    min_size: int
    pre_nms_topn: int
    post_nms_topn: int
    nms_thresh: float
    box_coordinate_scale: float = 1.0
    box_size_scale: float = 1.0
    is_tensorflow: bool = False
    normalize: bool = False
    clip_before_nms: bool = True
    clip_after_nms: bool = False

    def infer(self, scores: TensorType, deltas: TensorType, image: TensorType) -> tuple[TensorType, TensorType]:
        for type in (scores, deltas, image):
            if type.dtype is not DType.F32:
                raise IRError("element type is not allowed", expected="f32", found=type.dtype.value)
        numbers = {name: getattr(self, name) for name in ("base_size", "feat_stride", "pre_nms_topn", "post_nms_topn")}
        wrong = {name: number for name, number in numbers.items() if not 1 <= number < 2**31}
        if wrong or not 0 <= self.min_size < 2**31:
            raise IRError("an attribute is out of range", expected="at least 1", found=wrong or f"{self.min_size=}")
        sizes = (*self.ratio, *self.scale, self.box_coordinate_scale, self.box_size_scale)
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise IRError("ratios and scales need numbers above 0", found=list(sizes[:16]))
        anchors = len(self.ratio) * len(self.scale)
        if not 1 <= anchors <= PRIORS:
            raise IRError("a cell has too many anchors, or none", expected=f"1 to {PRIORS}", found=anchors)
        if scores.rank != 4 or scores.shape[1] != 2 * anchors or deltas.rank != 4:
            raise IRError("scores do not fit", expected=f"[N, {2 * anchors}, H, W]", found=scores)
        if deltas.shape != (scores.shape[0], 4 * anchors, *scores.shape[2:]):
            raise IRError("deltas do not fit", expected=f"{4 * anchors} channels beside {scores}", found=deltas)
        if image.shape not in ((3,), (4,), (1, 3), (1, 4)):
            raise IRError("the image needs height, width and scales", expected="[3] or [4]", found=image)
        rows = scores.shape[0] * self.post_nms_topn
        return TensorType((rows, 5), DType.F32), TensorType((rows,), DType.F32)

    def competitors(self, scores: TensorType) -> int:
        """Boxes of an image that compete."""
        return min(self.pre_nms_topn, scores.shape[1] // 2 * scores.shape[2] * scores.shape[3])

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        scores = operand_types[0]
        assert scores is not None
        count = self.competitors(scores)
        return scores.elements * scores.elements.bit_length() + scores.shape[0] * count * min(count, self.post_nms_topn)

    def anchors(self) -> np.ndarray:
        """The boxes around a cell at 0, [anchors, 4], f32: xmin, ymin, xmax, ymax."""
        area = np.float32(self.base_size) * np.float32(self.base_size)
        found = []
        last = np.float32(0 if self.is_tensorflow else 1)
        centre = np.float32(0.5) * (np.float32(self.base_size) - last)
        for ratio in map(np.float32, self.ratio):
            width = np.sqrt(area / ratio)
            if not self.is_tensorflow:
                width = np.floor(width + np.float32(0.5))
            height = width * ratio if self.is_tensorflow else np.floor(width * ratio + np.float32(0.5))
            for scale in map(np.float32, self.scale):
                halves = np.float32(0.5) * (np.stack([width, height]) * scale - last)
                found.append(np.concatenate([centre - halves, centre + halves]))
        anchors = np.stack(found).astype(np.float32)
        return anchors - np.float32(self.base_size) / np.float32(2) if self.is_tensorflow else anchors

    def sides(self, image: np.ndarray) -> tuple[np.float32, np.float32, np.float32, np.float32]:
        """Width and height of the image, and the smallest width and height of a box.
        Raises InputError: they are none."""
        height, width, scale, *rest = image.reshape(-1)
        other = rest[0] if rest else scale
        if not (0 < height < np.inf and 0 < width < np.inf and 0 <= scale < np.inf and 0 <= other < np.inf):
            raise InputError(
                "the image has no size", expected="height and width above 0, scales from 0", found=image.tolist()
            )
        smallest = np.float32(self.min_size)
        if self.is_tensorflow:
            height, width = width, height
        return width, height, smallest * other, smallest * scale

    def reference(self, scores: np.ndarray, deltas: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width, height, least_width, least_height = self.sides(image)
        border = np.array([width, height] * 2, np.float32)
        batch, channels, rows, columns = scores.shape
        anchors = channels // 2
        regions = np.zeros((batch, self.post_nms_topn, 5), np.float32)
        found = np.zeros((batch, self.post_nms_topn), np.float32)
        for number in range(batch):
            likely = np.transpose(scores[number, anchors:], (1, 2, 0)).reshape(-1)
            moves = np.transpose(deltas[number].reshape(anchors, 4, rows, columns), (2, 3, 0, 1)).reshape(-1, 4)
            boxes = self._boxes(moves, rows, columns, border)
            sides = boxes[:, 2:] - boxes[:, :2] + np.float32(not self.is_tensorflow)
            is_large = (sides[:, 0] >= least_width) & (sides[:, 1] >= least_height)
            likely = is_large.astype(np.float32) * likely
            likely = np.where(np.isnan(likely), np.float32(-np.inf), likely)
            order = np.argsort(-likely, kind="stable")[: self.pre_nms_topn]
            kept: list[int] = []
            for box in order:
                if len(kept) == self.post_nms_topn:
                    break
                if not any(self._overlap(boxes[other], boxes[box]) > np.float32(self.nms_thresh) for other in kept):
                    kept.append(box)
            ends = boxes[kept]
            ends = np.maximum(np.minimum(ends, border), 0) if self.clip_after_nms else ends
            regions[number, : len(kept), 0] = number
            regions[number, : len(kept), 1:] = ends / border if self.normalize else ends
            regions[number, len(kept) : len(kept) + 1, 0] = -1
            found[number, : len(kept)] = likely[kept]
        return regions.reshape(-1, 5), found.reshape(-1)

    def _boxes(self, moves: np.ndarray, rows: int, columns: int, border: np.ndarray) -> np.ndarray:
        """Boxes [cells * anchors, 4] of deltas [cells * anchors, 4]."""
        last, half = np.float32(not self.is_tensorflow), np.float32(0.5)
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        if self.is_tensorflow:
            y, x = x, y
        cells = (np.stack([x, y, x, y], -1) * self.feat_stride).astype(np.float32)
        boxes = (cells[:, :, None] + self.anchors()).reshape(-1, 4)
        if self.is_tensorflow:
            boxes = np.maximum(np.minimum(boxes, border), 0)
        sides = boxes[:, 2:] - boxes[:, :2] + last
        centres = boxes[:, :2] + half * sides
        centres = moves[:, :2] / np.float32(self.box_coordinate_scale) * sides + centres
        # In float64, rounded once: libraries differ in the last bit of float32.
        powers = np.exp((moves[:, 2:] / np.float32(self.box_size_scale)).astype(np.float64)).astype(np.float32)
        halves = half * (powers * sides)
        boxes = np.concatenate([centres - halves, centres + halves], 1)
        return np.maximum(np.minimum(boxes, border - last), 0) if self.clip_before_nms else boxes

    def _overlap(self, box: np.ndarray, other: np.ndarray) -> np.float32:
        if not ((box[:2] <= other[2:]).all() and (other[:2] <= box[2:]).all()):
            return np.float32(0)
        last = np.float32(not self.is_tensorflow)
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]) + last
        shared = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
        (a, b), (c, d) = box[2:] - box[:2] + last, other[2:] - other[:2] + last
        return shared / (a * b + c * d - shared)
