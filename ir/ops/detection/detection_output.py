"""What a single-shot detector found: predictions decoded against priors, the best of each class without overlaps.

As in the specification of OpenVINO's operation set, DetectionOutput-1 and -8, which is Caffe's and, with
``decrease_label_id``, MXNet's. Where that leaves an order open (of equal scores), the one of OpenVINO's CPU plugin.
"""

import math
from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ...core import Value
from ...op import Operator, operator
from ...types import DType, ResultTypes, TensorType, Types

CODES = ("corner", "center_size")
ROW = 7
"""Numbers of a detection: image, label, score, xmin, ymin, xmax, ymax."""


def overlap(box: np.ndarray, other: np.ndarray) -> np.float32:
    """Intersection over union of two boxes [xmin, ymin, xmax, ymax], computed in float32."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    if sides[0] <= 0 or sides[1] <= 0:
        return np.float32(0)
    shared = sides[0] * sides[1]
    return shared / (area(box) + area(other) - shared)


def area(box: np.ndarray) -> np.float32:
    return (box[2] - box[0]) * (box[3] - box[1])


class DetectionCounts(NamedTuple):
    """Extents of the operands: images; priors; classes; locations of a prior; sets of priors; numbers of a prior."""

    images: int
    priors: int
    classes: int
    locations: int
    sets: int
    prior_size: int


@operator("detection_output")
class DetectionOutput(Operator[tuple[Value, Value, Value, Value | None, Value | None]]):
    """The detections of every image, as rows of image, label, score, xmin, ymin, xmax, ymax.

    Operands, all f32: location [N, priors * locations * 4]; confidence [N, priors * classes]; priors
    [1 or N, 1 or 2, priors * 4], of which the second row holds variances; objectness [N, priors * 2] and refinement,
    like location, both or none. Result: f32 [1, 1, rows, 7]: the detections image by image, in each by class, in each
    by falling score; then, if there is room, a row that begins with -1, then zeros.

    For each class but the background, boxes whose score is above ``confidence_threshold`` compete, the best ``top_k``
    of them: one is kept if its overlap with none kept before is above ``nms_threshold``. Of all that an image keeps,
    the best ``keep_top_k`` stay. Of equal scores that of the lower prior is the better one, then that of the lower
    class. With ``decrease_label_id`` each prior competes for its best class alone, from class 1 on, if its score
    reaches the threshold, and labels are one lower. Scores that are no numbers lose.

    With five operands, priors are decoded by ``refinement`` first and the result is the prior of ``location``; and
    where the second number of ``objectness`` is below ``objectness_score``, the score is 1 for the background and 0 for
    every class.

    Attributes:
        nms_threshold: overlap, as intersection over union, beyond which the worse of two boxes goes.
        confidence_threshold: score that a box must exceed.
        background_label_id: the class that is nothing; -1 if there is none.
        top_k: how many boxes of a class compete; -1 for all.
        keep_top_k: how many detections an image has at most; -1 for all.
        code_type: how location tells boxes: ``corner``, as differences of the corners; ``center_size``, as those of
            the centre in parts of the prior and as logarithms of sides in parts of the prior's.
        share_location: one location for all classes of a prior; otherwise one for each.
        variance_encoded_in_target: location needs no variances, and priors have none.
        normalized: priors are parts of the image. Otherwise they are pixels, each with an image index before it, of
            which -1 ends the priors.
        input_height, input_width: pixels of the image, for priors in pixels.
        clip_before_nms, clip_after_nms: cut boxes at the borders of the image before or after they compete.
        decrease_label_id: see above.
        objectness_score: see above.

    OpenVINO's CPU plugin divides priors in pixels by the size of the image twice where there are five operands; here
    they are divided once.
    """

    nms_threshold: float
    confidence_threshold: float = -math.inf
    background_label_id: int = 0
    top_k: int = -1
    keep_top_k: int = -1
    code_type: str = "corner"
    share_location: bool = True
    variance_encoded_in_target: bool = False
    normalized: bool = True
    input_height: int = 1
    input_width: int = 1
    clip_before_nms: bool = False
    clip_after_nms: bool = False
    decrease_label_id: bool = False
    objectness_score: float = 0.0

    def counts(self, location: TensorType, confidence: TensorType, priors: TensorType) -> DetectionCounts:
        """What the types of the first three operands say. Raises IRError: they do not fit each other."""
        size = 4 if self.normalized else 5
        rows = 1 if self.variance_encoded_in_target else 2
        if (location.rank, confidence.rank, priors.rank) != (2, 2, 3):
            raise IRError("wrong ranks", expected="location 2, confidence 2, priors 3", found=f"{location}, {priors}")
        images, (sets, found_rows, length) = location.shape[0], priors.shape
        if sets not in (1, images) or found_rows != rows or length < size or length % size:
            raise IRError("the priors do not fit", expected=f"[1 or {images}, {rows}, {size} for each]", found=priors)
        count = length // size
        if confidence.shape[0] != images or confidence.shape[1] < count or confidence.shape[1] % count:
            raise IRError(
                "the confidences do not fit", expected=f"[{images}, {count} for each class]", found=confidence
            )
        classes = confidence.shape[1] // count
        locations = 1 if self.share_location else classes
        if location.shape[1] != count * locations * 4:
            raise IRError("the locations do not fit", expected=[images, count * locations * 4], found=location)
        return DetectionCounts(images, count, classes, locations, sets, size)

    def rows(self, counts: DetectionCounts) -> int:
        """Rows of the result."""
        if self.keep_top_k > 0:
            return counts.images * self.keep_top_k
        return counts.images * counts.classes * (self.top_k if self.top_k > 0 else counts.priors)

    def infer(
        self,
        location: TensorType,
        confidence: TensorType,
        priors: TensorType,
        objectness: TensorType | None,
        refinement: TensorType | None,
    ) -> TensorType:
        for type in (location, confidence, priors, objectness, refinement):
            if type is not None and type.dtype is not DType.F32:
                raise IRError("element type is not allowed", expected="f32", found=type.dtype.value)
        if self.code_type not in CODES:
            raise IRError("unknown code_type", expected=", ".join(CODES), found=self.code_type)
        for what, number in (("top_k", self.top_k), ("keep_top_k", self.keep_top_k)):
            if number != -1 and number < 1:
                raise IRError(f"{what} is out of range", expected="-1, or at least 1", found=number)
        if not self.normalized and min(self.input_height, self.input_width) < 1:
            raise IRError(
                "priors in pixels need the size of the image",
                expected="input_height and input_width of at least 1",
                found=f"{self.input_height} and {self.input_width}",
            )
        if self.decrease_label_id and self.background_label_id != 0:
            raise IRError("labels that are one lower leave out class 0", expected=0, found=self.background_label_id)
        counts = self.counts(location, confidence, priors)
        if (objectness is None) != (refinement is None):
            raise IRError("objectness and refinement come together")
        if objectness is not None and objectness.shape != (counts.images, 2 * counts.priors):
            raise IRError("objectness does not fit", expected=[counts.images, 2 * counts.priors], found=objectness)
        if refinement is not None and refinement.shape != location.shape:
            raise IRError("refinement needs the shape of location", expected=list(location.shape), found=refinement)
        return TensorType((1, 1, self.rows(counts), ROW), DType.F32)

    def competitors(self, counts: DetectionCounts) -> int:
        """Boxes that compete with each other at most: of a class, or with ``decrease_label_id`` of an image."""
        return counts.priors if self.top_k == -1 else min(self.top_k, counts.priors)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        location, confidence, priors = (type for type in operand_types[:3] if type is not None)
        counts = self.counts(location, confidence, priors)
        groups = counts.images * (1 if self.decrease_label_id else counts.classes)
        return groups * (counts.priors * counts.priors.bit_length() + self.competitors(counts) ** 2)

    def reference(
        self, location: np.ndarray, confidence: np.ndarray, priors: np.ndarray, *of_boxes: np.ndarray | None
    ) -> np.ndarray:
        objectness, refinement = of_boxes
        counts = self.counts(*(TensorType.of(array) for array in (location, confidence, priors)))
        shape = (counts.images, counts.priors, counts.locations, 4)
        detections: list[list[float]] = []
        for image in range(counts.images):
            boxes, valid = self._priors(priors[image if counts.sets > 1 else 0], counts)
            variances = np.ones((counts.priors, 4), np.float32)
            if not self.variance_encoded_in_target:
                row = priors[image if counts.sets > 1 else 0, 1]
                variances = row[: counts.priors * 4].reshape(-1, 4)
            boxes, variances = boxes[:, None], variances[:, None]
            if refinement is not None:
                boxes = self.decode(boxes, variances, refinement.reshape(shape)[image])
            boxes = self.decode(boxes, variances, location.reshape(shape)[image])
            scores = confidence[image].reshape(counts.priors, counts.classes)
            if objectness is not None:
                nothing = (np.arange(counts.classes) == self.background_label_id).astype(np.float32)
                is_nothing = objectness[image, 1::2] < np.float32(self.objectness_score)
                scores = np.where(is_nothing[:, None], nothing, scores)
            for prior, label in self._kept(boxes, scores, valid):
                box = boxes[prior, 0 if self.share_location else label]
                box = np.clip(box, 0, 1) if self.clip_after_nms else box
                detections.append([image, label - self.decrease_label_id, scores[prior, label], *box])
        result = np.zeros((self.rows(counts), ROW), np.float32)
        if detections:
            result[: len(detections)] = detections
        if len(detections) < len(result):
            result[len(detections), 0] = -1
        return result[None, None]

    def _priors(self, priors: np.ndarray, counts: DetectionCounts) -> tuple[np.ndarray, int]:
        """Boxes [priors, 4] in parts of the image, and how many there are before the end."""
        boxes = priors[0].reshape(counts.priors, counts.prior_size)
        if self.normalized:
            return boxes, counts.priors
        ends = np.flatnonzero(boxes[:, 0] == -1)
        image = np.array([self.input_width, self.input_height] * 2, np.float32)
        return boxes[:, 1:] / image, int(ends[0]) if len(ends) else counts.priors

    def decode(self, priors: np.ndarray, variances: np.ndarray, location: np.ndarray) -> np.ndarray:
        """Boxes [priors, locations, 4] from priors and variances that broadcast to them, and locations."""
        scaled = variances * location
        if self.code_type == "corner":
            boxes = priors + scaled
        else:
            sides = priors[..., 2:] - priors[..., :2]
            centres = (priors[..., :2] + priors[..., 2:]) / np.float32(2)
            centres = scaled[..., :2] * sides + centres
            # In float64, rounded once: libraries differ in the last bit of float32.
            halves = np.exp(scaled[..., 2:].astype(np.float64)).astype(np.float32) * sides / np.float32(2)
            boxes = np.concatenate([centres - halves, centres + halves], -1)
        return np.clip(boxes, 0, 1) if self.clip_before_nms else boxes

    def _kept(self, boxes: np.ndarray, scores: np.ndarray, valid: int) -> list[tuple[int, int]]:
        """Prior and class of the detections of an image, in the order of the result."""
        threshold, kept = np.float32(self.confidence_threshold), list[tuple[int, int]]()
        classes = range(scores.shape[1])
        groups: list[list[tuple[int, int]]] = []
        if self.decrease_label_id:
            best = [(p, max(classes[1:], key=lambda c: _number(scores[p, c]), default=0)) for p in range(valid)]
            groups.append([(p, c) for p, c in best if c and scores[p, c] >= threshold and scores[p, c] > -1])
        else:
            others = (c for c in classes if c != self.background_label_id)
            groups += [[(p, c) for p in range(valid) if scores[p, c] > threshold] for c in others]
        for group in groups:
            group.sort(key=lambda found: (-scores[found], found[1], found[0]))
            first = len(kept)
            for prior, label in group if self.top_k == -1 else group[: self.top_k]:
                place = 0 if self.share_location else label
                rivals = (boxes[other, place] for other, its in kept[first:] if its == label)
                if not any(overlap(boxes[prior, place], rival) > np.float32(self.nms_threshold) for rival in rivals):
                    kept.append((prior, label))
        if -1 < self.keep_top_k < len(kept):
            kept = sorted(kept, key=lambda found: (-scores[found], *found))[: self.keep_top_k]
        return sorted(kept, key=lambda found: (found[1], -scores[found], found[0]))


def _number(score: np.float32) -> float:
    return -math.inf if np.isnan(score) else float(score)
